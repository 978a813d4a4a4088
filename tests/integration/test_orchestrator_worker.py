"""The worker on the real workflow engine and a real Postgres. Cradle and the marketplace are away in here, so a job's
first step is one that is tried again, given up, interrupted or cancelled; whole jobs run in the end-to-end tests."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from servers.orchestrator.questions import Asked
from servers.orchestrator.store import Job, JobStore
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows import backoff
from servers.orchestrator.workflows import worker as worker_module
from servers.orchestrator.workflows.engine import Engine
from servers.orchestrator.workflows.runner import Runner
from servers.orchestrator.workflows.steps import STEP, Work
from servers.orchestrator.workflows.worker import LEASE, State, Worker
from shared.contracts.job import JobProgress, JobQuestion, JobResult
from shared.errors import PlatformError
from shared.postgres.lease import Lease
from shared.postgres.urls import password_of, with_role
from tests.orchestrator_rig import put_customer, put_job, settings_in

DEADLINE_S = 240
AT_ONCE = 0.0
FOREVER = 3600.0


@dataclass
class Site:
    """A database with the engine's schema, and what runs on it."""

    store: JobStore
    app_url: str
    dbos_url: str
    upstreams: Upstreams
    patch: pytest.MonkeyPatch

    @asynccontextmanager
    async def working(self, attempts: int = 3, pause_s: float = AT_ONCE) -> AsyncIterator[tuple[Worker, Runner]]:
        """A worker until the block ends, which tries a step so often, with such pauses from now on."""
        for name, value in (("ATTEMPTS", attempts), ("FIRST_S", pause_s), ("LONGEST_S", pause_s)):
            self.patch.setattr(backoff, name, value)
        runner = Runner(self.store, self.upstreams, 60)
        worker = Worker(self.store, runner, Engine(self.dbos_url, runner), Lease(self.app_url, LEASE))
        worker.start()
        try:
            yield worker, runner
        finally:
            await worker.close()

    async def until(self, job: Job, condition: Callable[[Job], bool]) -> Job:
        """The job once a condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await self.store.job(job.job_id, job.customer_id)
                assert found is not None
                if condition(found):
                    return found
                await asyncio.sleep(0.05)


def _failed_onboardings() -> float:
    return REGISTRY.get_sample_value("jobs_total", {"kind": "onboarding", "state": "failed"}) or 0.0


async def becomes(worker: Worker, state: State) -> None:
    """Wait until the worker says this of itself."""
    async with asyncio.timeout(DEADLINE_S):
        while worker.state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
async def site(database, postgres_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    made = await database("servers.orchestrator")
    name = made.urls.app.rpartition("/")[2]
    password = password_of(postgres_server.urls["platform"].dbos)
    store, upstreams = JobStore(made.db), Upstreams.of(settings_in(tmp_path))
    await put_customer(store, "muster")
    dbos_url = with_role(made.urls.app, name, "platform_dbos", password or "")
    yield Site(store, made.urls.app, dbos_url, upstreams, monkeypatch)
    await upstreams.close()


async def test_a_part_that_stays_away_fails_the_job_with_a_retryable_error(site: Site) -> None:
    asked: list[int] = []
    notes: list[str] = []
    pause_s, report, before = backoff.pause_s, site.store.report, _failed_onboardings()

    def noted(attempt: int, error: PlatformError) -> float | None:
        asked.append(attempt)
        return pause_s(attempt, error)

    async def reported(job: Job, progress: JobProgress) -> None:
        notes.append(progress.note)
        await report(job, progress)

    site.patch.setattr(backoff, "pause_s", noted)
    site.patch.setattr(site.store, "report", reported)
    job = await put_job(site.store, "muster")
    async with site.working(attempts=4):
        failed = await site.until(job, lambda each: each.ended)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["code"] == "unavailable"
    assert failed.error["retryable"] is True
    assert failed.steps[0].state == "failed"
    assert asked == [1, 2, 3, 4]
    assert [note.partition(": ")[0] for note in notes] == ["attempt 2", "attempt 3", "attempt 4"]
    assert all(failed.error["message"] in note for note in notes)
    assert _failed_onboardings() == before + 1


async def test_a_step_that_asks_holds_its_job_up_across_a_restart_and_runs_again_with_the_answers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool | None, ...]] = []

    async def asking(work: Work) -> JobResult:
        seen.append(tuple(each.answer for each in work.job.questions))
        if len(seen) < 3:
            raise Asked([JobQuestion(key=f"round_{len(seen)}", message="Go on?")])
        return JobResult(numbers={"asked": len(seen)})

    monkeypatch.setitem(STEP, "register", asking)
    job = await put_job(site.store, "muster")
    async with site.working(attempts=1):
        first = await site.until(job, lambda each: each.state == "waiting")
    async with site.working(attempts=1) as (worker, _):
        await becomes(worker, "working")
        assert (await site.until(job, lambda each: True)).state == "waiting"
        await site.store.answer(first, {"round_1": True})
        second = await site.until(job, lambda each: each.rounds == 2)
        await site.store.answer(second, {"round_2": False})
        ended = await site.until(job, lambda each: each.ended)
    assert seen == [(), (True,), (True, False)]
    assert ended.result.numbers == {"asked": 3}
    assert [step.state for step in ended.steps[:2]] == ["completed", "failed"]  # cradle is away


async def test_a_job_that_another_process_queued_is_found(site: Site) -> None:
    async with site.working() as (worker, _):
        await becomes(worker, "working")
        job = await put_job(site.store, "muster")  # nobody wakes the worker
        assert (await site.until(job, lambda each: each.ended)).state == "failed"


async def test_a_step_that_was_interrupted_runs_again_after_a_restart(site: Site) -> None:
    job = await put_job(site.store, "muster")
    async with site.working(pause_s=FOREVER):
        await site.until(job, lambda each: each.steps[0].state == "running")
    kept = await site.until(job, lambda each: True)
    assert kept.state == "running"
    async with site.working(attempts=1):
        assert (await site.until(job, lambda each: each.ended)).state == "failed"


async def test_a_second_worker_leaves_a_running_job_alone_and_takes_over_when_the_first_goes(site: Site) -> None:
    job = await put_job(site.store, "muster")
    async with site.working(pause_s=FOREVER) as (first, _):
        await site.until(job, lambda each: each.steps[0].state == "running")
        async with site.working(attempts=1) as (second, runner):
            await becomes(second, "standby")
            assert runner.running == []
            assert (await site.until(job, lambda each: True)).state == "running"
            await first.close()
            assert (await site.until(job, lambda each: each.ended)).state == "failed"  # after its one attempt
            await becomes(second, "working")


async def test_a_worker_that_lost_the_lease_to_another_stops_its_steps_and_ends_no_job(site: Site) -> None:
    job = await put_job(site.store, "muster")
    other, connection = Lease(site.app_url, LEASE), await asyncpg.connect(site.app_url)
    async with site.working(pause_s=FOREVER) as (worker, runner):
        await site.until(job, lambda each: each.steps[0].state == "running")
        async with asyncio.timeout(DEADLINE_S):
            while not await other.hold():
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE granted"
                    " AND locktype = 'advisory' AND application_name = '0711 lease' AND datname = current_database()"
                )
        await becomes(worker, "standby")
        assert runner.running == []
        assert (await site.until(job, lambda each: True)).state == "running"
        await other.close()
        await becomes(worker, "working")
        async with asyncio.timeout(DEADLINE_S):
            while runner.running != [job.job_id]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await connection.close()


@pytest.mark.requirement("M-05")
async def test_cancelling_stops_the_running_step(site: Site) -> None:
    job = await put_job(site.store, "muster")
    async with site.working(pause_s=FOREVER) as (worker, runner):
        running = await site.until(job, lambda each: each.steps[0].state == "running")
        await site.store.cancel(running)
        worker.wake()
        async with asyncio.timeout(DEADLINE_S):
            while runner.running:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await site.until(job, lambda each: True)).state == "cancelled"


async def test_a_job_that_was_cancelled_before_it_ran_does_nothing(site: Site) -> None:
    job = await put_job(site.store, "muster")
    await site.store.cancel(job)
    other = await put_job(site.store, "muster", "update")
    async with site.working():
        await site.until(other, lambda each: each.ended)
    assert {step.state for step in (await site.until(job, lambda each: True)).steps} == {"pending"}


async def in_engine(site: Site) -> list[str]:
    """The workflows that the engine's tables know, with rows of their steps or without."""
    connection = await asyncpg.connect(site.dbos_url)
    try:
        tables = ("workflow_status", "workflow_input", "operation_outputs")
        rows = [await connection.fetch(f"SELECT workflow_uuid FROM dbos.{each}") for each in tables]  # noqa: S608
    finally:
        await connection.close()
    return sorted({row["workflow_uuid"] for found in rows for row in found})


