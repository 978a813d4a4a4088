"""Progress of a running step, from MCP notifications into the job's row, at most twice a second."""

from __future__ import annotations

import asyncio
import contextlib
import re
from types import TracebackType
from typing import Self

from servers.orchestrator.store import Job, JobStore
from shared.contracts.job import JobProgress
from shared.errors import PlatformError

INTERVAL_S = 0.5
MOST = 200  # characters of a note
COUNTS_ONLY = re.compile(r"^[A-Za-z0-9 ,.:/%()-]{0,200}$")
SUFFIX = re.compile(r"\.[A-Za-z]")


class ProgressWriter:
    """Keeps the newest progress and writes it now and then. A note that could hold a file name is left out.

    Args:
        note: what is shown until there is progress, and at once: the step may fail at once again; of `again`.
    """

    def __init__(self, store: JobStore, job: Job, note: str) -> None:
        self._store = store
        self._job = job
        self._latest = JobProgress(done=0, total=None, note=note) if note else None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._report()
        self._task = asyncio.create_task(self._write(), name="job progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def note(self, done: float, total: float | None, note: str) -> None:
        """Take one progress notification; never waits."""
        self._latest = JobProgress(
            done=max(0, int(done)), total=None if total is None else max(0, int(total)), note=safe_note(note)
        )
        self._changed.set()

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._report()
            await asyncio.sleep(INTERVAL_S)

    async def _report(self) -> None:
        if self._latest is not None:
            with contextlib.suppress(PlatformError):  # the next one may get through; the step does not depend on it
                await self._store.report(self._job, self._latest)


def again(attempt: int, why: str) -> str:
    """The note of a step that is tried again: which time, and the error's sentence that the last one ended with."""
    return f"attempt {attempt}: {why}"[:MOST] if attempt > 1 else ""


def safe_note(note: str) -> str:
    """The note where it is made of plain words and counts; empty where it could hold a name."""
    return note if COUNTS_ONLY.fullmatch(note) and not SUFFIX.search(note) else ""
