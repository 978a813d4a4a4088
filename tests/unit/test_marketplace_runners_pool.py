"""The pool of running servers, where something happens while something else is waited for."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from servers.marketplace.runners import pool
from servers.marketplace.runners.command import Command
from servers.marketplace.runners.package import package_of
from servers.marketplace.runners.pool import Runners, Wanted
from servers.marketplace.runners.process import GuardedProcess
from servers.marketplace.workers.worker import Worker
from shared.errors import Unavailable
from shared.settings import Settings


class Child:
    """A process as the pool sees it."""

    asks = False

    def __init__(self) -> None:
        self.alive, self.used, self.stopped = True, time.monotonic(), 0

    async def stop(self) -> None:
        self.stopped += 1


class Started(Runners):
    """Runners whose processes the test starts."""

    def __init__(self) -> None:
        super().__init__(Settings(), self, self, Worker())  # pyright: ignore
        self.starts: dict[str, asyncio.Future[Any]] = {}

    async def _start(self, key: Any, wanted: Wanted) -> Any:
        return await self.starts.setdefault(wanted.server_name, asyncio.get_running_loop().create_future())

    async def start(self, wanted: Wanted, child: Child) -> None:
        """Lend it once."""
        self.starts[wanted.server_name] = asyncio.get_running_loop().create_future()
        self.starts[wanted.server_name].set_result(child)
        async with self.lent(wanted) as lent:
            assert lent is child

    async def by_name(self, view: Any, server_name: str) -> Any:
        """The registry's answer."""
        return None


def wanted(name: str) -> Wanted:
    told = {"registryType": "pypi", "identifier": name, "version": "1.0", "transport": {"type": "stdio"}}
    package = package_of(told)
    return Wanted(name, "pypi:" + name, package, "acme", ("KEY", "k"))


async def test_a_server_that_was_ended_while_another_was_looked_at_is_left_alone() -> None:
    first, second, fresh = Child(), Child(), Child()

    class Busy(Started):
        async def by_name(self, view: Any, server_name: str) -> Any:
            if server_name == "first":
                self._end(wanted("second"), self._places[wanted("second")])
                await self.start(wanted("second"), fresh)

    runners = Busy()
    await runners.start(wanted("first"), first)
    await runners.start(wanted("second"), second)
    second.alive = False
    await runners._look(changed=True)
    await asyncio.gather(*runners._ending)
    assert (first.stopped, second.stopped, fresh.stopped) == (1, 1, 0)
    assert [place.child for place in runners._places.values()] == [fresh]


async def test_whatever_goes_wrong_in_a_look_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool, "LOOK_S", 0.0)
    again = asyncio.Event()

    class Failing(Started):
        asked = 0

        async def by_name(self, view: Any, server_name: str) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise KeyError("secret of acme")
            again.set()

    runners = Failing()
    async with runners.in_background():
        await runners.start(wanted("first"), Child())
        runners.look()
        await asyncio.wait_for(again.wait(), 60)
    assert "runners_unchecked" in [record.getMessage() for record in caplog.records]


async def test_who_waits_for_a_server_that_is_ended_meanwhile_may_try_again_and_who_leaves_just_leaves() -> None:
    runners = Started()

    async def call() -> None:
        async with runners.lent(wanted("first")):
            raise AssertionError("it never starts")

    waiting, leaving = asyncio.create_task(call()), asyncio.create_task(call())
    while not runners.starts:  # noqa: ASYNC110
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    runners._end(wanted("first"), runners._places[wanted("first")])
    with pytest.raises(Unavailable, match="try again"):
        await waiting


async def test_a_start_that_is_given_up_leaves_no_folder_and_no_open_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun = asyncio.Event()

    async def never(*_: Any, **__: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", never)
    before = set(Path("/proc/self/fd").iterdir())  # noqa: ASYNC240
    starting = asyncio.create_task(GuardedProcess.start(Command(("/bin/true",), {}, 2**20), 0))
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    assert set(Path("/proc/self/fd").iterdir()) <= before  # noqa: ASYNC240
