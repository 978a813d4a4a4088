"""Tools for the platform's administrators: rules about the arguments of calls through the gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.marketplace.rules.conditions import MAX_CONDITION, Rule
from servers.marketplace.services import Services
from shared.auth import principal
from shared.contracts.catalogue import ServerArgument, ServerIdentifier, ToolIdentifier
from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.serving import Server

RuleId = Annotated[str, Field(pattern=r"^rul_[a-z2-7]{26}$")]
Condition = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CONDITION,
        description='CEL over `args`, such as: size(args.texts) <= 100 && args.model == "x". A missing argument '
        "refuses the call, unless the condition asks for it: !has(args.model) || args.model == ….",
    ),
]


class ArgumentRule(Contract):
    """A rule: a call of the tool passes only where the condition is true of its arguments."""

    rule_id: str
    server_name: ServerIdentifier
    tool_name: ToolIdentifier
    customer_id: CustomerId | None = Field(description="Whose calls; null: everyone's.")
    condition: str


class ArgumentRuleList(Contract):
    """A server's rules, the oldest first. A call has to satisfy every one of its tool."""

    rules: list[ArgumentRule]


class ArgumentRuleRemoved(Contract):
    """A rule that decides nothing any more."""

    rule_id: str


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def set_argument_rule(
        server_name: ServerArgument,
        tool_name: ToolIdentifier,
        condition: Condition,
        customer_id: Annotated[CustomerId | None, Field(description="Whose calls; null: everyone's.")] = None,
    ) -> ArgumentRule:
        """Let calls of a tool through the gateway only where a condition is true of their arguments.

        Use it to bound what a tool is asked for: how many texts, which model, which ranges. It counts within seconds
        on every replica. What cannot be judged is refused; explain_access with `arguments` shows what a rule says.
        """
        return _shown(await services().argument_rules.set(principal(), server_name, tool_name, condition, customer_id))

    async def list_argument_rules(server_name: ServerArgument) -> ArgumentRuleList:
        """List the rules about a server's arguments. Use it before setting another, or to find one to remove."""
        found = await services().argument_rules.of_server(principal(), server_name)
        return ArgumentRuleList(rules=[_shown(each) for each in found])

    async def remove_argument_rule(rule_id: RuleId) -> ArgumentRuleRemoved:
        """Remove a rule about arguments. Use it when calls that it refuses are to pass."""
        await services().argument_rules.remove(principal(), rule_id)
        return ArgumentRuleRemoved(rule_id=rule_id)

    scope = "registry:write"
    server.tool(set_argument_rule, scope=scope, title="Set a rule about arguments")
    server.tool(list_argument_rules, scope=scope, title="List rules about arguments", read_only=True, idempotent=True)
    server.tool(remove_argument_rule, scope=scope, title="Remove a rule about arguments", destructive=True)


def _shown(rule: Rule) -> ArgumentRule:
    return ArgumentRule(
        rule_id=rule.rule_id,
        server_name=rule.server_name,
        tool_name=rule.tool,
        customer_id=rule.customer,
        condition=rule.condition,
    )
