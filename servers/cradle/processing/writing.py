"""The queue before the dataset's writer: in order, bounded, and no reader or device waits for the disk meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from servers.cradle.processing.stages import Clock

WAITING = 2
Write = Callable[[Any], Awaitable[None]]


class WriteQueue:
    """Runs writes one after the other; at most `WAITING` of them wait. The first failure ends all that come after it.

    async with WriteQueue(clock) as writes:
        await writes.put(writer.append, part)
        await writes.join()
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Write, Any]] = asyncio.Queue(WAITING)
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._drive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def put(self, write: Write, what: Any) -> None:
        """Hands a write over. Raises what an earlier one failed with."""
        self._check()
        await self._queue.put((write, what))

    async def join(self) -> None:
        """Waits until everything is written. Raises what a write failed with."""
        await self._queue.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _drive(self) -> None:
        while True:
            write, what = await self._queue.get()
            try:
                if self._error is None:
                    with self._clock.stage("write"):
                        await write(what)
            except Exception as error:  # noqa: BLE001 - raised again by the next `put` or `join`
                self._error = error
            finally:
                self._queue.task_done()
                write = what = None
