"""Runs one step of a job: marks it, does it, tries again while a part of the platform is away, keeps what it made.

What is handed back is plain JSON without exceptions, so that nothing but safe sentences can reach the tables of the
workflow engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from servers.orchestrator import metrics
from servers.orchestrator.questions import Asked
from servers.orchestrator.store import Customer, Job, JobStore
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows import backoff
from servers.orchestrator.workflows.plan import merged
from servers.orchestrator.workflows.progress import ProgressWriter, again
from servers.orchestrator.workflows.steps import STEP, Work
from shared.contracts.job import JobResult
from shared.errors import Internal, NotFound, PlatformError
from shared.telemetry import Fields, event

Outcome = dict[str, Any]
ENDED: Outcome = {"ended": True}


class Runner:
    """Runs steps, and stops the running step of a job that is cancelled.

    Args:
        deadline_s: longest time one call of a step may take.
    """

    def __init__(self, store: JobStore, upstreams: Upstreams, deadline_s: float) -> None:
        self._store = store
        self._upstreams = upstreams
        self._deadline_s = deadline_s
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._stopped: set[str] = set()

    @property
    def running(self) -> list[str]:
        """Ids of the jobs that have a step running in this process."""
        return list(self._running)

    def stop(self, job_id: str) -> None:
        """Stop the running step of a job, and with it the call behind it. Does nothing where none runs."""
        task = self._running.get(job_id)
        if task is not None and job_id not in self._stopped:
            self._stopped.add(job_id)
            task.cancel()

    async def plan(self, job_id: str, customer_id: str) -> list[str]:
        """The names of the job's steps."""
        job = await self._persist(lambda: self._store.job(job_id, customer_id))
        return [step.name for step in job.steps] if job and not job.ended else []

    async def step(self, job_id: str, customer_id: str, position: int, name: str, round_: int = 0) -> Outcome:
        """Run a step to its end.

        Args:
            name: the step's, for the log.
            round_: how often the job had asked when this run of its steps began; where it has asked since, another
                run has the job.

        Returns:
            `{}`: done. `{"ended": True}`: the job was cancelled, or asks. `{"error": …}`: it failed for good.
        """
        task = asyncio.ensure_future(self._attempts(job_id, customer_id, position, name, round_))
        self._running[job_id] = task
        try:
            return await task
        except asyncio.CancelledError:
            if job_id in self._stopped and task.cancelled():
                return ENDED
            task.cancel()
            raise
        finally:
            if self._running.get(job_id) is task:
                del self._running[job_id]
            self._stopped.discard(job_id)

    async def finish(self, job_id: str, customer_id: str, error: dict[str, Any] | None, round_: int = 0) -> Outcome:
        """Note the job's end, unless it has asked since; waits for the database as long as it takes."""
        job = await self._persist(lambda: self._store.job(job_id, customer_id))
        job = job if job is not None and job.rounds == round_ else None
        if job is None:
            return {}
        if error is None:
            state, ended = "completed", await self._persist(lambda: self._store.complete(job))
        else:
            state, ended = "failed", await self._persist(lambda: self._store.fail(job, error))
        if ended:
            metrics.JOBS.labels(job.kind, state).inc()
            event("job_ended", job_id=job_id, code=error["code"] if error else "ok")
        return {}

    async def _attempts(self, job_id: str, customer_id: str, position: int, name: str, round_: int) -> Outcome:
        attempt, why = 0, ""
        while True:
            attempt += 1
            try:
                return await self._once(job_id, customer_id, position, round_, again(attempt, why))
            except PlatformError as error:
                seconds, why = backoff.pause_s(attempt, error), error.message
                about: Fields = {"job_id": job_id, "step": name, "attempt": attempt, "code": error.code}
                event("step_failed", level=logging.WARNING, **about)
                if seconds is None:
                    return {"error": error.as_dict()}
            except Exception as error:  # noqa: BLE001  a defect ends this job and must not reach the engine's tables
                event("step_defect", level=logging.ERROR, error=error, job_id=job_id, step=name)
                return {"error": Internal().as_dict()}
            await asyncio.sleep(seconds)

    async def _once(self, job_id: str, customer_id: str, position: int, round_: int, note: str) -> Outcome:
        job, customer = await self._store.job(job_id, customer_id), await self._store.customer(customer_id)
        if job is None or customer is None:
            raise NotFound("This job is not known any more.")
        if job.steps[position].state == "completed":
            return {}
        if job.rounds != round_ or not await self._store.begin_step(job, position):
            return ENDED
        started = time.monotonic()
        try:
            async with ProgressWriter(self._store, job, note) as progress:
                added = await self._do(job, customer, position, progress)
        except Asked as asked:
            await self._store.ask(job, position, asked.questions)
            return ENDED
        seconds = time.monotonic() - started
        kept = await self._store.end_step(job, position, seconds, merged(job.result, added))
        return {} if kept else ENDED

    async def _do(self, job: Job, customer: Customer, position: int, progress: ProgressWriter) -> JobResult:
        work = Work(job, customer, job.result, self._upstreams, progress.note, self._deadline_s)
        return await STEP[job.steps[position].name](work)

    async def _persist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The answer of the database, however long it is away."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call()
            except PlatformError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(min(backoff.FIRST_S * attempt, 5.0))
