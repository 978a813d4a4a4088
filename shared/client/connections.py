"""Connections to other servers. aiohttp, because it takes a fifth of the processor time that httpx takes for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.certificates import fault
from shared.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 5.0
SILENT_S = 90.0
"""Longest time without a byte: a server that works sends a comment every 15 seconds."""
KEEP_ALIVE_S = 4.0
"""Below uvicorn's 5 s, so that a kept connection is not one that the server is closing."""
CONNECTIONS = 512


def open_client() -> aiohttp.ClientSession:
    """A pooled client; call it on the running loop. It keeps no cookie and reads no proxy settings."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S),
    )


def unavailable(name: str, error: BaseException | None = None) -> Unavailable:
    """The error of a server that does not answer; what its connection failed with tells where it is the certificate."""
    if error is not None and (wrong := fault(error)) is not None:
        return Unavailable(f"The TLS certificate of the {name} {wrong}.", retry_after=2)
    return Unavailable(f"The {name} does not answer: start it with `0711 up`, then try again.", retry_after=2)
