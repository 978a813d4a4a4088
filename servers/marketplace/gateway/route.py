"""Where a call goes: the entry that the caller may call, and what the upstream's token says instead of the caller's."""

from __future__ import annotations

import time
from dataclasses import dataclass

from servers.marketplace import policy
from servers.marketplace.catalogue.catalogue import Catalogue
from servers.marketplace.catalogue.own import own_server
from servers.marketplace.catalogue.store import Entry
from servers.marketplace.tokens import Grant, Mint
from servers.marketplace.users.accounts import Accounts
from shared.auth import Principal
from shared.errors import Forbidden, InvalidInput, Unauthenticated, Unavailable
from shared.settings import Settings

FRESH_S = 2.0
"""Seconds for which a decision is used again: the longest that an uninstall or a disabled user goes unnoticed here."""
ROUTES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """The upstream's address and what its token says."""

    url: str
    grant: Grant


class Routes:
    """Finds and remembers routes."""

    def __init__(self, settings: Settings, catalogue: Catalogue, accounts: Accounts, mint: Mint) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._accounts = accounts
        self._mint = mint
        self._known: dict[tuple[Principal, str], tuple[float, Route]] = {}

    async def route(self, caller: Principal, server_name: str) -> Route:
        """The route of a caller to a server.

        Raises:
            Unauthenticated: the caller's account has ended.
            NotFound: the server is unknown, not installed, or not the caller's.
            Forbidden: the caller's role may do nothing there.
            Unavailable: no address is registered.
        """
        key = (caller, server_name)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        route = await self._find(caller, server_name)
        if len(self._known) >= ROUTES_KEPT:
            self._known.clear()
        self._known[key] = (time.monotonic() + FRESH_S, route)
        return route

    def upstream_token(self, route: Route) -> str:
        """The token that travels upstream."""
        return self._mint.upstream(route.grant)

    async def _find(self, caller: Principal, server_name: str) -> Route:
        if not await self._accounts.active(caller.subject):
            raise Unauthenticated("This account has ended.")
        entry = await self._catalogue.find(caller, "entry.call", server_name)
        if entry.url is None:
            raise Unavailable("This server has no address yet: it runs nowhere that the platform knows of.")
        return Route(entry.url, self._grant(caller, entry, entry.url))

    def _grant(self, caller: Principal, entry: Entry, url: str) -> Grant:
        server = own_server(self._settings, url)
        if server == "marketplace":
            raise InvalidInput("Call the marketplace's own tools at its own address, not through itself.")
        scopes = policy.granted(caller.role, caller.subject, server or "instance", None)
        if not scopes:
            raise Forbidden("This account's role may do nothing on this server.")
        return Grant(caller.subject, caller.role, url, scopes, caller.customer or entry.customer, "gateway")
