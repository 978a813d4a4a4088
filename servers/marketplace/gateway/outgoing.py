"""Connections to upstream servers: a pooled HTTP client that follows no redirect, keeps no cookie and connects to no
address that is not allowed. A name is checked where it is resolved, and that very address is connected to."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from servers.marketplace.catalogue.address import check_address, ip_allowed
from shared.certificates import fault
from shared.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from aiohttp.abc import ResolveResult

CONNECT_S = 5.0
KEEP_ALIVE_S = 4.0  # below uvicorn's 5 s, so that a kept connection is rarely one that the upstream is closing
CONNECTIONS_PER_HOST = 256  # and no limit over all: an upstream that hangs takes no connection from another
KEPT = 10_000
RESOLVERS = 16


def unreachable(error: BaseException, what: str = "server") -> Unavailable:
    """The error of an upstream that a request did not get to; a certificate's fault is told, for waiting mends none."""
    if (wrong := fault(error)) is not None:
        return Unavailable(f"The TLS certificate of the {what} {wrong}.")
    return Unavailable(f"The {what} cannot be reached: try again later.")


class Outgoing:
    """The clients of this process, opened on the running loop: one for the operator's own servers, whose addresses may
    be loopback or private, and one for everybody else's. And the same apart, for addresses that anybody can name: their
    names are resolved by a few threads of their own, so that one that nobody answers for holds up no other work."""

    def __init__(self) -> None:
        self._inside = _open_client(inside=True)
        self._outside = _open_client(inside=False)
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "resolver")
        self._apart = {inside: _open_client(inside=inside, threads=self._resolvers) for inside in (True, False)}
        self._allowed: set[tuple[str, bool]] = set()

    def client(self, url: str, *, operated: bool, apart: bool = False) -> ClientSession:
        """The client for an address. aiohttp resolves no literal address, so that is looked at here.

        Args:
            apart: anybody can name this address; nothing is remembered of it.

        Raises:
            Unavailable: nobody may be sent there.
        """
        if apart or (url, operated) not in self._allowed:
            try:
                check_address(url, inside=operated)
            except InvalidInput:
                raise Unavailable(
                    "The server's address is not allowed: its operator has to register another."
                ) from None
            if len(self._allowed) >= KEPT:
                self._allowed.clear()
            if not apart:
                self._allowed.add((url, operated))
        if apart:
            return self._apart[operated]
        return self._inside if operated else self._outside

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._inside, self._outside, *self._apart.values()):
            await client.close()
        self._resolvers.shutdown(wait=False, cancel_futures=True)


async def _resolved(
    threads: ThreadPoolExecutor, host: str, port: int, family: socket.AddressFamily
) -> list[ResolveResult]:
    """As aiohttp's resolver has it, by these threads."""
    ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        {"hostname": host, "host": str(place[0]), "port": port, "family": kind, "proto": proto, "flags": flags}
        for kind, _, proto, _, place in await asyncio.get_running_loop().run_in_executor(threads, ask)
    ]


def _open_client(*, inside: bool, threads: ThreadPoolExecutor | None = None) -> ClientSession:
    import aiohttp
    from aiohttp.abc import AbstractResolver

    class AllowedHosts(AbstractResolver):
        """Resolves names, and leaves out addresses that nobody may be sent to."""

        def __init__(self) -> None:
            self._resolver = aiohttp.ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            if threads is not None:
                found = await _resolved(threads, host, port, family)
            else:
                found = await self._resolver.resolve(host, port, family)
            allowed = [each for each in found if ip_allowed(each["host"], inside=inside)]
            if not allowed:
                raise OSError("no allowed address")
            return allowed

        async def close(self) -> None:
            await self._resolver.close()

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            limit_per_host=CONNECTIONS_PER_HOST,
            keepalive_timeout=KEEP_ALIVE_S,
            ttl_dns_cache=10,
            resolver=AllowedHosts(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
    )
