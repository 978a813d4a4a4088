"""The HTTP client of the gateway: connections that are kept, and nothing else. It follows no redirect, keeps no cookie,
unpacks nothing, asks no proxy and repeats no request.

aiohttp, which can do everything, took a third of the time of a call's Python, and 8 MB.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from servers.marketplace.gateway.wire import Answer, Connection, Headers, head_of

CONNECT_S = 5.0
KEEP_ALIVE_S = 4.0  # below uvicorn's 5 s, so that a kept connection is rarely one that the upstream is closing
CONNECTIONS_PER_HOST = 256  # and no limit over all: an upstream that hangs takes no connection from another
SWEEP_S = 1.0


class Origin(NamedTuple):
    """Where a connection leads to; the scheme is `http` or `https`."""

    scheme: str
    host: str
    port: int


Connect = Callable[[Origin], Awaitable[Connection]]


class Client:
    """Asks servers.

    Args:
        connect: opens a connection.
        keeps: connections are used again.
        at_once: most exchanges with one host at a time; others wait. Default: `CONNECTIONS_PER_HOST`.
    """

    def __init__(self, connect: Connect, *, keeps: bool = True, at_once: int | None = None) -> None:
        self._connect = connect
        self._keeps = keeps
        self._at_once = at_once or CONNECTIONS_PER_HOST
        self._hosts: dict[Origin, _Host] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def request(
        self, method: str, url: str, headers: Headers, body: bytes = b"", query: str = "", host: str | None = None
    ) -> Asked:
        """One exchange: `async with client.request(…) as answer`. Left before the answer's end, it closes the
        connection.

        Args:
            query: added to the address.
            host: what the header `Host` says; default: as the address has it.

        Raises:
            ValueError: a header has a line break in it.
            TimeoutError: there is no connection within `CONNECT_S`.
            OSError: there is none, or it is lost.
        """
        origin, named, target = _place(url)
        target = f"{target}?{query}" if query else target
        return Asked(self, origin, head_of(method, target, host or named, headers, len(body)), body)

    async def take(self, origin: Origin) -> tuple[_Host, Connection]:
        """A connection, to be given back."""
        loop = asyncio.get_running_loop()
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(asyncio.Semaphore(self._at_once))
            self._sweep = self._sweep or loop.call_later(SWEEP_S, self._swept)
        host.users += 1
        try:
            if not host.free.locked() and (kept := host.taken(loop.time())) is not None:
                await host.free.acquire()  # at once
                return host, kept
            async with asyncio.timeout(CONNECT_S):
                await host.free.acquire()
                try:
                    return host, host.taken(loop.time()) or await self._connect(origin)
                except BaseException:
                    host.free.release()
                    raise
        except BaseException:
            host.users -= 1
            raise

    def give_back(self, host: _Host, connection: Connection) -> None:
        """The exchange is over."""
        host.users -= 1
        host.free.release()
        if not self._keeps:
            connection.close()
        elif connection.keep(asyncio.get_running_loop().time()):
            host.kept.append(connection)

    def close(self) -> None:
        """Close the connections that nobody uses; of the others each ends with its exchange."""
        self._keeps = False
        if self._sweep is not None:
            self._sweep.cancel()
        for host in self._hosts.values():
            host.close_kept(float("inf"))

    def _swept(self) -> None:
        loop = asyncio.get_running_loop()
        for origin, host in list(self._hosts.items()):
            host.close_kept(loop.time())
            if not host.users and not host.kept:
                del self._hosts[origin]
        self._sweep = loop.call_later(SWEEP_S, self._swept) if self._hosts else None


class Asked:
    """One exchange, inside the block."""

    __slots__ = ("_body", "_client", "_connection", "_head", "_host", "_origin")

    def __init__(self, client: Client, origin: Origin, head: bytes, body: bytes) -> None:
        self._client = client
        self._origin = origin
        self._head = head
        self._body = body

    async def __aenter__(self) -> Answer:
        self._host, self._connection = await self._client.take(self._origin)
        try:
            return await self._connection.ask(self._head, self._body)
        except BaseException:
            self._client.give_back(self._host, self._connection)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._client.give_back(self._host, self._connection)


@dataclass(slots=True)
class _Host:
    """Connections to one origin: those that nobody uses, the one that was used last at the end."""

    free: asyncio.Semaphore
    kept: deque[Connection] = field(default_factory=deque)
    users: int = 0

    def taken(self, now: float) -> Connection | None:
        """One that can be used again."""
        while self.kept:
            connection = self.kept.pop()
            if not connection.closed and now < connection.kept_since + KEEP_ALIVE_S:
                return connection
            connection.close()
        return None

    def close_kept(self, now: float) -> None:
        """Close those that have been kept for long enough at `now`."""
        while self.kept and (self.kept[0].closed or now >= self.kept[0].kept_since + KEEP_ALIVE_S):
            self.kept.popleft().close()


@lru_cache(1024)
def _place(url: str) -> tuple[Origin, str, str]:
    """Where a request goes: origin, the header `Host`, and the target of its first line."""
    parts = urlsplit(url)
    host, usual = parts.hostname or "", 443 if parts.scheme == "https" else 80
    port = parts.port or usual
    named = f"[{host}]" if ":" in host else host
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + ("?" + parts.query if parts.query else "")
    return Origin(parts.scheme, host, port), named if port == usual else f"{named}:{port}", target
