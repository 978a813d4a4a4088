"""Reading an answer's body: whole, or as server-sent events; never more than a bound."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING

from shared.errors import TooLarge

if TYPE_CHECKING:
    import aiohttp

LARGEST_ANSWER = 256 * 2**20


async def read_whole(parts: AsyncIterable[bytes], most: int = LARGEST_ANSWER) -> bytes:
    """A body, of the parts that it comes in.

    Raises:
        TooLarge: it is over `most` bytes.
    """
    body = bytearray()
    async for part in parts:
        body += part
        _check(len(body), most)
    return bytes(body)


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each event (WHATWG HTML, 9.2): its `data` lines, joined by line feeds. Comments are passed over."""
    rest, data = bytearray(), []
    size = 0
    async for part in response.content.iter_any():
        *lines, last = part.split(b"\n")
        if lines:
            lines[0] = bytes(rest) + lines[0]
            rest.clear()
        rest += last
        size += len(part)
        _check(size)
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data, size = [], len(rest)


def _check(size: int, most: int = LARGEST_ANSWER) -> None:
    if size > most:
        raise TooLarge("The server's answer is too large: ask for less at once.")
