"""Requests that a proxy in front could take for others than the marketplace does: nothing hidden in one is served."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.marketplace_rig import Market
from tests.serving_rig import HANGS_S

HIDDEN = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
SERVED = b"mcp-central-api"
"""What the answer to the hidden request holds."""
PATHS = (b"/oauth/token", b"/mcp", b"/servers/io.0711/cradle/mcp")
HEADS = (
    b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",  # a length beside chunks
    b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",  # chunks beside a length
    b"Content-Length: 4\r\nContent-Length: %d\r\n",  # two lengths
    b"Content-Length: 4, %d\r\n",  # lengths in one line
    b"Content-Length: +4\r\nX-Whole: %d\r\n",  # a length with a sign
    b"Content-Length: 0x4\r\nX-Whole: %d\r\n",  # a length in other digits
    b"Content-Length : 4\r\nX-Whole: %d\r\n",  # a blank before the colon
    b"Transfer-Encoding: xchunked\r\nX-Whole: %d\r\n",  # a coding that is none
    b"Transfer-Encoding: chunked, identity\r\nContent-Length: %d\r\n",  # a coding after chunks
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: %d\r\n",  # chunks twice
    b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",  # a folded line
    b"X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n",  # a line that ends in LF alone
    b"Transfer-Encoding\0: chunked\r\nContent-Length: %d\r\n",  # a NUL in a name
    b"Transfer-Encoding:\tchunked\r\nContent-Length: %d\r\n",  # a tab as blank
)


async def answers(market: Market, request: bytes) -> bytes:
    """All that comes back on one connection until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", market.settings.marketplace_port)
    writer.write(request)
    told = b""
    with suppress(ConnectionError):  # it leaves unread what follows a request that it refuses
        async with asyncio.timeout(HANGS_S):
            while more := await reader.read(65_536):
                told += more
    writer.close()
    return told


async def test_the_hidden_request_would_be_seen(market: Market) -> None:
    first = b"POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nabcd"
    assert SERVED in await answers(market, first + HIDDEN)


@pytest.mark.requirement("I-10")
async def test_what_is_hidden_in_a_body_whose_end_is_unclear_is_never_served(market: Market) -> None:
    bodies = [front + HIDDEN for front in (b"0\r\n\r\n", b"abcd", b"4\r\nabcd\r\n0\r\n\r\n")]
    requests = [
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s" % (path, head % len(body), body)
        for head in HEADS
        for path in PATHS
        for body in bodies
    ]
    told = await asyncio.gather(*(answers(market, each) for each in requests))
    assert [request for request, answer in zip(requests, told, strict=True) if SERVED in answer] == []
