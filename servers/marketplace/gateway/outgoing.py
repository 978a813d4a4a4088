"""Connections to upstream servers: one pooled HTTP client that follows no redirect and keeps no cookie."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from servers.marketplace.catalogue.address import ip_allowed

if TYPE_CHECKING:
    from aiohttp import ClientSession

CONNECT_S = 5.0
KEEP_ALIVE_S = 4.0  # below uvicorn's 5 s, so that a kept connection is rarely one that the upstream is closing
CONNECTIONS = 1024
CONNECTIONS_PER_HOST = 256


def open_client() -> ClientSession:
    """The client for all upstreams of this process; call it on the running loop and close what it returns."""
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class AllowedHosts(AbstractResolver):
        """Resolves names, and leaves out addresses that nobody may be sent to."""

        def __init__(self) -> None:
            self._resolver = aiohttp.ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await self._resolver.resolve(host, port, family)
            allowed = [each for each in found if ip_allowed(each["host"])]
            if not allowed:
                raise OSError("no allowed address")
            return allowed

        async def close(self) -> None:
            await self._resolver.close()

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS,
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
