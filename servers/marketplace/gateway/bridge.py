"""Requests of callers to servers of the other era, and the sessions that the gateway holds for them.

A server that speaks the caller's era is called in it, as it is. Between the eras, tools, resources, prompts and
completions cross over; what a stream outside of a request would bring (subscriptions, messages of the log) does not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import orjson

from servers.marketplace.catalogue.definitions import Era
from servers.marketplace.gateway.asking import SESSION, Place, Session, ask_legacy, ask_modern, initialize
from servers.marketplace.gateway.eras import legacy_value, modern_request, parameter_headers
from servers.marketplace.gateway.exchange import Exchange, Headers
from servers.marketplace.gateway.greeting import BRIDGED, can_be_asked, session_of
from servers.marketplace.gateway.message import Message
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.relay import REFUSALS
from servers.marketplace.gateway.route import Route, Routes
from servers.marketplace.gateway.sessions import SessionSeal
from shared.auth import Principal
from shared.errors import Unavailable
from shared.settings import Settings

CROSSING = frozenset({
    "tools/call", "resources/list", "resources/templates/list", "resources/read", "prompts/list", "prompts/get",
    "completion/complete",
})  # fmt: skip
OFFERED = ("tools", "resources", "prompts", "completions")
ALL_CAPABILITIES: dict[str, Any] = {name: {} for name in OFFERED}
SESSIONS_KEPT = 10_000
CAPABLE_S = 60.0
Owner = tuple[str, str | None, str, bool, str, tuple[str, str] | None]
"""Whose session with an upstream: subject, customer, server, whether the caller can be asked something back, and the
address and the credential that it was opened with: with others it is another's."""


class Bridge:
    """Makes exchanges with upstreams of whichever era."""

    def __init__(self, settings: Settings, routes: Routes, outgoing: Outgoing, seal: SessionSeal) -> None:
        self._settings = settings
        self._routes = routes
        self._outgoing = outgoing
        self._seal = seal
        self._sessions: dict[Owner, Session] = {}
        self._ids = itertools.count(1)
        self._capable: dict[str, tuple[float, Mapping[str, Any]]] = {}

    async def exchange(
        self, caller: Principal, route: Route, headers: Headers, message: Message, tool: str | None = None
    ) -> Exchange:
        """A request on its way, in the era of the upstream.

        Args:
            tool: its name at the upstream, where the request calls one.

        Raises:
            Unavailable: a session is needed, and the upstream gives none.
        """
        owner = (caller.subject, caller.customer, route.server_name)
        until = time.monotonic() + self._settings.call_deadline_s
        asks = can_be_asked(self._seal, caller, headers, message)
        asked: Any = {"talks": True, "session": session_of(headers), "can_be_asked": asks, "tool": tool}
        if route.package is not None:
            self._routes.check_credential(route)
            return Exchange(owner, route, "POST", [], b"", message, until, **asked)
        common = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            *((name, value) for name, value in headers if name in {"traceparent", "tracestate"}),
            self._routes.upstream_header(route),
            ("accept-encoding", "identity"),
        ]
        if route.era == "modern":
            body, named = modern_request(message, tool, asks=asks)
            named += parameter_headers(route.tools.get(tool or ""), message)
            return Exchange(owner, route, "POST", common + named, body, message, until, **asked)

        whose = (*owner, asks, route.url, route.credential)

        async def renewed() -> Headers:
            return common + (await self._open(whose, route)).headers

        held = self._sessions.get(whose) or await self._open(whose, route)
        body = orjson.dumps(_named(legacy_value(message, tool), next(self._ids)))
        return Exchange(owner, route, "POST", common + held.headers, body, message, until, renew=renewed, **asked)

    async def capabilities(self, caller: Principal, route: Route) -> dict[str, Any]:
        """What of a server's capabilities crosses over, for a caller of the other era.

        Raises:
            Unavailable: the upstream does not answer.
        """
        if route.era == "legacy":
            owner = (caller.subject, caller.customer, route.server_name, False, route.url, route.credential)
            told: Mapping[str, Any] = (self._sessions.get(owner) or await self._open(owner, route)).capabilities
        else:
            told = await self._discovered(route)
        return {name: {} for name in OFFERED if name == "tools" or name in told}

    async def _discovered(self, route: Route) -> Mapping[str, Any]:
        until, told = self._capable.get(route.url, (0.0, {}))
        if time.monotonic() > until:
            reply = await ask_modern(self._outgoing, self._place(route), "server/discover", {})
            found = (reply.result or {}).get("capabilities")
            if not isinstance(found, dict):
                raise Unavailable(f"The server does not say what it can (HTTP status {reply.status}): try again later.")
            if len(self._capable) >= SESSIONS_KEPT:
                self._capable.clear()
            told = found
            self._capable[route.url] = time.monotonic() + CAPABLE_S, told
        return told

    async def greeting(
        self, caller: Principal, route: Route, message: Message
    ) -> tuple[dict[str, Any], Headers] | None:
        """The answer of a server of the newer era to a caller of the older one; None: it does not speak that one too.

        Raises:
            Unavailable: the upstream does not answer.
        """
        reply = await ask_legacy(self._outgoing, self._place(route), "initialize", message.params, Session())
        if reply.status in REFUSALS or reply.status == 429 or reply.status >= 500:
            raise Unavailable(f"The server answers with HTTP status {reply.status}: try again later.")
        if reply.result is None or not isinstance(reply.result.get("protocolVersion"), str):
            return None
        if reply.session_id is None:
            return reply.result, []
        sealed = self._seal.seal(reply.session_id, caller.subject, caller.customer, route.server_name)
        return reply.result, [(SESSION, sealed)]

    async def _open(self, owner: Owner, route: Route) -> Session:
        if len(self._sessions) >= SESSIONS_KEPT:
            self._sessions.clear()
        session = self._sessions[owner] = await initialize(self._outgoing, self._place(route), asks=owner[3])
        return session

    def _place(self, route: Route) -> Place:
        return Place(route.url, route.operated, self._routes.upstream_header(route))


def _named(value: dict[str, Any], request_id: int) -> dict[str, Any]:
    """The message under an id, and a progress token, that no other in the session has: several callers share one."""
    params = value["params"]
    meta = params.get("_meta")
    if isinstance(meta, dict) and "progressToken" in meta:
        params = {**params, "_meta": {**meta, "progressToken": request_id}}
    return {**value, "id": request_id, "params": params}


def crosses(route: Route, headers: Headers, message: Message) -> bool:
    """Whether a request comes from a caller whose era the server does not speak."""
    if message.modern:
        return known_to_speak(route, "legacy")
    return known_to_speak(route, "modern") and (session_of(headers) or "").startswith(BRIDGED)


def known_to_speak(route: Route, era: Era) -> bool:
    """Whether a server over HTTP was asked, and speaks this era (of both: the newer one)."""
    return route.package is None and route.checked and route.era == era
