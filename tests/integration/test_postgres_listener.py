"""Notifications of a real Postgres over a line that is cut or freezes: what replicas remember ends in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from servers.marketplace.changes import FRESH_UNHEARD_S
from shared.postgres import listener
from shared.postgres.listener import Listener
from tests.conftest import Databases

pytestmark = pytest.mark.requirement("A-04")

DEADLINE_S = 60


class Line:
    """A line to Postgres in which the bytes stop when `frozen` is set, while both ends believe it to stand."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.frozen = asyncio.Event()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.frozen.is_set():
                writer.write(data)
        writer.close()


@pytest.fixture
async def line(database: Databases) -> AsyncIterator[tuple[Line, str, str]]:
    """A line, the address of a database through it, and the one without it."""
    url = (await database("shared", migrated=False)).urls.app
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    opened = Line(parts.hostname, parts.port)
    server = await asyncio.start_server(opened.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield opened, url.replace(f":{parts.port}/", f":{port}/"), url
    server.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_notified_is_told_and_so_is_that_something_may_have_been_missed(
    line: tuple[Line, str, str],
) -> None:
    _, url, direct = line
    told: list[str] = []
    heard = Listener(url, "registry", told.append)
    async with heard.running():
        await until(lambda: heard.alive)
        assert told == [""]
        connection = await asyncpg.connect(direct)
        await connection.execute("SELECT pg_notify('registry', 'accounts'), pg_notify('other', 'x')")
        await until(lambda: len(told) > 1)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until(lambda: len(told) > 2)
        await until(lambda: heard.alive)
        await connection.close()
    assert told[:4] == ["", "accounts", "", ""]  # when it was lost, and when it was there again
    assert not heard.alive


async def test_a_line_that_is_silently_dead_is_found_by_the_next_proof(
    line: tuple[Line, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, url, _ = line
    monkeypatch.setattr(listener, "HEARTBEAT_S", 0.2)
    told: list[str] = []
    heard = Listener(url, "registry", told.append)
    async with heard.running():
        await until(lambda: heard.alive)
        dead.frozen.set()
        await until(lambda: not heard.alive)
        assert told == ["", ""]


def test_a_dead_line_and_what_is_remembered_without_one_end_within_five_seconds() -> None:
    assert 2 * listener.HEARTBEAT_S + FRESH_UNHEARD_S <= 5


async def test_a_connection_that_breaks_off_within_a_message_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY_S", 0.0)
    came: asyncio.Queue[None] = asyncio.Queue()

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # asks for TLS
        writer.write(b"N")
        await reader.read(1024)
        writer.write(b"R\0\0\0\4")  # how one is to authenticate, without its content
        writer.close()
        came.put_nowait(None)

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Listener(f"postgresql://a:b@127.0.0.1:{port}/c", "registry", print).running():
        for _ in range(2):
            await asyncio.wait_for(came.get(), DEADLINE_S)
    server.close()
