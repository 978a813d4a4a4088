"""uvicorn's HTTP, with answers in one piece and header values without the spaces around them.

uvicorn writes head and body apart, each a call of the system and a wake-up of the client. Its parser leaves spaces
after a value in it, which belong to the line and not to the value (RFC 9110, section 5.5).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Joined:
    """A transport that sends what is written in one step of the loop at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send it when the running step ends."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)

    def close(self) -> None:
        """Send what is held, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


_take_header = HttpToolsProtocol.on_header  # without `super()`, which takes a third of it: each header passes here


class JoinedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        _take_header(self, name, value.strip(b" \t"))

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin a connection."""
        super().connection_made(Joined(transport))  # pyright: ignore[reportArgumentType]
