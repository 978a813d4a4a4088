"""Logs of a platform that runs for years: bounded, while their writers write on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from servers.local import children, logs
from servers.local.children import Child
from servers.local.platform import postgres
from shared.postgres.launcher import EmbeddedPostgres
from shared.settings import Settings
from tests.orchestrator_rig import free_port

TALKS = """
import itertools, time
for number in itertools.count():
    print(f"{number:07d}", flush=True)
    time.sleep(0.0005)
"""


def numbers(log: Path) -> list[int]:
    """The whole lines of a log; a cut in a file that is not appended to would leave NUL characters."""
    return [int(line) for line in log.read_text().split("\n")[1:-1]]


async def test_a_servers_log_begins_anew_when_it_is_full_and_the_one_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST", 4000)
    monkeypatch.setattr(children, "LOOK_S", 0.05)
    (tmp_path / "sitecustomize.py").write_text(TALKS)
    log, before = tmp_path / "log", tmp_path / "log.1"
    child = Child("marketplace", {**os.environ, "PYTHONPATH": str(tmp_path)}, log, lambda _: None)
    await child.start()
    pid = child.pid
    async with asyncio.timeout(120):
        while not before.exists() or numbers(before)[:1] < [2000]:  # noqa: ASYNC110  several times over
            await asyncio.sleep(0.05)
    assert child.pid == pid
    await child.stop()
    assert numbers(before)[0] > 1000, "what is older is gone"
    assert numbers(log) == sorted(numbers(log))
    assert before.stat().st_mode & 0o777 == 0o600


async def test_the_log_of_the_homes_own_postgres_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST", 3000)
    log = tmp_path / "postgres" / "server.log"
    settings = Settings(home=tmp_path, postgres_port=free_port())
    try:
        async with postgres(settings, lambda _: None), asyncio.timeout(120):
            while not log.with_name("server.log.1").exists():
                with pytest.raises(asyncpg.InvalidPasswordError):  # each is a line
                    await asyncpg.connect(f"postgresql://postgres:wrong@127.0.0.1:{settings.postgres_port}/postgres")
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(f"postgresql://postgres:wrong@127.0.0.1:{settings.postgres_port}/postgres")
        assert "ready to accept connections" in log.with_name("server.log.1").read_text()
        assert "\0" not in log.read_text()
        assert log.stat().st_size < 3000
    finally:
        EmbeddedPostgres(tmp_path / "postgres", 0).remove()


def test_a_log_gives_its_room_back_though_there_is_none_for_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST", 10)
    log = tmp_path / "log"
    log.write_text("a line that is over it\n")
    (tmp_path / "log.1").mkdir()  # no copy can be made
    logs.bound(log)
    assert log.stat().st_size == 0
