"""One exchange with an upstream: the request goes as it is, the answer comes as it comes.

A relay, not a re-implementation. What changes is the token (the caller's never travels upstream), the session id
(sealed for this caller) and an error of the way (one JSON-RPC error).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientError, ClientResponse
from starlette.types import Message as Event
from starlette.types import Receive, Send

from servers.marketplace.gateway.asking import SESSION
from servers.marketplace.gateway.breaker import Breakers
from servers.marketplace.gateway.eras import Translate, translated_body, translated_event
from servers.marketplace.gateway.message import Message, error_event
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.route import Route
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.metering.units import computed_units
from shared.errors import DeadlineExceeded, PlatformError, Unavailable
from shared.metering.meter import Meter
from shared.metering.units import Units
from shared.serving.failures import platform_error

DOWN = frozenset({"content-type", "content-encoding", "cache-control", "retry-after", "allow"})
REFUSALS = frozenset({401, 403, 407})

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Exchange:
    """One request on its way.

    Args:
        owner: who may use the session that the upstream opens: the caller's subject and customer, the server's name.
        until: monotonic seconds.
        translate: what the answer needs to fit the caller's era; None: it passes as it is.
        renew: headers of a new session, where the upstream has forgotten the one in `headers`.
        tool: the tool that is called, as its server names it; its answer is metered.
    """

    owner: tuple[str, str | None, str]
    route: Route
    method: str
    headers: Headers
    body: bytes
    message: Message
    until: float
    translate: Translate | None = None
    renew: Callable[[], Awaitable[Headers]] | None = None
    tool: str | None = None
    started: bool = False


class Relay:
    """Sends exchanges to upstreams."""

    def __init__(self, outgoing: Outgoing, seal: SessionSeal, limit: int, meter: Meter, cradle: str) -> None:
        self._outgoing = outgoing
        self._seal = seal
        self._limit = limit
        self._meter = meter
        self._cradle = cradle
        self._breakers = Breakers()

    async def run(self, exchange: Exchange, receive: Receive, send: Send) -> str:
        """Relay until the answer ends or the caller is gone; the outcome's code.

        Raises:
            PlatformError: nothing has been answered yet.
        """
        work = asyncio.current_task()
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            if work is not None:
                work.cancel()  # closes the upstream's connection, which is how a call is cancelled there

        watcher = asyncio.create_task(watch())
        try:
            return await self._answered(exchange, send)
        except asyncio.CancelledError:
            if not gone or work is None:
                raise
            work.uncancel()
            return "cancelled"
        finally:
            watcher.cancel()

    async def _answered(self, exchange: Exchange, send: Send) -> str:
        try:
            await self._forward(exchange, send)
        except Exception as cause:  # noqa: BLE001  # translated and logged; the caller gets one clear error
            error = platform_error(cause, route="gateway")
            if not exchange.started:
                raise error from None
            await send(part(error_event(error, exchange.message.request_id)))
            return error.code
        return "ok"

    async def _forward(self, exchange: Exchange, send: Send) -> None:
        route = exchange.route
        self._breakers.admit(route.url)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + exchange.until - time.monotonic()):
                renewed = await self._once(exchange, send)
                if renewed is not None:
                    exchange.headers, exchange.renew = renewed, None
                    await self._once(exchange, send)
        except TimeoutError:
            self._breakers.failed(route.url)
            raise DeadlineExceeded("The server did not finish in time.") from None
        except (ClientError, OSError, ValueError):
            self._breakers.failed(route.url)
            raise Unavailable("The server cannot be reached: try again later.") from None

    async def _once(self, exchange: Exchange, send: Send) -> Headers | None:
        """One request. Headers to try again with, where the upstream has forgotten the session."""
        route = exchange.route
        async with self._outgoing.client(route.url, operated=route.operated).request(
            exchange.method,
            route.url,
            headers=exchange.headers,
            data=exchange.body or None,
            allow_redirects=False,
        ) as response:
            if response.status == 404 and exchange.renew is not None:
                return await exchange.renew()
            self._check(route, response.status)
            await self._answer(exchange, response, send)
            return None

    def _check(self, route: Route, status: int) -> None:
        if status >= 500:
            self._breakers.failed(route.url)
        else:
            self._breakers.succeeded(route.url)
        if status in REFUSALS:
            raise Unavailable("The server refuses the platform's token: its operator has to look into it.")
        if status >= 500 or 300 <= status < 400:
            raise Unavailable(f"The server answers with HTTP status {status}: try again later.")

    async def _answer(self, exchange: Exchange, response: ClientResponse, send: Send) -> None:
        head = self._head(exchange, response)
        if response.content_type == "text/event-stream":
            self._served(exchange, response, Units(calls=1))
            exchange.started = True
            await send(head)
            async for events in self._events(response):
                self._served(exchange, response, Units(bytes=len(events)), events)
                await send(part(_as_wanted(events, exchange.translate), more=True))
            await send(part(b""))
        else:
            body = await self._whole(response)
            self._served(exchange, response, Units(calls=1, bytes=len(body)), body)
            body = translated_body(body, exchange.translate) if exchange.translate else body
            head["headers"].append((b"content-length", str(len(body)).encode()))  # else it is sent in chunks
            await send(head)
            await send(part(body))

    def _served(self, exchange: Exchange, response: ClientResponse, units: Units, body: bytes = b"") -> None:
        """Meter a tool's answer before it leaves."""
        route = exchange.route
        if exchange.tool is not None and response.status == 200:
            if body and route.url == self._cradle:
                units += computed_units(body)
            self._meter.served(exchange.owner[1], route.server_name, exchange.tool, units)

    def _head(self, exchange: Exchange, response: ClientResponse) -> Event:
        headers = [
            (name.lower(), value)
            for name, value in response.raw_headers
            if (key := name.lower().decode("latin-1")) in DOWN or (key.startswith("mcp-") and key != SESSION)
        ]
        session = response.headers.get(SESSION)
        if session and exchange.renew is None and exchange.translate is None:
            headers.append((SESSION.encode(), self._seal.seal(session, *exchange.owner).encode()))
        return {"type": "http.response.start", "status": response.status, "headers": headers}

    async def _whole(self, response: ClientResponse) -> bytes:
        parts, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._limit:
                raise self._too_large()
            parts.append(chunk)
        return b"".join(parts)

    async def _events(self, response: ClientResponse) -> AsyncIterator[bytes]:
        """Events as they come. Only whole ones are passed, so that an error can still follow them."""
        passed, rest = 0, b""
        async for chunk in response.content.iter_any():
            passed += len(chunk)
            if passed > self._limit:
                raise self._too_large()
            whole, rest = whole_events(rest + chunk)
            if whole:
                yield whole
        if rest:
            yield rest

    def _too_large(self) -> PlatformError:
        return Unavailable(f"The server's answer is over {self._limit} bytes.")


def part(body: bytes, *, more: bool = False) -> Event:
    """A piece of an answer's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


def whole_events(data: bytes) -> tuple[bytes, bytes]:
    """What of a stream ends with an empty line, and the rest."""
    end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in (b"\n\n", b"\r\n\r\n"))
    return data[:end], data[end:]


def _as_wanted(events: bytes, translate: Translate | None) -> bytes:
    if translate is None:
        return events
    each = events.replace(b"\r\n", b"\n").split(b"\n\n")
    return b"".join(translated_event(event + b"\n\n", translate) for event in each if event)
