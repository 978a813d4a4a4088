"""Rows of customers and jobs on a real Postgres: states that cannot go back, and walls between customers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servers.orchestrator.store import Customer, Job, JobStore, NewJob
from servers.orchestrator.workflows.plan import STEPS
from shared.contracts.job import JobProgress, JobQuestion, JobResult
from shared.errors import Conflict
from shared.ids import new_handle

DIGEST = "sha256:" + "0" * 64
ROOM = "servers.orchestrator"


def customer(customer_id: str, **changes: str) -> Customer:
    given = {"company_name": "Muster GmbH", "contact_email": "info@example.com", "deployment_target": "package"}
    return Customer(
        customer_id, **{**given, **changes}, mcps=(), partner=None, request_digest=DIGEST, sources_digest=DIGEST
    )


def new_job(customer_id: str, kind: str = "onboarding") -> NewJob:
    return NewJob(new_handle("job"), customer_id, kind, STEPS[kind], DIGEST, "usr_a")  # type: ignore[arg-type]


async def store_of(database, *customers: str) -> JobStore:
    store = JobStore((await database(ROOM)).db)
    for each in customers:
        async with store.session(each) as session:
            await session.put_customer(customer(each))
    return store


async def add(store: JobStore, job: NewJob) -> Job:
    async with store.session(job.customer_id) as session:
        return await session.add_job(job)


async def test_a_new_job_is_queued_with_its_steps_pending(database) -> None:
    store = await store_of(database, "acme")
    job = await add(store, new_job("acme"))
    assert job.state == "queued"
    assert [step.name for step in job.steps] == list(STEPS["onboarding"])
    assert job.view().result is None


async def test_a_customer_has_one_open_job_at_a_time(database) -> None:
    store = await store_of(database, "acme")
    first = await add(store, new_job("acme"))
    with pytest.raises(Conflict):
        await add(store, new_job("acme", "build"))
    await store.cancel(first)
    assert (await add(store, new_job("acme", "build"))).state == "queued"


async def test_steps_run_and_end_and_the_job_is_completed(database) -> None:
    store = await store_of(database, "acme")
    job = await add(store, new_job("acme", "verification"))
    for position in range(len(job.steps)):
        assert await store.begin_step(job, position)
        await store.report(job, JobProgress(done=3, total=9, note="3 of 9"))
        running = await store.job(job.job_id, "acme")
        assert running is not None
        assert running.steps[position].state == "running"
        assert running.progress.done == 3
        assert await store.end_step(job, position, 1.25, JobResult(numbers={"checks": position}))
    assert await store.complete(job)
    done = await store.job(job.job_id, "acme")
    assert done is not None
    assert done.state == "completed"
    assert [step.state for step in done.steps] == ["completed"] * len(done.steps)
    assert done.steps[0].seconds == 1.25
    assert done.result.numbers == {"checks": 2}


async def test_a_cancelled_job_takes_no_further_step_and_stays_cancelled(database) -> None:
    store = await store_of(database, "acme")
    job = await add(store, new_job("acme"))
    await store.begin_step(job, 0)
    assert await store.cancel(job)
    assert not await store.end_step(job, 0, 1.0, JobResult())
    assert not await store.begin_step(job, 1)
    assert not await store.complete(job)
    assert not await store.fail(job, {"code": "internal"})
    kept = await store.job(job.job_id, "acme")
    assert kept is not None
    assert kept.state == "cancelled"
    assert {step.state for step in kept.steps} == {"pending"}


async def test_a_failed_job_names_its_error_and_its_step(database) -> None:
    store = await store_of(database, "acme")
    job = await add(store, new_job("acme"))
    await store.begin_step(job, 2)
    await store.fail(job, {"code": "unavailable", "message": "Away.", "retryable": True})
    failed = await store.job(job.job_id, "acme")
    assert failed is not None
    assert failed.steps[2].state == "failed"
    assert failed.view().error == {"code": "unavailable", "message": "Away.", "retryable": True}


async def test_a_customer_is_listed_with_how_its_newest_job_ended(database) -> None:
    store = await store_of(database, "acme", "bolt")
    first = await add(store, new_job("acme"))
    await store.fail(first, {"code": "conflict", "message": "Nothing was delivered.", "retryable": False})
    async with store.session(None) as session:
        listed = await session.customers("", None, 10)
    assert [(each.customer_id, each.newest_job) for each in listed] == [("acme", "failed"), ("bolt", None)]
    await add(store, new_job("acme"))
    again = await store.customer("acme")
    assert again is not None
    assert (again.state, again.newest_job) == ("onboarding", "queued")


async def test_a_customer_is_active_once_its_onboarding_is_completed_and_then_kept(database) -> None:
    store = await store_of(database, "acme")
    await store.complete(await add(store, new_job("acme")))
    kept = await store.customer("acme")
    assert kept is not None
    assert kept.state == "active"
    async with store.session("acme") as session:
        assert not await session.put_customer(customer("acme", company_name="Other"))


@pytest.mark.parametrize(
    ("failed", "went_well", "state"),
    [
        ("onboarding", "update", "active"),
        ("onboarding", "build", "active"),
        ("onboarding", "verification", "onboarding"),
        ("migration", "update", "onboarding"),
    ],
)
async def test_a_customer_whose_onboarding_failed_is_active_once_a_later_job_delivers(
    database, failed: str, went_well: str, state: str
) -> None:
    store = await store_of(database, "acme")
    await store.fail(await add(store, new_job("acme", failed)), {"code": "conflict"})
    await store.complete(await add(store, new_job("acme", went_well)))
    kept = await store.customer("acme")
    assert kept is not None
    assert kept.state == state


async def test_a_queued_job_is_found_until_it_is_handed_out(database) -> None:
    store = await store_of(database, "acme", "other")
    first, second = await add(store, new_job("acme")), await add(store, new_job("other"))
    assert await store.to_hand_out(10) == [(first.job_id, "acme", 0), (second.job_id, "other", 0)]
    await store.handed_out(first.job_id, "acme", 0)
    assert await store.to_hand_out(10) == [(second.job_id, "other", 0)]


async def asking(store: JobStore, named: str, *keys: str) -> Job:
    """A job whose first step has asked."""
    job = await add(store, new_job(named))
    await store.handed_out(job.job_id, named, 0)
    assert await store.begin_step(job, 0)
    assert await store.ask(job, 0, [JobQuestion(key=key, message="Accept?") for key in keys])
    waiting = await store.job(job.job_id, named)
    assert waiting is not None
    return waiting


async def test_a_job_waits_until_each_of_its_questions_is_answered_and_is_then_handed_out_again(database) -> None:
    store = await store_of(database, "acme")
    job = await asking(store, "acme", "documents", "articles")
    assert (job.state, job.steps[0].state, len(job.unanswered)) == ("waiting", "pending", 2)
    assert not await store.begin_step(job, 0)
    assert not await store.complete(job)
    assert await store.to_hand_out(10) == []
    with pytest.raises(Conflict):
        await add(store, new_job("acme"))
    partly = await store.answer(job, {"articles": True, "unknown": True})
    assert (partly.state, [each.key for each in partly.unanswered]) == ("waiting", ["documents"])
    again = await store.answer(job, {"articles": False, "documents": False})  # an answer cannot be taken back
    assert (again.state, [each.answer for each in again.questions]) == ("queued", [False, True])
    assert await store.to_hand_out(10) == [(job.job_id, "acme", 1)]
    late = await store.answer(job, {"documents": True})
    assert late.questions == again.questions
    await store.handed_out(job.job_id, "acme", 0)  # by a worker that has slept since the job asked
    assert await store.to_hand_out(10) == [(job.job_id, "acme", 1)]
    first = replace(job, rounds=0)  # as the run of its steps knows it that asked
    assert not await store.begin_step(first, 0)
    assert not await store.fail(first, {"code": "unavailable"})
    assert not await store.complete(first)
    assert await store.begin_step(again, 0)
    assert not await store.ask(first, 0, [JobQuestion(key="documents", message="Accept?")])
    assert not await store.end_step(first, 0, 1.0, JobResult())


async def test_what_nobody_answers_counts_as_a_no_once_its_time_is_over(database) -> None:
    store = await store_of(database, "acme")
    job = await asking(store, "acme", "documents", "articles")
    await store.answer(job, {"documents": True})
    assert not await store.stop_waiting(60)
    assert await store.stop_waiting(0)
    kept = await store.job(job.job_id, "acme")
    assert kept is not None
    assert (kept.state, [each.answer for each in kept.questions]) == ("queued", [True, False])
    assert await store.to_hand_out(10) == [(job.job_id, "acme", 1)]


async def test_a_job_that_waits_for_an_answer_can_be_cancelled(database) -> None:
    store = await store_of(database, "acme")
    job = await asking(store, "acme", "documents")
    assert await store.cancel(job)
    kept = await store.answer(job, {"documents": True})
    assert (kept.state, kept.unanswered) == ("cancelled", [])


@pytest.mark.requirement("T-01", "T-03")
async def test_a_session_of_one_customer_sees_nothing_of_another(database) -> None:
    store = await store_of(database, "acme", "other")
    job = await add(store, new_job("acme"))
    assert await store.job(job.job_id, "other") is None
    async with store.session("other") as session:
        assert await session.customer("acme") is None
        assert await session.jobs("acme", 10) == []
        assert await session.customers("", None, 10) == [await session.customer("other")]


@pytest.mark.requirement("T-03")
async def test_a_session_without_a_customer_sees_and_writes_no_row(database) -> None:
    made = await database(ROOM)
    store = JobStore(made.db)
    async with store.session("acme") as session:
        await session.put_customer(customer("acme"))
    async with made.db.session() as connection:
        assert await connection.fetchval("SELECT count(*) FROM customers") == 0
        assert await connection.execute("UPDATE customers SET state = 'active'") == "UPDATE 0"
