"""Who watches that the workers' loops turn: one that hangs keeps its connections and calls, and never ends by itself.

A machine may stand still for half a minute, or this process may. Then nobody had a turn, and nobody is to blame: only
time in which this process ran as it meant to is held against a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from servers.marketplace.workers.worker import Worker

BEAT_S = 1.0
ON_TIME_S = 2 * BEAT_S
"""Between two looks. After more, this process did not run."""


class Watchdog:
    """The supervisor's: looks at the beats at least every `BEAT_S`.

    Args:
        silence_s: how long a worker may be silent.
        now: seconds of the clock that the looks are given.
    """

    def __init__(self, worker: Worker, silence_s: float, now: float) -> None:
        self._worker = worker
        self._silence_s = silence_s
        self._looked = now
        self._heard = [0] * worker.count
        self._silent_s = [0.0] * worker.count

    def begins(self, number: int) -> None:
        """A worker was started, with all of its time before it."""
        self._silent_s[number] = 0.0

    def hung(self, running: Iterable[int], now: float) -> list[int]:
        """Those of the running workers that have been silent for too long; each is told once for each such time."""
        passed, self._looked = now - self._looked, now
        found = []
        for number in running:
            heard = self._worker.heard_of(number)
            if heard != self._heard[number]:
                self._heard[number], self._silent_s[number] = heard, 0.0
            elif passed <= ON_TIME_S:
                self._silent_s[number] += passed
            if self._silent_s[number] > self._silence_s:
                self._silent_s[number] = 0.0
                found.append(number)
        return found


@asynccontextmanager
async def beating(worker: Worker) -> AsyncIterator[None]:
    """The worker's: its loop beats inside the block."""

    async def beat() -> None:
        while True:
            worker.beats()
            await asyncio.sleep(BEAT_S)

    task = asyncio.create_task(beat(), name="beat of the worker")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
