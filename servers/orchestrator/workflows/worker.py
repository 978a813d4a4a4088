"""The worker of the HTTP process: hands queued jobs to the engine and stops cancelled ones.

A job is queued by its row alone, so any process may queue or cancel one, and a crash between the row and the engine
loses nothing: whatever has not been handed out is found again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from servers.orchestrator.store import JobStore
from servers.orchestrator.workflows.engine import Engine
from servers.orchestrator.workflows.runner import Runner
from shared.errors import PlatformError
from shared.telemetry import event

LOOK_EVERY_S = 1.0
RETRY_S = 2.0
AT_ONCE = 100


class Worker:
    """Runs until it is closed. `ready` tells whether jobs are being carried out."""

    def __init__(self, store: JobStore, runner: Runner, engine: Engine) -> None:
        self._store = store
        self._runner = runner
        self._engine = engine
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.ready = False

    def start(self) -> None:
        """Start in the background; a database that is away is waited for."""
        self._task = asyncio.create_task(self._run(), name="job worker")

    async def close(self) -> None:
        """Stop handing out jobs and stop the engine; running steps run again at the next start."""
        self.ready = False
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._engine.close()

    def wake(self) -> None:
        """Look for queued and cancelled jobs now: this process has just changed one."""
        self._look.set()

    async def _run(self) -> None:
        await self._start_engine()
        while True:
            try:
                await self._hand_out()
                await self._stop_cancelled()
                self.ready = True
            except PlatformError as error:
                self.ready = False
                event("jobs_not_handed_out", level=logging.WARNING, code=error.code)
            except Exception as error:  # noqa: BLE001  the loop outlives any failure of the engine's database
                self.ready = False
                event("jobs_not_handed_out", level=logging.ERROR, error=error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_EVERY_S)
            self._look.clear()

    async def _start_engine(self) -> None:
        while True:
            with contextlib.suppress(PlatformError):  # logged where it is raised
                return await self._engine.start()
            await asyncio.sleep(RETRY_S)

    async def _hand_out(self) -> None:
        for job_id, customer_id in await self._store.to_hand_out(AT_ONCE):
            await self._engine.enqueue(job_id, customer_id)
            await self._store.handed_out(job_id, customer_id)

    async def _stop_cancelled(self) -> None:
        running = self._runner.running
        if running:
            for job_id in await self._store.cancelled_among(running):
                self._runner.stop(job_id)
