"""Where a call goes: the entry that the caller may call, its tools, and what the upstream's token says instead of the
caller's. What is in `Route.tools` is both what is listed and what may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from servers.marketplace import policy
from servers.marketplace.catalogue.catalogue import Catalogue, resource_of, view_of
from servers.marketplace.catalogue.definitions import Era, PinnedTool, only_reads, scope_of
from servers.marketplace.catalogue.own import kind_of_server
from servers.marketplace.catalogue.store import Entry, View
from servers.marketplace.catalogue.tools import ServerTools, ToolStore
from servers.marketplace.changes import Changes, Remembered, soon
from servers.marketplace.connections.store import ConnectionStore, connect_again
from servers.marketplace.gateway.names import full_names
from servers.marketplace.rules.conditions import Compiled, compiled
from servers.marketplace.rules.store import RuleStore
from servers.marketplace.runners.package import Package
from servers.marketplace.tokens import Grant, Mint
from shared.auth import Principal
from shared.errors import Conflict, Forbidden, InvalidInput, Unavailable
from shared.metering.units import GATEWAY
from shared.settings import Settings

Conditions = Mapping[str, tuple[Compiled, ...]]
Who = tuple[str, str, frozenset[str], str | None]
"""Subject, role, scopes and customer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One server for one caller.

    Args:
        url: the upstream's address, and the audience of its token.
        grant: what the upstream's token says.
        tools: name → definition (JSON) of each tool that this caller may list and call, in the server's order.
        era: what the upstream speaks.
        checked: the upstream was asked for its tools at least once.
        credential: a header of the customer's own for this upstream; it travels instead of the platform's token.
        conditions: tool → what its arguments have to satisfy; empty where no rule is set.
        stale: that credential was given for another address: there is no call before it is given again.
        package: what the platform runs itself; nothing is sent to `url` then.
    """

    server_name: str
    url: str
    operated: bool
    grant: Grant
    tools: Mapping[str, str]
    era: Era
    checked: bool
    credential: tuple[str, str] | None = None
    stale: bool = False
    package: Package | None = None
    conditions: Conditions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Everything:
    """All that a caller may call at one address: each tool's full name → its route, own name and definition."""

    tools: Mapping[str, tuple[Route, str]] = field(default_factory=dict)
    definitions: tuple[str, ...] = ()


