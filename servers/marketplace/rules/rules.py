"""Who sets rules about arguments, and for which tools."""

from __future__ import annotations

from servers.marketplace import policy
from servers.marketplace.catalogue.catalogue import Catalogue
from servers.marketplace.catalogue.definitions import schema_of
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.rules.conditions import Rule, check_names, checked
from servers.marketplace.rules.store import RuleStore
from servers.marketplace.users.accounts import unknown_customer
from servers.marketplace.users.store import UserStore
from shared.auth import Principal
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound
from shared.ids import new_handle


class ArgumentRules:
    """The operator's rules about the arguments of calls that go through the gateway."""

    def __init__(self, store: RuleStore, catalogue: Catalogue, tools: ToolStore, users: UserStore, own: str) -> None:
        self._store = store
        self._catalogue = catalogue
        self._tools = tools
        self._users = users
        self._own = own

    async def set(self, caller: Principal, server_name: str, tool: str, condition: str, customer: str | None) -> Rule:
        """Set a rule.

        Args:
            customer: whose calls; None: of the customer that the server belongs to, or everyone's.

        Raises:
            NotFound: the caller sees no such server, customer or tool.
            InvalidInput: the condition is not one, or the tool is the marketplace's own.
            Conflict: the server belongs to another customer, or has too many rules.
        """
        entry = await self._catalogue.find(caller, "entry.review", server_name)
        if customer is not None:
            await self._check_customer(caller, customer)
        if entry.url == self._own:
            raise InvalidInput("Rules are for servers behind the gateway, not for the marketplace's own tools.")
        if entry.customer is not None and customer not in {None, entry.customer}:
            raise Conflict("This server belongs to another customer: leave `customer_id` out.", field="customer_id")
        stored = {each.name: each for each in (await self._tools.of_entry(entry)).tools}
        if tool not in stored.keys() | {each.name for each in entry.tools}:
            raise NotFound(
                "This server has no such tool, or was not checked yet: check_mcp shows which it has.", field="tool_name"
            )
        rule = Rule(new_handle("rul"), customer or entry.customer or caller.customer, server_name, tool, condition)
        checked(condition)
        said = (stored[tool].pinned, stored[tool].seen_definition) if tool in stored else ()
        check_names(condition, [schema_of(each) for each in said if each is not None])
        await self._store.add(rule, caller.subject)
        return rule

    async def of_server(self, caller: Principal, server_name: str) -> list[Rule]:
        """A server's rules.

        Raises:
            NotFound: the caller sees no such server.
        """
        entry = await self._catalogue.find(caller, "entry.review", server_name)
        return await self._store.of_server(caller.customer, entry.server_name)

    async def remove(self, caller: Principal, rule_id: str) -> None:
        """Remove a rule.

        Raises:
            Forbidden: the caller does not review servers.
            NotFound: there is no such rule.
        """
        decision = policy.decide(caller, "entry.review", policy.Resource())
        if not decision.allowed:
            raise Forbidden(decision.reason)
        if not await self._store.remove(caller.customer, rule_id, caller.subject):
            raise NotFound("This rule is not known: list_argument_rules shows a server's.", field="rule_id")

    async def _check_customer(self, caller: Principal, customer: str) -> None:
        found = await self._users.customer(customer)
        partner = found.partner if found else None
        if found is None or not policy.may_act_for(caller.role, caller.subject, caller.customer, customer, partner):
            raise unknown_customer()
