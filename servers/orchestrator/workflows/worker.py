"""The worker of the HTTP process: hands queued jobs to the engine and stops cancelled ones.

A job is queued by its row alone, so any process may queue or cancel one, and a crash between the row and the engine
loses nothing: whatever has not been handed out is found again.

Any number of processes may have a worker. The one that holds the lease works; the others stand by and take over when
it goes. Who cannot reach the database for `GRACE_S` stops, well before the database gives the lease to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import timedelta
from typing import Literal

from servers.orchestrator import metrics
from servers.orchestrator.store import JobStore
from servers.orchestrator.workflows.engine import FORGOTTEN_AT_ONCE, Engine
from servers.orchestrator.workflows.runner import Runner
from shared.errors import PlatformError
from shared.postgres.lease import Lease
from shared.telemetry import event

LOOK_EVERY_S = 1.0
GRACE_S = 10.0
AT_ONCE = 100
LONGEST_QUESTION_S = 3 * 86_400.0
KEPT = timedelta(days=30)
FORGET_EVERY_S = 3600.0
MEASURE_EVERY_S = 15.0  # as often as Prometheus looks
LEASE = "orchestrator:jobs"

State = Literal["starting", "working", "standby"]


class Worker:
    """Runs until it is closed.

    Attributes:
        state: `working`: this process carries out jobs. `standby`: another one does. `starting`: neither is sure.
    """

    def __init__(self, store: JobStore, runner: Runner, engine: Engine, lease: Lease) -> None:
        self._store = store
        self._runner = runner
        self._engine = engine
        self._lease = lease
        self._held_at = self._forget_at = self._measure_at = 0.0
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state: State = "starting"

    def start(self) -> None:
        """Start in the background; a database that is away is waited for."""
        self._task = asyncio.create_task(self._run(), name="job worker")

    async def close(self) -> None:
        """Stop handing out jobs and stop the engine; running steps run again at the next start."""
        self.state = "starting"
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._engine.close()
        await self._lease.close()

    def wake(self) -> None:
        """Look for queued and cancelled jobs now: this process has just changed one."""
        self._look.set()

    async def _run(self) -> None:
        while True:
            try:
                self.state = await self._work()
            except PlatformError as error:
                self.state = "starting"
                event("jobs_not_handed_out", level=logging.WARNING, code=error.code)
            except Exception as error:  # noqa: BLE001  the loop outlives any failure of the engine's database
                self.state = "starting"
                event("jobs_not_handed_out", level=logging.ERROR, error=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look.wait()
            self._look.clear()

    async def _work(self) -> State:
        """Do what there is to do, where it is this process's turn."""
        if not await self._holds():
            await self._engine.close()
            metrics.STANDSTILL.set(0)
            return "standby"
        await self._engine.start()
        await self._hand_out()
        await self._stop_cancelled()
        await self._measure()
        await self._forget()
        return "working"

    async def _holds(self) -> bool:
        try:
            held = await self._lease.hold()
        except PlatformError:
            if time.monotonic() - self._held_at > GRACE_S:
                await self._engine.close()
            raise
        if held:
            self._held_at = time.monotonic()
        return held

    async def _hand_out(self) -> None:
        await self._store.stop_waiting(LONGEST_QUESTION_S)
        for job_id, customer_id, round_ in await self._store.to_hand_out(AT_ONCE):
            await self._engine.enqueue(job_id, customer_id, round_)
            await self._store.handed_out(job_id, customer_id, round_)

    async def _measure(self) -> None:
        now = time.monotonic()
        if now >= self._measure_at:
            metrics.STANDSTILL.set(await self._store.standstill())
            self._measure_at = now + MEASURE_EVERY_S

    async def _forget(self) -> None:
        now = time.monotonic()
        if now >= self._forget_at:
            full = await self._engine.forget(KEPT) == FORGOTTEN_AT_ONCE
            self._forget_at = now if full else now + FORGET_EVERY_S

    async def _stop_cancelled(self) -> None:
        running = self._runner.running
        if running:
            for job_id in await self._store.cancelled_among(running):
                self._runner.stop(job_id)
