"""Streams that come in pieces: the same events whatever the pieces are, at a cost that grows with the bytes only."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from servers.marketplace.gateway.asking import _answer
from servers.marketplace.gateway.events import Events
from servers.marketplace.gateway.relay import Relay
from shared.client.stream import read_events

STREAM = b"event: message\ndata: {}\n\n: ping\n\ndata: a\ndata: b\n\n\ndata: x\\n\\n\n\n" + b'data: {"id":1,"x":[]}\n\n'
ENDS = [b"\n", b"\r\n"]


async def pieces_of(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def split(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(40)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def content(pieces: Sequence[bytes]) -> Any:
    return SimpleNamespace(iter_any=lambda: pieces_of(pieces))


async def relayed(pieces: Sequence[bytes]) -> list[bytes]:
    relay = Relay.__new__(Relay)
    relay._limit = 2**30
    answer: Any = SimpleNamespace(chunks=pieces_of(pieces))
    return [each async for each in relay._events(answer)]


async def read(pieces: Sequence[bytes]) -> list[bytes]:
    response: Any = SimpleNamespace(content=content(pieces))
    return [each async for each in read_events(response)]


def joined_again_and_again(pieces: Sequence[bytes], end: bytes) -> list[bytes]:
    """What is passed after each piece, found in everything that is held."""
    passed, rest = [], b""
    for piece in pieces:
        rest += piece
        at = rest.rfind(end + end)
        whole, rest = (rest[: at + 2 * len(end)], rest[at + 2 * len(end) :]) if at >= 0 else (b"", rest)
        passed += [whole] if whole else []
    return [*passed, rest] if rest else passed


@pytest.mark.parametrize("end", ENDS, ids=["line feeds", "both"])
async def test_however_a_stream_is_cut_its_events_are_the_same(end: bytes) -> None:
    chance, stream = random.Random(711), STREAM.replace(b"\n", end)  # noqa: S311
    whole = await read([stream])
    assert whole == [b"{}", b"a\nb", rb"x\n\n", b'{"id":1,"x":[]}']
    for _ in range(500):
        pieces = split(stream + chance.choice([b"", b"data: unended"]), chance)
        assert await relayed(pieces) == joined_again_and_again(pieces, end)
        assert await read(pieces) == whole
        assert await _answer(content(pieces), 1, streams=True) == {"id": 1, "x": []}


async def test_an_answer_is_taken_when_its_event_ends_and_not_when_the_stream_does() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b'data: {"id":1,"result":{}}\n\r'
        yield b"\n"
        raise AssertionError("nobody reads on")

    assert await _answer(SimpleNamespace(iter_any=silent), 1, streams=True) == {"id": 1, "result": {}}
    assert await _answer(content([b'{"id"', b":1}"]), 1, streams=False) == {"id": 1}
    assert await _answer(content([b'data: {"id":', b"1}"]), 1, streams=True) == {"id": 1}
    assert await _answer(content([b'data: {"id":2}\n\n']), 1, streams=True) == {}


class Counted(bytearray):
    """Counts the bytes that are looked at for a mark."""

    seen = 0

    def rfind(self, mark: Any, start: Any = 0, end: Any = None) -> int:
        Counted.seen += len(self) - start
        return super().rfind(mark, start)


def test_what_is_held_is_not_looked_at_again_for_each_piece() -> None:
    events = Events()
    events._rest = Counted()
    for _ in range(1000):
        assert events.add(b"x" * 100) == b""
    assert Counted.seen < 3 * 100_000
    assert len(events.add(b"\n\n")) == 100_002


class Copied(bytes):
    """Counts the bytes that are copied where it is joined with others; a bytearray grows where it is."""

    joined = 0

    def __radd__(self, other: bytes | bytearray) -> bytes:
        if isinstance(other, bytearray):
            return NotImplemented
        Copied.joined += len(other)
        return bytes(other) + bytes(self)


@pytest.mark.parametrize("how", [relayed, read], ids=["gateway", "client"])
async def test_one_long_event_in_many_pieces_is_joined_once(how: Callable[[Sequence[bytes]], Any]) -> None:
    Copied.joined = 0
    assert len(b"".join(await how([b"data: ", *[Copied(b"x" * 10)] * 2000, b"\n\n"]))) >= 20_000
    assert Copied.joined < 100_000
