"""`/servers/{name}/mcp`: one installed server, in either era of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mcp.shared.inbound import MCP_PARAM_HEADER_PREFIX
from mcp_types.jsonrpc import INVALID_REQUEST
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servers.marketplace.gateway.asking import SESSION
from servers.marketplace.gateway.bridge import ALL_CAPABILITIES, CROSSING, Bridge, crosses, known_to_speak
from servers.marketplace.gateway.checks import Checks, checked_route
from servers.marketplace.gateway.eras import parameter_headers
from servers.marketplace.gateway.exchange import Exchange, Headers
from servers.marketplace.gateway.greeting import BRIDGED, can_be_asked, session_for, session_of
from servers.marketplace.gateway.listing import tools_page
from servers.marketplace.gateway.message import (
    Message,
    ProtocolError,
    error_body,
    read_message,
    result_body,
    unknown_tool,
)
from servers.marketplace.gateway.quotas import NO_TOOL, Quotas
from servers.marketplace.gateway.relay import Relay, part
from servers.marketplace.gateway.route import Route, Routes
from servers.marketplace.gateway.running import CAPABILITIES, own_answer
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.rules.conditions import check
from servers.marketplace.workers.peers import PASSED_ON, Peers
from shared.auth import Principal, Verifier
from shared.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    PlatformError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from shared.serving.closing import ClosingResponse
from shared.serving.rest import too_large
from shared.settings import Settings
from shared.telemetry import count_call

PREFIX, SUFFIX = "/servers/", "/mcp"
METHODS = ("POST", "GET", "DELETE")
SCOPE = "gateway:call"
GREETINGS = frozenset({"initialize", "server/discover"})
NEEDS_TOOLS = frozenset({"tools/list", "tools/call"})
UP = frozenset({"accept", "last-event-id", "traceparent", "tracestate"})
NO_MESSAGE = Message()
JSON = ("content-type", "application/json")
"""What the caller says of its body does not travel: in another charset an upstream could read another tool in it."""


class Gateway:
    """An ASGI application for the paths that `serves` accepts."""

    def __init__(
        self, settings: Settings, verifier: Verifier, routes: Routes, checks: Checks, seal: SessionSeal, relay: Relay,
        quotas: Quotas, bridge: Bridge, peers: Peers,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._verifier = verifier
        self._routes = routes
        self._checks = checks
        self._seal = seal
        self._relay = relay
        self._quotas = quotas
        self._bridge = bridge
        self._peers = peers

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is a call-through."""
        return path.startswith(PREFIX) and path.endswith(SUFFIX) and len(path) > len(PREFIX) + len(SUFFIX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        started, code, message = time.perf_counter(), "ok", NO_MESSAGE
        try:
            headers = decoded_headers(scope)
            caller, message = await self._arrived(scope["method"], headers, receive)
            code = await self._serve(scope, caller, headers, message, receive, send)
        except (PlatformError, ProtocolError) as error:
            code = error.code if isinstance(error, PlatformError) else "refused"
            await refusal(error, message, self._headers_with(error))(scope, receive, send)
        finally:
            if code != PASSED_ON:
                count_call("marketplace", "gateway", code, time.perf_counter() - started)

    async def _arrived(self, method: str, headers: Headers, receive: Receive) -> tuple[Principal, Message]:
        caller = await self._authenticate(headers)
        if method not in METHODS:
            raise ProtocolError(INVALID_REQUEST, "This address takes POST, GET and DELETE.", status=405)
        limit = self._settings.max_body_bytes if method == "POST" else 0
        told = next((value for name, value in headers if name == "content-length"), "0")
        if not told.isdecimal() or int(told[:20]) > limit:
            raise too_large(limit)
        body = await read_all(receive, limit, self._settings.call_deadline_s)
        return caller, read_message(body, headers) if method == "POST" else NO_MESSAGE

    async def _serve(
        self, scope: Scope, caller: Principal, headers: Headers, message: Message, receive: Receive, send: Send
    ) -> str:
        route = await self._route(caller, scope["path"][len(PREFIX) : -len(SUFFIX)], message)
        if message.method == "tools/list" and message.request_id is not None:
            await answer(tools_page(tuple(route.tools.values()), message), message, send)
            return "ok"
        if message.method == "tools/call" and message.tool not in route.tools:
            raise unknown_tool(message)
        if route.package is not None and message.method != "tools/call":
            await self._answer_here(scope, route, caller, headers, message, send)
            return "ok"
        crossing = crosses(route, headers, message)
        if route.package is not None or (crossing and route.era == "legacy" and message.method in CROSSING):
            elsewhere = self._peers.elsewhere(scope, caller, route)
            if elsewhere is not None:
                return await self._peers.pass_on(elsewhere, scope, message, receive, send)
        if message.tool is not None and message.tool in route.conditions:
            check(route.conditions[message.tool], message.params.get("arguments"))
        if message.request_id is not None or not crossing:  # whatever travels counts
            await self._quotas.take(caller, route.server_name, message.tool or NO_TOOL)
        if await self._greets(scope, route, caller, headers, message, send):
            return "ok"
        if crossing and message.method not in CROSSING:
            await self._answer_here(scope, route, caller, headers, message, send)
            return "ok"
        if crossing:
            exchange = await self._bridge.exchange(caller, route, headers, message, message.tool)
        else:
            exchange = self._exchange(caller, route, scope["method"], headers, message)
        return await self._relay.run(exchange, receive, send)

    async def _greets(
        self, scope: Scope, route: Route, caller: Principal, headers: Headers, message: Message, send: Send
    ) -> bool:
        """Greet a caller of the older era for a server of the newer one, in the server's words where it has some."""
        if message.modern or message.method != "initialize" or not known_to_speak(route, "modern"):
            return False
        greeting = await self._bridge.greeting(caller, route, message)
        if greeting is None:
            await self._answer_here(scope, route, caller, headers, message, send)
        else:
            await answer(greeting[0], message, send, greeting[1])
        return True

    async def _answer_here(
        self, scope: Scope, route: Route, caller: Principal, headers: Headers, message: Message, send: Send
    ) -> None:
        """What is no call of a server that the platform runs, or that speaks another era than its caller: the greetings
        of both eras, and nothing to listen to."""
        if message.request_id is not None and message.method:
            child, greets = route.package is not None, message.method == "initialize"
            can = CAPABILITIES if child else ALL_CAPABILITIES
            if not child and message.method in GREETINGS:
                can = await self._bridge.capabilities(caller, route)
            session = ("" if child else BRIDGED) + session_for(self._seal, caller, message)
            await answer(own_answer(route, message, can), message, send, [(SESSION, session)] if greets else [])
            return
        await self._peers.tell(scope, message)
        await self._relay.hear(caller, session_of(headers), message)
        await accepted(send, 202 if scope["method"] == "POST" else 405)

    async def _route(self, caller: Principal, name: str, message: Message) -> Route:
        if message.method in NEEDS_TOOLS:
            return await checked_route(self._routes, self._checks, caller, name)
        route = await self._routes.route(caller, name)
        if message.method in GREETINGS and not route.checked:
            with contextlib.suppress(Unavailable):  # then it is called as it is
                return await checked_route(self._routes, self._checks, caller, name)
        return route

    async def _authenticate(self, headers: Headers) -> Principal:
        given = [value for name, value in headers if name == "authorization"]
        kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer" or not token:
            raise Unauthenticated("A token of the marketplace is needed.")
        caller = await self._verifier.verify(token.strip())
        if SCOPE not in caller.scopes:
            raise Forbidden(f"This needs the scope {SCOPE}.", field="scope")
        return caller

    def _exchange(self, caller: Principal, route: Route, method: str, headers: Headers, message: Message) -> Exchange:
        until = time.monotonic() + self._settings.call_deadline_s
        if message.listens and method != "DELETE":
            until = time.monotonic() + max(0.0, caller.expires_at - time.time())
        owner = (caller.subject, caller.customer, route.server_name)
        if route.package is not None:
            self._routes.check_credential(route)
            asked = can_be_asked(self._seal, caller, headers, message)
            return Exchange(
                owner, route, method, [], b"", message, until, tool=message.tool, session=session_of(headers),
                can_be_asked=asked, talks=True,
            )  # fmt: skip
        up, body = self._headers_up(owner, route, headers), b""
        if method == "POST":
            definition = route.tools.get(message.tool or "") if message.modern else None
            up, body = [JSON, *up, *parameter_headers(definition, message)], message.body()
        return Exchange(owner, route, method, up, body, message, until, tool=message.tool)

    def _headers_up(self, owner: tuple[str, str | None, str], route: Route, headers: Headers) -> Headers:
        up = [(key, value) for key, value in headers if key in UP or (key.startswith("mcp-") and not _made_here(key))]
        sessions = [value for key, value in headers if key == SESSION]
        up += [(SESSION, self._seal.open(value, *owner)) for value in sessions[:1]]
        return [*up, *own_headers(self._routes.upstream_header(route))]

    def _headers_with(self, error: PlatformError | ProtocolError) -> Headers:
        if error.status == 405:
            return [("allow", ", ".join(METHODS))]
        if isinstance(error, Unauthenticated):
            kind = "invalid_token"
        elif isinstance(error, Forbidden) and error.field == "scope":
            kind = "insufficient_scope"
        else:
            return []
        place = self._settings.url("marketplace") + "/.well-known/oauth-protected-resource/mcp"
        return [("www-authenticate", f'Bearer error="{kind}", scope="{SCOPE}", resource_metadata="{place}"')]


def _made_here(header: str) -> bool:
    """Whether a header of the caller's does not travel, for the gateway makes it itself."""
    return header == SESSION or header.startswith(MCP_PARAM_HEADER_PREFIX.lower())


def decoded_headers(scope: Scope) -> Headers:
    """The request's headers as text; names in lower case, as ASGI has them."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def own_headers(admission: tuple[str, str]) -> Headers:
    """The headers that the gateway adds to what travels upstream; `admission` is the one that lets it in."""
    return [admission, ("accept-encoding", "identity")]


async def read_all(receive: Receive, limit: int, deadline_s: float) -> bytes:
    """The body.

    Raises:
        TooLarge: it is over `limit` bytes.
        DeadlineExceeded: it did not arrive in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise InvalidInput("The body is incomplete.")
                body += event.get("body", b"")
                if len(body) > limit:
                    raise too_large(limit)
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise DeadlineExceeded("The body did not arrive in time.") from None


def refusal(
    error: PlatformError | ProtocolError, message: Message, headers: Sequence[tuple[str, str]] = ()
) -> Response:
    """The error as an answer; the connection of a body that is too large closes after it."""
    sent = dict(headers)
    if isinstance(error, PlatformError) and error.retry_after is not None:
        sent["retry-after"] = str(max(1, round(error.retry_after)))
    request_id = error.request_id if isinstance(error, ProtocolError) else message.request_id
    kind = ClosingResponse if isinstance(error, TooLarge) else Response
    return kind(error_body(error, request_id), error.status, sent, "application/json")


async def accepted(send: Send, status: int = 202) -> None:
    """Answer what wants no answer."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send(part(b""))


async def answer(
    result: Mapping[str, Any], message: Message, send: Send, headers: Sequence[tuple[str, str]] = ()
) -> None:
    """Answer a request that no upstream is needed for."""
    body = result_body(result, message.request_id)
    sent = [JSON, ("content-length", str(len(body))), *headers]
    raw = [(name.encode(), value.encode()) for name, value in sent]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send(part(body))
