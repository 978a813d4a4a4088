"""The gateway's HTTP client: what counts as an answer, which connection is used again, and what is bounded."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from servers.marketplace.gateway import client as clients
from servers.marketplace.gateway.client import Client, Origin
from servers.marketplace.gateway.wire import AHEAD, UNFRAMED, Answer, Connection, Lost
from tests.contract.test_certificates import Authority
from tests.unit.test_marketplace_streams import split

OK = b"HTTP/1.1 200 OK\r\n"
TWO = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
LONG = b"x-a: " + b"y" * (UNFRAMED // 2) + b"\r\n"


@dataclass
class Upstream:
    """A server that answers as it is told."""

    pieces: Sequence[bytes] = ()
    closes: bool = False
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    gone: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    step: asyncio.Event | None = None
    """Awaited before each piece but the first."""
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                told = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                self.asked.append(head + await reader.readexactly(int(told[0].split()[1]) if told else 0))
                self.came.release()
                for number, piece in enumerate(self.pieces):
                    if number and self.step is not None:
                        await self.step.wait()
                    writer.write(piece)
                    await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            self.gone.release()


async def connect(origin: Origin, trusted: ssl.SSLContext | None = None) -> Connection:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, origin.host, origin.port, ssl=trusted))[1]


@asynccontextmanager
async def asking(*pieces: bytes, closes: bool = False, at_once: int | None = None) -> AsyncIterator[tuple]:
    upstream, client = Upstream(pieces, closes), Client(connect, at_once=at_once)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        try:
            yield upstream, client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        finally:
            client.close()


async def whole(client: Client, url: str) -> tuple[int, bytes]:
    async with client.request("GET", url, []) as answer:
        return answer.status, b"".join([piece async for piece in answer])


@pytest.mark.parametrize(
    ("status", "body", "pieces", "closes"),
    [
        (200, b"hi", [TWO], False),
        (200, b"hi", [CHUNKED + b"0\r\nTrailer: x\r\n\r\n"], False),
        (204, b"", [b"HTTP/1.1 204 No Content\r\n\r\n"], False),
        (200, b"hi", [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + TWO], False),
        (200, b"hi", [b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nno" + TWO], False),
        (200, b"hi", [TWO.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")], True),
        (200, b"hi there", [OK + b"\r\nhi", b" there"], True),
    ],
)
async def test_an_answer_is_the_same_however_it_is_cut(
    status: int, body: bytes, pieces: list[bytes], closes: bool
) -> None:
    chance = random.Random(711)  # noqa: S311
    async with asking(closes=closes) as (upstream, client, url):
        for _ in range(20):
            upstream.pieces = [piece for piece in split(b"".join(pieces), chance) if piece]
            assert await whole(client, url) == (status, body)
        assert upstream.connections == (20 if closes else 1)


ENDS, STRANGE, LARGE = "has closed", "no HTTP", "too large"


@pytest.mark.parametrize(
    ("why", "pieces"),
    [
        (ENDS, []),
        (ENDS, [OK + b"Content-Length: 20\r\n\r\nhi"]),
        (ENDS, [CHUNKED]),
        (STRANGE, [CHUNKED.replace(b"2\r\nhi", b"zz\r\nhi")]),
        (STRANGE, [OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]),
        (STRANGE, [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"]),
        (STRANGE, [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"]),
        (STRANGE, [b"SSH-2.0-OpenSSH\r\n\r\n"]),
        (LARGE, [OK, *[LONG] * 8]),
        (LARGE, [b"HTTP/1.1 103 Early Hints\r\n" + LONG + b"\r\n"] * 8),
        (LARGE, [CHUNKED + b"0\r\n", *[LONG] * 8]),
        (LARGE, [CHUNKED + b"2;a=", *[b"y" * (UNFRAMED // 2)] * 8]),
    ],
)
async def test_what_is_no_whole_answer_or_has_no_bound_is_lost(why: str, pieces: list[bytes]) -> None:
    async with asking(*pieces, closes=True) as (_, client, url):
        with pytest.raises(Lost, match=why):
            await whole(client, url)


async def test_a_body_without_a_length_that_a_reset_cuts_off_is_lost() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nhi")
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        async with Client(connect).request("GET", url, []) as answer:
            assert await anext(answer) == b"hi"
            answer._transport.write(b"!")
            with pytest.raises(Lost):
                await anext(answer)


async def test_hosts_that_cannot_be_reached_use_nothing_up() -> None:
    async def refused(_: Origin) -> Connection:
        raise OSError("refused")

    client = Client(refused, at_once=1)
    for _ in range(3):
        with pytest.raises(OSError, match="refused"):
            await whole(client, "http://a.example/mcp")
    assert [(each.users, each.free.locked()) for each in client._hosts.values()] == [(0, False)]
    client.close()


async def test_a_connection_with_something_after_an_answer_is_never_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "KEEP_ALIVE_S", 1000.0)
    evil = OK + b"Content-Length: 4\r\n\r\nevil"
    async with asking(TWO + evil) as (upstream, client, url):
        assert [await whole(client, url) for _ in range(3)] == [(200, b"hi")] * 3
        assert upstream.connections == 3
        upstream.step, upstream.pieces = asyncio.Event(), [TWO, evil]  # when nobody has asked
        assert await whole(client, url) == (200, b"hi")
        for _ in range(3):
            await upstream.gone.acquire()
        upstream.step.set()
        await upstream.gone.acquire()
        upstream.pieces = [TWO]
        assert await whole(client, url) == (200, b"hi")
        assert upstream.connections == 5


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client which trusts it."""
    authority = Authority(folder)
    return authority.context((-1, 9)), ssl.create_default_context(cafile=authority.file)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_on_which_a_request_was_not_all_sent_is_never_used_again(tmp_path: Path, tls: bool) -> None:
    """Its rest would be in the way of the next request, or be read as one."""
    connections, ended = 0, asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(TWO)
        await ended.wait()
        writer.transport.abort()

    own, trusted = contexts(tmp_path) if tls else (None, None)
    client = Client(partial(connect, trusted=trusted))
    async with await asyncio.start_server(hasty, "127.0.0.1", 0, ssl=own) as server:
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        async with client.request("POST", url, [], b"x" * 2**25) as answer:
            assert [piece async for piece in answer] == [b"hi"]
        assert not any(host.kept for host in client._hosts.values())
        assert await whole(client, url) == (200, b"hi")
        assert connections == 2
        ended.set()
        client.close()


