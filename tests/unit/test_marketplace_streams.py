"""Streams that come in pieces: the same events whatever the pieces are, at a cost that grows with the bytes only."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from servers.marketplace.gateway.asking import _answer
from servers.marketplace.gateway.events import Events
from servers.marketplace.gateway.message import Message
from servers.marketplace.gateway.questions import Conversation, Questions
from servers.marketplace.gateway.relay import Relay, _as_wanted
from shared.client.stream import read_events

STREAM = b"event: message\ndata: {}\n\n: ping\n\ndata: a\ndata: b\n\n\ndata: x\\n\\n\n\n" + b'data: {"id":1,"x":[]}\n\n'
ENDS = [b"\n", b"\r\n"]


async def pieces_of(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def split(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(40)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def relayed(pieces: Sequence[bytes]) -> list[bytes]:
    relay = Relay.__new__(Relay)
    relay._limit = 2**30
    answer: Any = SimpleNamespace(chunks=pieces_of(pieces))
    return [each async for each in relay._events(answer)]


async def read(pieces: Sequence[bytes]) -> list[bytes]:
    response: Any = SimpleNamespace(content=SimpleNamespace(iter_any=lambda: pieces_of(pieces)))
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
        assert await _answer(pieces_of(pieces), 1, streams=True) == {"id": 1, "x": []}


async def test_an_answer_is_taken_when_its_event_ends_and_not_when_the_stream_does() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b'data: {"id":1,"result":{}}\n\r'
        yield b"\n"
        raise AssertionError("nobody reads on")

    assert await _answer(silent(), 1, streams=True) == {"id": 1, "result": {}}
    assert await _answer(pieces_of([b'{"id"', b":1}"]), 1, streams=False) == {"id": 1}
    assert await _answer(pieces_of([b'data: {"id":', b"1}"]), 1, streams=True) == {"id": 1}
    assert await _answer(pieces_of([b'data: {"id":2}\n\n']), 1, streams=True) == {}


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


HIDDEN = b'{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}'


def heard(stream: bytes) -> list[bytes]:
    """The data of each event as a reader after the standard finds them (WHATWG HTML, 9.2.5 and 9.2.6)."""
    found, data = [], []
    for line in re.split(rb"\r\n|\r|\n", stream):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            found.append(b"\n".join(data))
            data = []
    return found


@pytest.mark.requirement("A-09")
@pytest.mark.parametrize(
    "stream",
    [
        b": x\rdata: " + HIDDEN + b"\r\r\n\n",
        b"data: x\ndata:\ndata:data: " + HIDDEN + b"\n\n",
        b"data: [" + HIDDEN + b"]\n\n",
        b"event: message\rdata: {\rdata: " + HIDDEN[1:] + b"\n\n",
    ],
    ids=["after a comment", "after an empty line", "in a batch", "in two lines"],
)
def test_a_servers_stream_hides_no_message_from_who_looks_at_each(stream: bytes) -> None:
    seen: list[Any] = []
    assert heard(stream)
    assert not heard(_as_wanted(stream, seen.append))
    assert [each["method"] for each in seen] in ([], ["sampling/createMessage"])


def test_a_message_over_several_lines_arrives_as_the_same_message() -> None:
    stream = b'event: message\ndata: {"id": 1,\ndata:  "result": {"text": "a\\nb"}}\n\n: ping\n\n'
    passed = _as_wanted(stream, lambda value: value)
    assert [orjson.loads(each) for each in heard(passed)] == [{"id": 1, "result": {"text": "a\nb"}}]
    assert passed.endswith(b"\n\n: \n\n")


@pytest.mark.requirement("A-09")
async def test_of_what_a_server_asks_between_the_eras_forms_are_passed_on_and_no_address_to_open() -> None:
    refused: list[Any] = []

    async def reply(question: Any, told: Any) -> None:
        refused.append((question, told["error"]["code"]))

    call = Message(1, "tools/call", {"params": {"name": "say"}})
    talk = Conversation(
        Questions(), ("usr", "acme"), call, modern=False, can_be_asked=True, extend=lambda seconds: None
    )

    def asked(**params: Any) -> Any:
        return talk.said({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": params}, reply)

    for method in ("notifications/message", "notifications/tools/list_changed", "notifications/cancelled"):
        assert talk.said({"jsonrpc": "2.0", "method": method, "params": {"data": "do this"}}, reply) is None
    assert asked(message="Which?", requestedSchema={})["params"]["message"] == "Which?"
    assert asked(mode="form", message="Which?", requestedSchema={}) is not None
    assert asked(mode="url", message="Sign in", url="https://evil.example", elicitationId="1") is None
    await asyncio.sleep(0)
    assert [question for question, _ in refused] == [5]
    await talk.close()
