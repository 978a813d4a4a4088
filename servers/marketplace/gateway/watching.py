"""Notices that a caller hung up, of calls that take longer than a moment: most end before, and cost no task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive

from shared.serving.hanging_up import hung_up

MOMENT_S = 0.025


@dataclass(slots=True, eq=False)
class Watch:
    """One call that is watched. `gone` is called once, where its caller hangs up before `Watches.end`."""

    receive: Receive
    gone: Callable[[], None]
    task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Listen to the caller."""
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await hung_up(self.receive)
        self.gone()


class Watches:
    """The calls of this process. One timer looks after those that have been running for one or two moments."""

    def __init__(self) -> None:
        self._new: set[Watch] = set()
        self._waiting: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, receive: Receive, gone: Callable[[], None]) -> Watch:
        """Watch a call from now on."""
        watch = Watch(receive, gone)
        self._new.add(watch)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT_S, self._passed)
        return watch

    def end(self, watch: Watch) -> None:
        """The call is over."""
        self._new.discard(watch)
        self._waiting.discard(watch)
        if watch.task is not None:
            watch.task.cancel()

    def _passed(self) -> None:
        for watch in self._waiting:
            watch.begin()
        self._waiting, self._new = self._new, set()
        again = asyncio.get_running_loop().call_later(MOMENT_S, self._passed) if self._waiting else None
        self._timer = again