async def test_a_connection_on_which_a_large_request_was_all_sent_is_used_again() -> None:
    async with asking(TWO) as (upstream, client, url):
        for _ in range(3):
            async with client.request("POST", url, [], b"x" * 200_000) as answer:
                assert [piece async for piece in answer] == [b"hi"]
        assert upstream.connections == 1


async def test_a_connection_that_the_upstream_is_closing_is_not_used_again(tmp_path: Path) -> None:
    """With TLS it takes some turns of the loop to end."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(TWO)
        writer.close()

    own, trusted = contexts(tmp_path)
    client = Client(partial(connect, trusted=trusted))
    async with await asyncio.start_server(closing, "127.0.0.1", 0, ssl=own) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        for turns in range(8):
            assert await whole(client, url) == (200, b"hi")
            for _ in range(turns):
                await asyncio.sleep(0)
        client.close()


async def test_a_connection_that_is_left_early_is_closed_and_the_upstream_sees_it() -> None:
    async with asking(CHUNKED) as (upstream, client, url):
        async with client.request("GET", url, []) as answer:
            assert await anext(answer) == b"hi"
        await upstream.gone.acquire()
        await upstream.came.acquire()
        reading = asyncio.create_task(whole(client, url))
        await upstream.came.acquire()
        reading.cancel()
        await upstream.gone.acquire()
        assert reading.cancelled() or await asyncio.wait([reading])
        assert not client._hosts[Origin("http", "127.0.0.1", int(url.split(":")[2].split("/")[0]))].users


@pytest.mark.parametrize("lost", [False, True])
async def test_an_answer_that_does_not_end_is_no_work_for_the_collector_of_cycles(lost: bool) -> None:
    async def begun(client: Client, url: str) -> weakref.ref[Answer]:
        async with client.request("GET", url, []) as answer:
            assert await anext(answer) == b"hi"
            if lost:
                with pytest.raises(Lost):
                    await anext(answer)
            return weakref.ref(answer)

    async with asking(CHUNKED, closes=lost) as (upstream, client, url):
        gc.collect()
        gc.disable()
        try:
            left = await begun(client, url)
            await upstream.gone.acquire()
            for _ in range(10):  # until the client's own end has ended too
                await asyncio.sleep(0)
            assert left() is None
        finally:
            gc.enable()


async def test_a_body_that_nobody_takes_waits_at_the_upstream_and_comes_whole_in_the_end() -> None:
    size = 64 * AHEAD
    async with asking(OK + b"Content-Length: %d\r\n\r\n" % size, *[b"z" * AHEAD] * 64) as (_, client, url):
        async with client.request("GET", url, []) as answer:
            while not answer._paused:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert answer._held <= 3 * AHEAD
            assert sum([len(piece) async for piece in answer]) == size
        assert (await whole(client, url))[0] == 200


async def test_what_small_pieces_of_a_body_take_beside_their_bytes_is_bounded_too() -> None:
    head, chunks = OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 10_000
    async with asking(head, *[chunks] * 100) as (_, client, url), client.request("GET", url, []) as answer:
        while not answer._paused:  # noqa: ASYNC110 - the transport tells nobody
            await asyncio.sleep(0)
        assert len(answer._pieces) < 100_000


async def test_over_the_bound_of_a_host_an_exchange_waits_for_another_to_end() -> None:
    async with asking(TWO, at_once=1) as (upstream, client, url):
        async with client.request("GET", url, []) as answer:
            second = asyncio.create_task(whole(client, url))
            assert b"".join([piece async for piece in answer]) == b"hi"
            assert not second.done()
        assert await second == (200, b"hi")
        assert (upstream.connections, len(upstream.asked)) == (1, 2)


async def test_without_a_connection_in_time_the_exchange_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(TWO, at_once=1) as (upstream, client, url):
        async with client.request("GET", url, []):
            monkeypatch.setattr(clients, "CONNECT_S", 0.01)
            with pytest.raises(TimeoutError):
                await whole(client, url)
        monkeypatch.undo()
        assert await whole(client, url) == (200, b"hi")
        assert len(upstream.asked) == 2


async def test_a_connection_is_kept_for_a_while_and_nothing_of_a_host_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr(clients, "SWEEP_S", 0.01)
    async with asking(TWO) as (upstream, client, url):
        for _ in range(2):
            assert await whole(client, url) == (200, b"hi")
        assert upstream.connections == 2
        for _ in range(2):
            await upstream.gone.acquire()
        while client._hosts:  # noqa: ASYNC110 - a timer tells nobody
            await asyncio.sleep(0)
        assert client._sweep is None


async def test_a_request_is_sent_as_it_is_and_a_line_break_in_a_header_is_refused() -> None:
    async with asking(TWO) as (upstream, client, url):
        body = b"x" * 200_000
        async with client.request("POST", url + "/ü", [("mcp-method", "tools/call")], body, "a=b", "a.example:1"):
            pass
        head, _, sent = upstream.asked[0].partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first == b"POST /mcp/%C3%BC?a=b HTTP/1.1"
        assert b"host: a.example:1" in lines
        assert b"mcp-method: tools/call" in lines
        assert sent == body
        for value in ("a\r\nx: y", "a\ny", "a\ry", "a\0"):
            with pytest.raises(ValueError, match="line break"):
                client.request("POST", url, [("authorization", value)])
    assert clients._place("https://a.example/mcp") == (Origin("https", "a.example", 443), "a.example", "/mcp")
    assert clients._place("http://[::1]:81") == (Origin("http", "::1", 81), "[::1]:81", "/")
