"""Which accounts have ended: how often the list is fetched, who waits for it, and what counts while it is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.auth import Principal, StandingCallers
from shared.auth.ended import ENDED, FRESH_S, OLDEST_S, mark
from shared.errors import Unauthenticated
from tests.serving_rig import HANGS_S, Clock


class Anyone:
    """Takes a token for the name of an account."""

    async def verify(self, token: str) -> Principal:
        return Principal(token, "service", frozenset(), None, f"key-of-{token}", 0.0)


class Listed:
    """The marketplace's list over HTTP: who has ended, how often it was asked, and whether it answers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fetches = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.fetches += 1
        await self.answers.wait()
        body = b'{"%s":[%s]}' % (ENDED.encode(), ",".join(f'"{mark(name)}"' for name in self.names).encode())
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("shared.auth.ended.monotonic", clock)
    return clock


@pytest.fixture
def listed() -> Listed:
    return Listed()


@pytest.fixture
async def callers(listed: Listed) -> AsyncIterator[StandingCallers]:
    server = await asyncio.start_server(listed.serve, "127.0.0.1", 0)
    made = StandingCallers(Anyone(), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    yield made
    listed.answers.set()
    await made.aclose()
    server.close()


async def test_the_list_is_asked_for_once_while_it_is_fresh(
    listed: Listed, callers: StandingCallers, clock: Clock
) -> None:
    await asyncio.gather(*(callers.verify("anna") for _ in range(20)))
    clock.now += FRESH_S
    await callers.verify("anna")
    assert listed.fetches == 1
    clock.now += OLDEST_S
    await asyncio.gather(*(callers.verify("anna") for _ in range(20)))
    assert listed.fetches == 2


async def test_an_account_and_a_key_are_refused_when_the_list_is_read_again(
    listed: Listed, callers: StandingCallers, clock: Clock
) -> None:
    await callers.verify("anna")
    listed.names = ["anna", "key-of-otto"]
    clock.now += OLDEST_S + 0.1  # a call waits for the list after a pause
    for name in ("anna", "otto"):
        with pytest.raises(Unauthenticated, match="ended"):
            await callers.verify(name)
    await callers.verify("emil")


async def test_no_call_waits_for_a_list_that_is_only_a_little_old(
    listed: Listed, callers: StandingCallers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await callers.verify("anna")
    monkeypatch.setattr("shared.auth.ended.WAIT_S", 10 * HANGS_S)
    listed.answers.clear()
    clock.now += OLDEST_S - 0.1
    async with asyncio.timeout(HANGS_S):
        await callers.verify("anna")


async def test_while_the_list_is_silent_the_last_one_counts_and_only_the_first_call_waits(
    listed: Listed, callers: StandingCallers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.names = ["otto"]
    await callers.verify("anna")
    listed.answers.clear()
    monkeypatch.setattr("shared.auth.ended.WAIT_S", 0.01)
    clock.now += OLDEST_S + 0.1
    await callers.verify("anna")
    monkeypatch.setattr("shared.auth.ended.WAIT_S", 10 * HANGS_S)
    async with asyncio.timeout(HANGS_S):
        with pytest.raises(Unauthenticated, match="ended"):
            await callers.verify("otto")
        await callers.verify("anna")


async def test_what_is_fetched_when_a_server_stops_is_given_up(
    listed: Listed, callers: StandingCallers, clock: Clock
) -> None:
    await callers.verify("anna")
    listed.answers.clear()
    clock.now += FRESH_S + 0.1
    await callers.verify("anna")
    (fetching,) = [task for task in asyncio.all_tasks() if task.get_name() == "ended accounts"]
    await callers.aclose()
    assert fetching.cancelled()
