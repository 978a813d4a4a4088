"""What a caller may call: found by words, and explained step by step by the same policy that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servers.marketplace import policy
from servers.marketplace.catalogue.catalogue import Catalogue, resource_of, unknown_server, view_of
from servers.marketplace.catalogue.definitions import only_reads
from servers.marketplace.catalogue.own import kind_of_server
from servers.marketplace.catalogue.store import CatalogueStore, Entry
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.gateway.finding import found_tools
from servers.marketplace.gateway.names import is_full
from servers.marketplace.gateway.route import Routes, scope_asked
from servers.marketplace.rules.conditions import Compiled, judged, reason
from servers.marketplace.users.accounts import Accounts
from shared.auth import Principal
from shared.errors import InvalidInput
from shared.settings import Settings

_ONLY_INPUT = policy.Decision(
    False,
    "The customer's connection is for input: of the server's tools, those are called that say that they only read. "
    "connect_mcp with another direction connects it anew.",
)


@dataclass(frozen=True, slots=True)
class Person:
    """A user as the policy sees one, holding all that the role has at the marketplace."""

    subject: str
    role: str
    scopes: frozenset[str]
    customer: str | None


class Access:
    """Searches and explains."""

    def __init__(
        self, settings: Settings, accounts: Accounts, catalogue: Catalogue, entries: CatalogueStore, tools: ToolStore,
        routes: Routes,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._accounts = accounts
        self._catalogue = catalogue
        self._entries = entries
        self._tools = tools
        self._routes = routes

    async def search(
        self, caller: Principal, own: Sequence[str], query: str, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """The caller's tools, the marketplace's `own` and those of installed servers, that fit a query best; and how
        many those of installed servers are."""
        installed = (await self._routes.everything(caller)).definitions
        return found_tools([*own, *installed], query, limit), len(installed)

    async def explain(
        self,
        caller: Principal,
        server_name: str | None,
        tool: str | None,
        user_id: str | None,
        arguments: dict[str, Any] | None = None,
    ) -> tuple[policy.Caller, tuple[tuple[policy.Step, policy.Decision], ...]]:
        """Who is asked about, and each step of the decision on a call of a server or of one of its tools.

        Without arguments, the rules about them are named and refuse nothing.

        Args:
            server_name: None: the one whose tool has the full name `tool` in the caller's list.

        Raises:
            InvalidInput: no server is named, or arguments without a tool.
            NotFound: the caller sees no such server, or manages no such user.
        """
        server_name, tool = await self._named(caller, server_name, tool)
        if tool is None and arguments is not None:
            raise InvalidInput("Arguments are those of a call: name its tool in tool_name too.", field="tool_name")
        await self._catalogue.find(caller, "entry.see", server_name)
        who = caller if user_id is None else await self._person(caller, user_id)
        entry = await self._entries.by_name(view_of(who), server_name)
        if entry is None:
            raise unknown_server()
        if tool is None:
            return who, (*policy.explain(who, "entry.call", resource_of(entry)), self._server_step(who, entry))
        stored = await self._tools.of(view_of(who), server_name)
        pinned = next((each.pinned for each in stored.tools if each.name == tool and each.state == "approved"), None)
        steps = policy.explain(who, "tool.call", resource_of(entry, pinned=pinned is not None))
        conditions = await self._routes.conditions(who.customer or entry.customer, server_name)
        told = (_condition_step(each, arguments) for each in conditions.get(tool, ()))
        if pinned is not None and not only_reads(pinned) and await self._routes.reads_only(who.customer, entry):
            return who, (*steps, ("server", _ONLY_INPUT), *told)
        return who, (*steps, self._server_step(who, entry, pinned), *told)

    async def _named(self, caller: Principal, server_name: str | None, tool: str | None) -> tuple[str, str | None]:
        """Server and tool by their own names, where `tool` is a full name of the caller's list too."""
        if is_full(tool) and (found := (await self._routes.everything(caller)).tools.get(tool or "")) is not None:
            route, own = found
            if server_name in {None, route.server_name}:
                return route.server_name, own
        if server_name is None:
            raise InvalidInput(
                "Name the server in server_name, as list_marketplace_mcps shows it. Without it, tool_name has to be a "
                "full name of your tools/list.",
                field="server_name",
            )
        return server_name, tool

    def _server_step(
        self, who: policy.Caller, entry: Entry, pinned: str | None = None
    ) -> tuple[policy.Step, policy.Decision]:
        """What a route needs beside the policy: an address, and the tool's scope, where it is known, or one at all."""
        if entry.url is None:
            return "server", policy.Decision(False, "The server has no address yet.")
        kind = kind_of_server(self._settings, entry.url)
        held = policy.granted(who.role, who.subject, kind, None)
        if not held:
            return "server", policy.Decision(False, "The role has no scope on this server.")
        asked = None if pinned is None else scope_asked(entry, pinned)
        if asked is not None:
            has = "has" if asked in held else "does not have"
            return "server", policy.Decision(asked in held, f"The tool needs the scope {asked}, which the role {has}.")
        return "server", policy.Decision(True, "The role has scopes on this server, which asks for one by each tool.")

    async def _person(self, caller: Principal, user_id: str) -> policy.Caller:
        user = await self._accounts.managed(caller, user_id)
        scopes = policy.granted(user.role, user_id, "marketplace", None) if user.active else frozenset()
        return Person(user_id, user.role, scopes, user.customer)


def _condition_step(condition: Compiled, arguments: dict[str, Any] | None) -> tuple[policy.Step, policy.Decision]:
    if arguments is None:
        rule = condition.rule
        told = f"The rule {rule.rule_id} decides by the arguments, which were not given: `{rule.condition}`."
        return "condition", policy.Decision(True, told)
    verdict = judged(condition, arguments)
    return "condition", policy.Decision(verdict == "holds", reason(condition.rule, verdict))
