"""`/mcp`: the marketplace's own tools and those of every server that is installed for the caller, in one list.

Own tools keep their names; the others have full names (see `names`). A call of one of those is one request upstream,
whichever era caller and upstream speak. Whatever else comes in is for the marketplace itself.

At `/mcp?tools=search` only a few own tools are listed, so that the list stays small: `search_tools` finds the others,
own ones too, and they are called by their names all the same, or through `call_tool`.
"""

from __future__ import annotations

import time
from collections.abc import Container

from mcp_types.jsonrpc import PARSE_ERROR
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace.gateway.bridge import Bridge
from servers.marketplace.gateway.door import (
    SCOPE,
    accepted,
    answer,
    decoded_headers,
    read_all,
    refusal,
)
from servers.marketplace.gateway.exchange import Headers
from servers.marketplace.gateway.greeting import session_for, session_of
from servers.marketplace.gateway.listing import tools_page
from servers.marketplace.gateway.message import Message, ProtocolError, read_message, unknown_tool
from servers.marketplace.gateway.names import is_full
from servers.marketplace.gateway.own_tools import CALL_TOOL, OwnTools, unwrapped
from servers.marketplace.gateway.quotas import NO_TOOL, Quotas
from servers.marketplace.gateway.relay import Relay
from servers.marketplace.gateway.route import Routes
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.rules.conditions import check
from servers.marketplace.workers.peers import PASSED_ON, Peers
from shared.auth import Principal
from shared.errors import InvalidInput, PlatformError
from shared.serving.endpoint import replay, with_session
from shared.serving.guard import CALLER
from shared.settings import Settings
from shared.telemetry import count_call

OWN = "marketplace"


class Together:
    """An ASGI application around the marketplace's own endpoint.

    Args:
        own: the marketplace's endpoint.
        own_names: the names of all own tools.
    """

    def __init__(
        self, settings: Settings, own: ASGIApp, own_tools: OwnTools, own_names: Container[str], routes: Routes,
        relay: Relay, bridge: Bridge, quotas: Quotas, seal: SessionSeal, peers: Peers,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._own = own
        self._own_tools = own_tools
        self._own_names = own_names
        self._routes = routes
        self._relay = relay
        self._bridge = bridge
        self._quotas = quotas
        self._seal = seal
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["method"] != "POST":
            await self._own(scope, receive, send)
            return
        message = Message()
        try:
            headers = decoded_headers(scope)
            body = await read_all(receive, self._settings.max_body_bytes, self._settings.call_deadline_s)
            message = _read(body, headers)
            if message.tool == CALL_TOOL:
                scope, body = unwrapped(scope, message)
                headers = decoded_headers(scope)
                message = _read(body, headers)
            if message.request_id is not None and message.method == "tools/list":
                found_by_search = b"tools=search" in scope.get("query_string", b"").split(b"&")
                await self._list(scope[CALLER], message, send, few=found_by_search)
            elif message.request_id is not None and is_full(message.tool):
                await self._call(scope, headers, message, receive, send)
            else:
                caller = scope[CALLER]
                await self._peers.tell(scope, message)
                if await self._relay.hear(caller, session_of(headers), message):
                    await accepted(send)
                    return
                if message.method == "initialize":
                    send = with_session(send, session_for(self._seal, caller, message))
                if message.tool is not None:
                    counted = message.tool if message.tool in self._own_names else NO_TOOL
                    await self._quotas.take(scope[CALLER], OWN, counted)
                await self._own(scope, replay(body, receive), send)
        except (PlatformError, ProtocolError) as error:
            await refusal(error, message)(scope, receive, send)

    async def _list(self, caller: Principal, message: Message, send: Send, *, few: bool) -> None:
        definitions = await self._own_tools.of(caller, few=few)
        if not few:
            definitions = [*definitions, *(await self._routes.everything(caller)).definitions]
        await answer(tools_page(definitions, message), message, send)

    async def _call(self, scope: Scope, headers: Headers, message: Message, receive: Receive, send: Send) -> None:
        started, code, caller = time.perf_counter(), "ok", scope[CALLER]
        try:
            if SCOPE not in caller.scopes:
                raise unknown_tool(message)
            found = (await self._routes.everything(caller)).tools.get(message.tool or "")
            if found is None:
                raise unknown_tool(message)
            if found[0].package is not None or found[0].era == "legacy":
                elsewhere = self._peers.elsewhere(scope, caller, found[0])
                if elsewhere is not None:
                    code = await self._peers.pass_on(elsewhere, scope, message, receive, send)
                    return
            if found[1] in found[0].conditions:
                check(found[0].conditions[found[1]], message.params.get("arguments"))
            await self._quotas.take(caller, found[0].server_name, found[1])
            exchange = await self._bridge.exchange(caller, found[0], headers, message, found[1])
            code = await self._relay.run(exchange, receive, send)
        except (PlatformError, ProtocolError) as error:
            code = error.code if isinstance(error, PlatformError) else "refused"
            raise
        finally:
            if code != PASSED_ON:
                count_call("marketplace", "gateway", code, time.perf_counter() - started)


def _read(body: bytes, headers: Headers) -> Message:
    """The message. What is read here as none goes no further: another reader could find one that nobody has counted."""
    try:
        return read_message(body, headers)
    except InvalidInput as error:
        raise ProtocolError(PARSE_ERROR, error.message) from None
