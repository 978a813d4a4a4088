"""Connections to other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Unavailable

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 5.0
SILENT_S = 90.0
"""Longest time without a byte: a server that works sends a comment every 15 seconds."""
KEEP_ALIVE_S = 4.0
"""Below uvicorn's 5 s, so that a kept connection is not one that the server is closing."""
CONNECTIONS = 512


def open_client(url: str) -> httpx2.AsyncClient:
    """A pooled client for one server. It follows no redirect and reads no proxy settings."""
    import httpx2

    return httpx2.AsyncClient(
        # An SSL context takes 20–58 ms to build; a plain address needs none.
        verify=url.startswith("https:"),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(SILENT_S, connect=CONNECT_S, pool=None),
        limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=64, keepalive_expiry=KEEP_ALIVE_S),
    )


def unavailable(name: str) -> Unavailable:
    """The error of a server that does not answer."""
    return Unavailable(f"The {name} does not answer: start it with `0711 up`, then try again.", retry_after=2)
