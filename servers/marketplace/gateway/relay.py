"""`/servers/{name}/mcp`: relays one streamable-HTTP exchange, of either protocol era, to an installed server.

A relay, not a re-implementation: the body passes as it came, the answer as it comes. What changes is the token (the
caller's never travels upstream), the session id (sealed for this caller) and an error of the way (one JSON-RPC error).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from servers.marketplace.gateway.message import Message, error_body, error_event, read_message
from servers.marketplace.gateway.outgoing import open_client
from servers.marketplace.gateway.route import Route, Routes
from servers.marketplace.gateway.sessions import SessionSeal
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
from shared.serving.failures import platform_error
from shared.settings import Settings
from shared.telemetry import count_call

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

PREFIX, SUFFIX = "/servers/", "/mcp"
METHODS = frozenset({"POST", "GET", "DELETE"})
SCOPE = "gateway:call"
SESSION = "mcp-session-id"
UP = frozenset({"accept", "content-type", "last-event-id", "traceparent", "tracestate"})
DOWN = frozenset({"content-type", "content-encoding", "cache-control", "retry-after", "allow"})
REFUSALS = frozenset({401, 403, 407})


@dataclass(slots=True)
class Exchange:
    """One call on its way: who calls what, with which message, until when (monotonic seconds)."""

    caller: Principal
    server_name: str
    route: Route
    method: str
    headers: list[tuple[str, str]]
    body: bytes
    message: Message
    until: float
    started: bool = False


class Gateway:
    """An ASGI application for the paths that `serves` accepts. `open` and `close` belong to the process's lifespan."""

    def __init__(self, settings: Settings, verifier: Verifier, routes: Routes, seal: SessionSeal) -> None:
        self._settings = settings
        self._verifier = verifier
        self._routes = routes
        self._seal = seal
        self._client: ClientSession | None = None

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is a call-through."""
        return path.startswith(PREFIX) and path.endswith(SUFFIX) and len(path) > len(PREFIX) + len(SUFFIX)

    async def open(self) -> None:
        """Open the pooled client."""
        self._client = open_client()

    async def close(self) -> None:
        """Close all upstream connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        started, code, message = time.perf_counter(), "ok", Message()
        try:
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
            if scope["method"] not in METHODS:
                raise InvalidInput("This address takes POST, GET and DELETE.")
            caller = await self._authenticate(headers)
            body = await self._body(scope["method"], headers, receive)
            message = read_message(body) if scope["method"] == "POST" else message
            exchange = await self._exchange(scope, caller, headers, body, message)
            code = await self._while_wanted(exchange, receive, send)
        except PlatformError as error:
            code = error.code
            await self._refuse(error, message, send)
        finally:
            count_call("marketplace", "gateway", code, time.perf_counter() - started)

    async def _authenticate(self, headers: list[tuple[str, str]]) -> Principal:
        given = [value for name, value in headers if name == "authorization"]
        kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer" or not token:
            raise Unauthenticated("A token of the marketplace is needed.")
        caller = await self._verifier.verify(token.strip())
        if SCOPE not in caller.scopes:
            raise Forbidden(f"This needs the scope {SCOPE}.", field="scope")
        return caller

    async def _body(self, method: str, headers: list[tuple[str, str]], receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes if method == "POST" else 0
        told = next((value for name, value in headers if name == "content-length"), "0")
        if not told.isdecimal() or int(told) > limit:
            raise TooLarge(f"The body is over {limit} bytes.")
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.call_deadline_s):
                while True:
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        raise InvalidInput("The body is incomplete.")
                    body += event.get("body", b"")
                    if len(body) > limit:
                        raise TooLarge(f"The body is over {limit} bytes.")
                    if not event.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise DeadlineExceeded("The body did not arrive in time.") from None

    async def _exchange(
        self, scope: Scope, caller: Principal, headers: list[tuple[str, str]], body: bytes, message: Message
    ) -> Exchange:
        name = scope["path"][len(PREFIX) : -len(SUFFIX)]
        route = await self._routes.route(caller, name)
        token_ends = time.monotonic() + max(0.0, caller.expires_at - time.time())
        deadline = time.monotonic() + self._settings.call_deadline_s
        until = token_ends if message.listens and scope["method"] != "DELETE" else deadline
        up = self._headers_up(caller, name, route, headers)
        return Exchange(caller, name, route, scope["method"], up, body, message, until)

    def _headers_up(
        self, caller: Principal, name: str, route: Route, headers: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        up = [(key, value) for key, value in headers if key in UP or (key.startswith("mcp-") and key != SESSION)]
        sessions = [value for key, value in headers if key == SESSION]
        up += [(SESSION, self._seal.open(value, caller.subject, caller.customer, name)) for value in sessions[:1]]
        up.append(("authorization", f"Bearer {self._routes.upstream_token(route)}"))
        up.append(("accept-encoding", "identity"))
        return up

    async def _while_wanted(self, exchange: Exchange, receive: Receive, send: Send) -> str:
        """Relay until the answer ends or the caller is gone; then the upstream's connection is closed too."""
        work = asyncio.create_task(self._relay(exchange, send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        return "cancelled" if work.cancelled() else work.result()

    async def _relay(self, exchange: Exchange, send: Send) -> str:
        """The outcome's code; an error has been answered then."""
        try:
            await self._forward(exchange, send)
        except Exception as cause:  # noqa: BLE001  # translated and logged; the caller gets one clear error
            error = platform_error(cause, route="gateway")
            if exchange.started:
                await send(_part(error_event(error, exchange.message.request_id)))
            else:
                await self._refuse(error, exchange.message, send)
            return error.code
        return "ok"

    async def _forward(self, exchange: Exchange, send: Send) -> None:
        from aiohttp import ClientError

        if self._client is None:
            raise Unavailable("The gateway is stopping: try again.")
        try:
            async with (
                asyncio.timeout(exchange.until - time.monotonic()),
                self._client.request(
                    exchange.method,
                    exchange.route.url,
                    headers=exchange.headers,
                    data=exchange.body or None,
                    allow_redirects=False,
                ) as response,
            ):
                await self._answer(exchange, response, send)
        except TimeoutError:
            raise DeadlineExceeded("The server did not finish in time.") from None
        except (ClientError, OSError, ValueError):
            raise Unavailable("The server cannot be reached: try again later.") from None

    async def _answer(self, exchange: Exchange, response: ClientResponse, send: Send) -> None:
        status = response.status
        if status in REFUSALS:
            raise Unavailable("The server refuses the platform's token: its operator has to look into it.")
        if status >= 500 or 300 <= status < 400:
            raise Unavailable(f"The server answers with HTTP status {status}: try again later.")
        head = self._head(exchange, response)
        if response.content_type == "text/event-stream":
            await self._stream(exchange, response, head, send)
        else:
            body = await self._whole(response)
            await send(head)
            await send(_part(body))

    def _head(self, exchange: Exchange, response: ClientResponse) -> Event:
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers.items()
            if (key := name.lower()) in DOWN or (key.startswith("mcp-") and key != SESSION)
        ]
        session = response.headers.get(SESSION)
        if session:
            owner = (exchange.caller.subject, exchange.caller.customer, exchange.server_name)
            headers.append((SESSION.encode(), self._seal.seal(session, *owner).encode()))
        return {"type": "http.response.start", "status": response.status, "headers": headers}

    async def _whole(self, response: ClientResponse) -> bytes:
        limit, body = self._settings.max_body_bytes, bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise Unavailable(f"The server's answer is over {limit} bytes.")
        return bytes(body)

    async def _stream(self, exchange: Exchange, response: ClientResponse, head: Event, send: Send) -> None:
        """Pass events on as they come. Only whole events are passed, so that an error can still follow them."""
        limit, passed, rest = self._settings.max_body_bytes, 0, b""
        await send(head)
        exchange.started = True
        async for chunk in response.content.iter_any():
            passed += len(chunk)
            if passed > limit:
                raise Unavailable(f"The server's answer is over {limit} bytes.")
            whole, rest = _whole_events(rest + chunk)
            if whole:
                await send(_part(whole, more=True))
        await send(_part(rest))

    async def _refuse(self, error: PlatformError, message: Message, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", self._challenge('error="invalid_token"')))
        elif isinstance(error, Forbidden) and error.field == "scope":
            headers.append((b"www-authenticate", self._challenge('error="insufficient_scope"')))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send(_part(error_body(error, message.request_id)))

    def _challenge(self, error: str) -> bytes:
        place = self._settings.url("marketplace") + "/.well-known/oauth-protected-resource/mcp"
        return f'Bearer {error}, scope="{SCOPE}", resource_metadata="{place}"'.encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(body: bytes, *, more: bool = False) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _whole_events(data: bytes) -> tuple[bytes, bytes]:
    """What of a stream ends with an empty line, and the rest."""
    end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in (b"\n\n", b"\r\n\r\n"))
    return data[:end], data[end:]