@pytest.mark.requirement("L-04")
async def test_what_the_engine_keeps_of_a_job_that_ended_goes_in_time_and_of_one_that_runs_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await put_job(site.store, "muster")
    async with site.working():
        await site.until(ended, lambda each: each.ended)
    runs = await put_job(site.store, "muster", "update")
    async with site.working(pause_s=FOREVER) as (worker, _):
        await site.until(runs, lambda each: each.steps[0].state == "running")
        await becomes(worker, "working")
    assert await in_engine(site) == sorted([ended.job_id, runs.job_id])
    monkeypatch.setattr(worker_module, "KEPT", timedelta(0))
    async with site.working(pause_s=FOREVER) as (worker, _):
        await becomes(worker, "working")
        async with asyncio.timeout(DEADLINE_S):
            while await in_engine(site) != [runs.job_id]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert await site.store.job(ended.job_id, "muster") is not None


async def test_a_call_of_the_engine_to_a_postgres_that_is_gone_ends_within_a_minute(site: Site) -> None:
    from dbos._dbos import _get_dbos_instance

    async with site.working() as (worker, _):
        await becomes(worker, "working")
        with _get_dbos_instance()._sys_db.engine.connect() as held:
            descriptor = os.dup(held.connection.driver_connection.fileno())
        with socket.socket(fileno=descriptor) as own:
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


@pytest.mark.requirement("Z-03")
async def test_the_engines_tables_hold_ids_and_safe_sentences_only(site: Site) -> None:
    job = await put_job(site.store, "muster")
    async with site.working():
        await site.until(job, lambda each: each.ended)
    connection = await asyncpg.connect(site.dbos_url)
    try:
        inputs = await connection.fetch("SELECT * FROM dbos.workflow_status")
        outputs = await connection.fetch("SELECT function_name, output, error FROM dbos.operation_outputs")
    finally:
        await connection.close()
    assert [row["workflow_uuid"] for row in inputs] == [job.job_id]
    assert "Muster" not in str(inputs)
    assert "info@example.com" not in str(inputs)
    assert {row["function_name"] for row in outputs} <= {"plan", "finish", *(step.name for step in job.steps)}
    assert all(row["error"] is None for row in outputs)
