"""The rows of customers and jobs. Each call names the customer whose rows it may see; None means: across customers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import orjson

from shared.contracts.job import (
    FINAL_STATES,
    JobKind,
    JobProgress,
    JobQuestion,
    JobResult,
    JobState,
    JobStep,
    JobView,
)
from shared.postgres.queries import changed_rows, load_queries

CustomerState = Literal["onboarding", "active"]

queries: Any = load_queries("servers.orchestrator", "jobs.sql")


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as stored. `partner` is the user id of the partner that brought it, `newest_job` a job's state."""

    customer_id: str
    company_name: str
    contact_email: str
    deployment_target: str
    mcps: tuple[str, ...]
    partner: str | None
    request_digest: str
    sources_digest: str
    state: CustomerState = "onboarding"
    created_at: datetime | None = None
    updated_at: datetime | None = None
    newest_job: JobState | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued. `choice` is a ParameterChoice as JSON; `result` what it starts from."""

    job_id: str
    customer_id: str
    kind: JobKind
    steps: tuple[str, ...]
    request_digest: str
    created_by: str
    choice: dict[str, Any] = field(default_factory=dict)
    result: JobResult = field(default_factory=JobResult)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. `rounds`: how often it has stopped to ask."""

    job_id: str
    customer_id: str
    kind: JobKind
    state: JobState
    steps: tuple[JobStep, ...]
    progress: JobProgress
    result: JobResult
    error: dict[str, Any] | None
    choice: dict[str, Any]
    questions: tuple[JobQuestion, ...]
    rounds: int
    request_digest: str
    created_at: datetime
    updated_at: datetime

    @property
    def ended(self) -> bool:
        """Completed, failed or cancelled."""
        return self.state in FINAL_STATES

    @property
    def unanswered(self) -> list[JobQuestion]:
        """What it waits for."""
        return [each for each in self.questions if each.answer is None] if self.state == "waiting" else []

    def view(self) -> JobView:
        """The job as callers see it."""
        empty = not (self.result.numbers or self.result.digests or self.result.places)
        return JobView(
            job_id=self.job_id,
            customer_id=self.customer_id,
            kind=self.kind,
            state=self.state,
            steps=list(self.steps),
            progress=self.progress,
            questions=list(self.questions),
            result=None if empty else self.result,
            error=self.error,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class Sessions(Protocol):
    """What is used of `shared.postgres.database.Database`."""

    def session(self, customer: str | None = None, *, platform: bool = False) -> AbstractAsyncContextManager[Any]: ...
    async def healthy(self) -> bool: ...


class JobStore:
    """Reads and writes customers and jobs. A write about a job's work changes nothing where the job has asked since it
    was read: then another run of its steps has it."""

    def __init__(self, database: Sessions) -> None:
        self._database = database

    async def healthy(self) -> bool:
        """Whether the database answers now."""
        return await self._database.healthy()

    @asynccontextmanager
    async def session(self, customer: str | None) -> AsyncIterator[Session]:
        """One transaction. `customer` None sees every customer: only for the platform's own work and administrators."""
        async with self._database.session(customer, platform=customer is None) as connection:
            yield Session(connection)

    async def job(self, job_id: str, customer: str | None) -> Job | None:
        """A job, where this customer (or, for None, anyone) has it."""
        async with self.session(customer) as session:
            return await session.job(job_id)

    async def customer(self, customer_id: str) -> Customer | None:
        """A customer."""
        async with self.session(customer_id) as session:
            return await session.customer(customer_id)

    async def to_hand_out(self, limit: int) -> list[tuple[str, str, int]]:
        """Queued jobs that no worker has taken yet, oldest first: job, customer, and how often the job has asked."""
        async with self.session(None) as session:
            rows = await session.rows(queries.jobs_to_hand_out, limit=limit)
        return [(row["job_id"], row["customer_id"], row["rounds"]) for row in rows]

    async def handed_out(self, job_id: str, customer: str, rounds: int) -> None:
        """Note that the worker has taken a job that has asked so often; not where it has asked since."""
        async with self.session(customer) as session:
            await session.run(queries.handed_out, job_id=job_id, rounds=rounds)

    async def cancelled_among(self, job_ids: list[str]) -> list[str]:
        """Those of the jobs that were cancelled."""
        async with self.session(None) as session:
            return [row["job_id"] for row in await session.rows(queries.cancelled_among, job_ids=job_ids)]

    async def begin_step(self, job: Job, position: int) -> bool:
        """Mark a step as running. False where the job has ended."""
        async with self.session(job.customer_id) as session:
            return await session.run(queries.begin_step, job_id=job.job_id, position=str(position), rounds=job.rounds)

    async def report(self, job: Job, progress: JobProgress) -> None:
        """Note how far the running step is."""
        async with self.session(job.customer_id) as session:
            await session.run(queries.report_progress, job_id=job.job_id, progress=_json(progress.model_dump()))

    async def end_step(self, job: Job, position: int, seconds: float, result: JobResult) -> bool:
        """Mark a step as completed and keep what the job made so far. False where the job has ended."""
        step = {"state": "completed", "seconds": round(seconds, 3)}
        async with self.session(job.customer_id) as session:
            return await session.run(
                queries.end_step,
                job_id=job.job_id,
                rounds=job.rounds,
                position=str(position),
                step=_json(step),
                result=_json(result.model_dump()),
            )

    async def complete(self, job: Job) -> bool:
        """End a job well. False where the job had ended.

        A customer that was onboarded becomes active; one whose onboarding failed does with the first update or build
        that went well. One that is migrated is so once its migration is: until then it is reconciled again.
        """
        async with self.session(job.customer_id) as session:
            if not await session.run(queries.complete_job, job_id=job.job_id, rounds=job.rounds):
                return False
            makes_up = job.kind in {"update", "build"} and not await session.last_job(job.customer_id, "migration")
            if makes_up or job.kind in {"onboarding", "migration"}:
                await session.run(queries.activate_customer, customer_id=job.customer_id)
            return True

    async def fail(self, job: Job, error: dict[str, Any]) -> bool:
        """End a job with an error's wire form. False where the job had ended."""
        async with self.session(job.customer_id) as session:
            return await session.run(queries.fail_job, job_id=job.job_id, rounds=job.rounds, error=_json(error))

    async def ask(self, job: Job, position: int, questions: list[JobQuestion]) -> bool:
        """Let a job wait for answers before it runs the step again. False where the job has ended."""
        asked = _json([question.model_dump() for question in questions])
        async with self.session(job.customer_id) as session:
            return await session.run(
                queries.ask, job_id=job.job_id, position=str(position), questions=asked, rounds=job.rounds
            )

    async def answer(self, job: Job, answers: dict[str, bool]) -> Job:
        """Keep answers to what a job waits for; with the last one it is queued again. Other keys are passed over."""
        async with self.session(job.customer_id) as session:
            await session.lock(job.customer_id)
            waiting = await session.job(job.job_id) or job
            due = {each.key: answers[each.key] for each in waiting.unanswered if each.key in answers}
            if not due:
                return waiting
            kept = [each.model_copy(update={"answer": due.get(each.key, each.answer)}) for each in waiting.questions]
            state = "waiting" if any(each.answer is None for each in kept) else "queued"
            questions = _json([each.model_dump() for each in kept])
            await session.run(queries.answer, job_id=job.job_id, questions=questions, state=state)
            return await session.job(job.job_id) or waiting

    async def stop_waiting(self, seconds: float) -> bool:
        """Take what has been waited for for so long as answered with no. True where there was such a job."""
        async with self.session(None) as session:
            return await session.run(queries.stop_waiting, seconds=seconds)

    async def standstill(self) -> float:
        """Seconds since the last news of the queued or running job that has had none for longest; 0: there is none."""
        async with self.session(None) as session:
            return await session.value(queries.standstill)

    async def cancel(self, job: Job) -> bool:
        """Cancel a job that has not ended. False where it had."""
        async with self.session(job.customer_id) as session:
            return await session.run(queries.cancel_job, job_id=job.job_id)


class Session:
    """One transaction's reads and writes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, query: Any, **values: Any) -> bool:
        """Run a command; True where it changed a row."""
        return changed_rows(await query(self._connection, **values)) > 0

    async def rows(self, query: Any, **values: Any) -> list[Any]:
        """The rows of a query."""
        return [row async for row in query(self._connection, **values)]

    async def value(self, query: Any) -> Any:
        """The one value of a query."""
        return await query(self._connection)

    async def lock(self, customer_id: str) -> None:
        """Hold off every other process that would create or change this customer until the transaction ends."""
        await queries.lock_customer(self._connection, customer_id=customer_id)

    async def customer(self, customer_id: str) -> Customer | None:
        """A customer."""
        row = await queries.customer_by_id(self._connection, customer_id=customer_id)
        return _customer(row) if row else None

    async def customers(self, after: str, partner: str | None, limit: int) -> list[Customer]:
        """Customers in the order of their ids, after a given one; only a partner's where one is given."""
        return [
            _customer(row) for row in await self.rows(queries.list_customers, after=after, partner=partner, limit=limit)
        ]

    async def put_customer(self, customer: Customer) -> bool:
        """Store a customer, or replace one that never became active. False where an active one stands."""
        return await self.run(
            queries.put_customer,
            customer_id=customer.customer_id,
            company_name=customer.company_name,
            contact_email=customer.contact_email,
            deployment_target=customer.deployment_target,
            mcps=list(customer.mcps),
            partner_id=customer.partner,
            request_digest=customer.request_digest,
            sources_digest=customer.sources_digest,
        )

    async def put_sources(self, customer_id: str, sources_digest: str) -> None:
        """Note the digest of a customer's new list of sources."""
        await self.run(queries.put_sources, customer_id=customer_id, sources_digest=sources_digest)

    async def add_job(self, job: NewJob) -> Job:
        """Queue a job.

        Raises:
            Conflict: the customer has an open job.
        """
        steps = [JobStep(name=name, state="pending", seconds=None).model_dump() for name in job.steps]
        await self.run(
            queries.add_job,
            job_id=job.job_id,
            customer_id=job.customer_id,
            kind=job.kind,
            steps=_json(steps),
            result=_json(job.result.model_dump()),
            choice=_json(job.choice),
            request_digest=job.request_digest,
            created_by=job.created_by,
        )
        stored = await self.job(job.job_id)
        assert stored is not None  # noqa: S101  added in this transaction
        return stored

    async def job(self, job_id: str) -> Job | None:
        """A job."""
        return _job(await queries.job_by_id(self._connection, job_id=job_id))

    async def job_by_key(self, created_by: str, key: str) -> Job | None:
        """The job that a caller was answered with for an idempotency key, whichever customer it is of."""
        await queries.enter_platform(self._connection)
        job = _job(await queries.job_by_key(self._connection, created_by=created_by, idempotency_key=key))
        await queries.leave_platform(self._connection)
        return job

    async def add_key(self, created_by: str, key: str, job: Job) -> None:
        """Note that a caller is answered with this job for an idempotency key.

        Raises:
            Conflict: the key was used for another customer a moment ago.
        """
        await self.run(
            queries.add_key,
            created_by=created_by,
            idempotency_key=key,
            customer_id=job.customer_id,
            job_id=job.job_id,
        )

    async def open_job(self, customer_id: str) -> Job | None:
        """The customer's job that has not ended."""
        return _job(await queries.open_job(self._connection, customer_id=customer_id))

    async def last_job(self, customer_id: str, kind: JobKind) -> Job | None:
        """The customer's newest job of a kind."""
        return _job(await queries.last_job(self._connection, customer_id=customer_id, kind=kind))

    async def last_with_dataset(self, customer_id: str) -> Job | None:
        """The customer's newest job whose result names a dataset."""
        return _job(await queries.last_job_with_dataset(self._connection, customer_id=customer_id))

    async def last_delivery(self, customer_id: str) -> Job | None:
        """The customer's newest job that delivered an image: one that failed later on has delivered none."""
        return _job(await queries.last_delivery(self._connection, customer_id=customer_id))

    async def jobs(self, customer_id: str, limit: int) -> list[Job]:
        """The customer's newest jobs."""
        rows = await self.rows(queries.jobs_of_customer, customer_id=customer_id, limit=limit)
        return [job for row in rows if (job := _job(row)) is not None]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _customer(row: Any) -> Customer:
    return Customer(
        customer_id=row["customer_id"],
        company_name=row["company_name"],
        contact_email=row["contact_email"],
        deployment_target=row["deployment_target"],
        mcps=tuple(row["mcps"]),
        partner=row["partner_id"],
        request_digest=row["request_digest"],
        sources_digest=row["sources_digest"],
        state=row["state"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        newest_job=row["newest_job"],
    )


def _job(row: Any) -> Job | None:
    if row is None:
        return None
    return Job(
        job_id=row["job_id"],
        customer_id=row["customer_id"],
        kind=row["kind"],
        state=row["state"],
        steps=tuple(JobStep.model_validate(step) for step in orjson.loads(row["steps"])),
        progress=JobProgress.model_validate_json(row["progress"]),
        result=JobResult.model_validate_json(row["result"]),
        error=orjson.loads(row["error"]) if row["error"] else None,
        choice=orjson.loads(row["choice"]) if row["choice"] else {},
        questions=tuple(JobQuestion.model_validate(each) for each in orjson.loads(row["questions"])),
        rounds=row["rounds"],
        request_digest=row["request_digest"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