class Routes:
    """Finds and remembers routes."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        tools: ToolStore,
        mint: Mint,
        changes: Changes,
        connections: ConnectionStore,
        rules: RuleStore,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._tools = tools
        self._mint = mint
        self._connections = connections
        self._rules = rules
        self._conditions: Remembered[str | None, dict[str, Conditions]] = Remembered(changes)
        self._stored: Remembered[tuple[View, str], ServerTools] = Remembered(changes)
        self._known: Remembered[tuple[Who, str], Route] = Remembered(changes)
        self._everything: Remembered[Who, Everything] = Remembered(changes)

    async def route(self, caller: Principal, server_name: str) -> Route:
        """The route of a caller to a server.

        Raises:
            NotFound: the server is unknown, not installed, or not the caller's.
            Forbidden: the caller's role may do nothing there.
            Unavailable: no address is registered.
        """
        key = _who(caller), server_name
        return self._known.get(key) or await self._known.ask(key, lambda: soon(self._find(caller, server_name)))

    async def fresh(self, caller: Principal, server_name: str) -> Route:
        """As `route`, asked for anew."""
        self._known.forget((_who(caller), server_name))
        self._stored.forget((view_of(caller), server_name))
        return await self.route(caller, server_name)

    async def everything(self, caller: Principal) -> Everything:
        """All tools of the servers that are installed for the caller's customer; none where it acts for no customer."""
        who = _who(caller)
        return self._everything.get(who) or await self._everything.ask(who, lambda: soon(self._find_all(caller)))

    async def conditions(self, customer: str | None, server_name: str) -> Conditions:
        """What the arguments of a server's tools have to satisfy in a customer's calls; empty: no rule is set."""
        known = await self._conditions.ask(customer, lambda: soon(self._compiled(customer)))
        return known.get(server_name, {})

    async def reads_only(self, customer: str | None, entry: Entry) -> bool:
        """Whether a customer's connection to a server is for `input`: then those of its tools are called that say of
        themselves that they only read."""
        if entry.kind != "external" or customer is None:
            return False
        return await self._connections.direction(customer, entry.server_name) == "input"

    def upstream_header(self, route: Route) -> tuple[str, str]:
        """The header that travels upstream: the platform's token for it, or the customer's own credential.

        Raises:
            Conflict: that credential was given for another address.
        """
        self.check_credential(route)
        return route.credential or ("authorization", f"Bearer {self._mint.upstream(route.grant)}")

    def check_credential(self, route: Route) -> None:
        """Refuse a call with a credential that was given for something else.

        Raises:
            Conflict: so it was.
        """
        if route.stale:
            raise connect_again()

    async def _find(self, caller: Principal, server_name: str) -> Route:
        entry = await self._catalogue.find(caller, "entry.call", server_name)
        if entry.url is None:
            raise Unavailable("This server has no address yet: it runs nowhere that the platform knows of.")
        if entry.url == self._settings.resource("marketplace"):
            raise InvalidInput("Call the marketplace's own tools at its own address, not through itself.")
        return await self._route(caller, entry, entry.url)

    async def _find_all(self, caller: Principal) -> Everything:
        if caller.customer is None or policy.SCOPE_OF_ACTION["entry.call"] not in caller.scopes:
            return Everything()
        routes = []
        for entry in await self._catalogue.installed(caller):
            if entry.url is None or entry.url == self._settings.resource("marketplace"):
                continue
            try:
                routes.append(await self._route(caller, entry, entry.url))
            except Forbidden:
                continue
        return _together(routes)

    async def _route(self, caller: Principal, entry: Entry, url: str) -> Route:
        view, name = view_of(caller), entry.server_name
        stored = await self._stored.ask((view, name), lambda: self._tools.of(view, name))
        grant = self._grant(caller, entry, url)
        tools = _callable(caller, entry, stored, grant.scopes)
        if await self.reads_only(caller.customer, entry):
            tools = {tool: definition for tool, definition in tools.items() if only_reads(definition)}
        credential, stale = None, False
        if entry.kind == "external" and caller.customer is not None:
            try:
                credential = await self._connections.header(caller.customer, entry.server_name, url)
            except Conflict:
                stale = True
        conditions = await self.conditions(caller.customer or entry.customer, entry.server_name)
        return Route(
            entry.server_name, url, entry.operated, grant, tools, stored.era, stored.checked, credential, stale,
            entry.package, conditions,
        )  # fmt: skip

    async def _compiled(self, customer: str | None) -> dict[str, Conditions]:
        found: dict[str, dict[str, tuple[Compiled, ...]]] = {}
        for rule in await self._rules.of(customer):
            of_server = found.setdefault(rule.server_name, {})
            of_server[rule.tool] = (*of_server.get(rule.tool, ()), compiled(rule))
        return dict(found)

    def _grant(self, caller: Principal, entry: Entry, url: str) -> Grant:
        scopes = policy.granted(caller.role, caller.subject, kind_of_server(self._settings, url), None)
        if not scopes:
            raise Forbidden("This account's role may do nothing on this server.")
        return Grant(caller.subject, caller.role, url, scopes, caller.customer or entry.customer, GATEWAY)


def _who(caller: Principal) -> Who:
    """What of a caller decides: the same for all tokens of a user, so that nobody fills the memory with tokens."""
    return caller.subject, caller.role, caller.scopes, caller.customer


def _callable(caller: Principal, entry: Entry, stored: ServerTools, scopes: frozenset[str]) -> dict[str, str]:
    return {
        tool.name: tool.pinned
        for tool in stored.tools
        if tool.pinned is not None
        and policy.decide(caller, "tool.call", _resource(entry, tool)).allowed
        and scope_asked(entry, tool.pinned) in {None, *scopes}
    }


def scope_asked(entry: Entry, definition: str) -> str | None:
    """The scope that an upstream's token needs for a tool, where the platform's own program serves it and says so."""
    return None if entry.kind == "external" else scope_of(definition)


def _resource(entry: Entry, tool: PinnedTool) -> policy.Resource:
    return resource_of(entry, pinned=tool.state == "approved")


def _together(routes: list[Route]) -> Everything:
    owners = [(route, tool) for route in routes for tool in route.tools]
    names = full_names([(route.server_name, tool) for route, tool in owners])
    tools = dict(zip(names, owners, strict=True))
    definitions = [_renamed(route.tools[tool], name) for name, (route, tool) in tools.items()]
    return Everything(tools, tuple(definitions))


@lru_cache(maxsize=4096)  # a customer's users share the texts
def _renamed(definition: str, name: str) -> str:
    return orjson.dumps({**orjson.loads(definition), "name": name}).decode()
