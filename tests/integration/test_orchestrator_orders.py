"""Ordering jobs: bad input, the same order again, and many at once. Cradle is away, so nothing reaches it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from servers.orchestrator.orders import Order, Orders, Request
from servers.orchestrator.store import JobStore
from servers.orchestrator.upstreams import Upstreams
from shared.auth import acting_as
from shared.client import tokens
from shared.contracts.job import JobResult
from shared.errors import Conflict, InvalidInput, PlatformError, Unavailable
from shared.postgres import database as postgres
from shared.postgres.migrations import migrations_of
from shared.secret_files import replace_secret
from shared.settings import Settings
from tests.orchestrator_rig import ADMIN, DIGEST, free_port, put_customer, put_job, put_onboarded, settings_in
from tests.serving_rig import HANGS_S

OLD_JOB = "job_" + "a" * 26
REQUEST = Request("Muster GmbH", "info@example.com", ["file:///data/muster"])


@pytest.fixture
async def orders(database, tmp_path: Path):
    store = JobStore((await database("servers.orchestrator")).db)
    upstreams = Upstreams.of(settings_in(tmp_path))
    with acting_as(ADMIN):
        yield Orders(store, upstreams)
    await upstreams.close()


def store_of(orders: Orders) -> JobStore:
    return orders._store


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"company_name": "   "}, "company_name"),
        ({"company_name": "株式会社"}, "company_name"),
        ({"company_name": "4711 €"}, "company_name"),
        ({"contact_email": "not an address"}, "contact_email"),
        ({"contact_email": "a@b@c.de"}, "contact_email"),
        ({"data_sources": []}, "data_sources"),
        ({"data_sources": ["  "]}, "data_sources"),
    ],
)
async def test_malformed_input_is_one_sentence_and_leaves_no_customer(orders: Orders, change, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await orders.onboard(replace(REQUEST, **change))
    assert refused.value.field == field
    assert refused.value.message.count(".") <= 2
    async with store_of(orders).session(None) as session:
        assert await session.customers("", None, 10) == []


async def test_a_platform_that_is_away_leaves_no_customer_behind(orders: Orders) -> None:
    with pytest.raises(Unavailable, match="0711 up"):
        await orders.onboard(REQUEST)
    assert await store_of(orders).customer("muster") is None


async def test_the_same_request_again_gives_the_same_job(orders: Orders) -> None:
    store = store_of(orders)
    await put_customer(store, "muster", request_digest=REQUEST.digest)
    job = await put_job(store, "muster", request_digest=REQUEST.digest)
    assert (await orders.onboard(REQUEST)).job_id == job.job_id
    assert (await orders.onboard(replace(REQUEST, company_name=" Muster  GmbH "))).job_id == job.job_id
    await store.complete(job)
    assert (await orders.onboard(REQUEST)).job_id == job.job_id


async def test_another_request_for_a_customer_that_exists_says_what_to_use(orders: Orders) -> None:
    await put_onboarded(store_of(orders), "muster", request_digest=REQUEST.digest)
    with pytest.raises(Conflict, match="process_new_documents"):
        await orders.onboard(replace(REQUEST, data_sources=["file:///data/other"]))


async def test_another_request_while_the_first_runs_names_its_job(orders: Orders) -> None:
    store = store_of(orders)
    await put_customer(store, "muster")
    job = await put_job(store, "muster")
    with pytest.raises(Conflict, match=job.job_id):
        await orders.onboard(REQUEST)


async def test_a_failed_onboarding_may_be_ordered_again(orders: Orders) -> None:
    store = store_of(orders)
    await put_customer(store, "muster", request_digest=REQUEST.digest)
    job = await put_job(store, "muster", request_digest=REQUEST.digest)
    await store.fail(job, {"code": "unavailable", "message": "Away.", "retryable": True})
    with pytest.raises(Unavailable):  # it goes on to the marketplace, which is away here
        await orders.onboard(REQUEST)


async def test_planted_questions_change_only_with_an_order_that_is_accepted(orders: Orders) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    ordered = {"choice": {"host": "local"}, "questions": [{"question": "Wie schwer?", "expected": "4 kg"}]}
    with pytest.raises(Unavailable):  # they are asked to be kept of cradle, which is away here: no job without them
        await orders.start(customer, Order("deployment", **ordered))
    job = await put_job(store, "muster", "build")
    with pytest.raises(Conflict, match=job.job_id):  # refused before cradle is asked for anything
        await orders.start(customer, Order("deployment", **ordered))


@pytest.mark.requirement("F-10")
async def test_a_key_stands_for_what_was_said_though_the_newest_version_is_another_one_now(orders: Orders) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    said = {"tag": None, "host": "local"}
    first = await orders.start(customer, Order("deployment", choice={**said, "tag": "p1-a"}, said=said), "key-1")
    await store.fail(first, {"code": "unavailable", "message": "Away.", "retryable": True})
    again = await orders.start(customer, Order("deployment", choice={**said, "tag": "p1-b"}, said=said), "key-1")
    assert again.job_id == first.job_id
    with pytest.raises(Conflict, match="idempotency key"):
        await orders.start(customer, Order("deployment", choice={**said, "tag": "p1-b"}), "key-1")


@pytest.mark.requirement("F-10")
async def test_fifty_identical_orders_at_once_are_one_job(orders: Orders) -> None:
    customer = await put_onboarded(store_of(orders), "muster")
    jobs = await asyncio.gather(*(orders.start(customer, Order("build")) for _ in range(50)))
    assert len({job.job_id for job in jobs}) == 1
    async with store_of(orders).session("muster") as session:
        assert len(await session.jobs("muster", 100)) == 2


async def test_orders_that_wait_for_a_part_that_hangs_leave_connections_for_all_others(
    orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ACQUIRE_TIMEOUT_S", 3 * HANGS_S)
    monkeypatch.setattr(tokens, "FETCH_DEADLINE_S", 3 * HANGS_S)
    store, named, reached = store_of(orders), [f"kunde-{n}" for n in range(12)], asyncio.Event()
    customers = [await put_onboarded(store, each) for each in named]
    replace_secret(tmp_path / "keys" / "orchestrator.json", b'{"client_id": "orchestrator", "client_secret": "x"}')
    hanging = await asyncio.start_server(lambda *_: reached.set(), "127.0.0.1", free_port())
    port = hanging.sockets[0].getsockname()[1]
    own = Orders(store, Upstreams.of(Settings(home=tmp_path, marketplace_port=port)))
    waiting = [asyncio.create_task(own.start(each, Order("update", ["file:///new"]))) for each in customers]
    async with asyncio.timeout(HANGS_S):  # less than anyone waits for a connection, or for the part that hangs
        await reached.wait()
        await asyncio.gather(*(store.customer(each) for each in named))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    hanging.close()


@pytest.mark.requirement("F-10")
async def test_fifty_orders_with_one_key_from_many_processes_are_one_job(orders: Orders, database) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    others = [Orders(store, orders._upstreams) for _ in range(50)]  # each with its own locks, as in its own process
    answers = await asyncio.gather(
        *(each.start(customer, Order("build"), key="k1") for each in others), return_exceptions=True
    )
    jobs = {answer.job_id for answer in answers if not isinstance(answer, BaseException)}
    assert len(jobs) == 1
    assert all(not isinstance(each, BaseException) or isinstance(each, PlatformError) for each in answers)


@pytest.mark.requirement("F-10")
async def test_a_key_gives_its_job_again_and_refuses_another_request(orders: Orders) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    job = await orders.start(customer, Order("verification"), key="k1")
    await store.complete(job)
    assert (await orders.start(customer, Order("verification"), key="k1")).job_id == job.job_id
    with pytest.raises(Conflict, match="idempotency key"):
        await orders.start(customer, Order("build"), key="k1")
    assert (await orders.start(customer, Order("verification"))).job_id != job.job_id


@pytest.mark.requirement("F-10")
async def test_a_key_that_was_answered_with_an_open_job_stands_for_it_when_it_has_ended(orders: Orders) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    job = await orders.start(customer, Order("verification"))
    assert (await orders.start(customer, Order("verification"), key="k1")).job_id == job.job_id
    await store.complete(job)
    assert (await orders.start(customer, Order("verification"), key="k1")).job_id == job.job_id
    with pytest.raises(Conflict, match="idempotency key"):
        await orders.start(customer, Order("build"), key="k1")


@pytest.mark.requirement("F-10")
async def test_a_key_that_was_answered_with_an_onboarding_stands_for_it(orders: Orders) -> None:
    store = store_of(orders)
    await put_customer(store, "muster", request_digest=REQUEST.digest)
    job = await put_job(store, "muster", request_digest=REQUEST.digest)
    assert (await orders.onboard(REQUEST, key="k1")).job_id == job.job_id
    await store.fail(job, {"code": "unavailable", "message": "Away.", "retryable": True})
    assert (await orders.onboard(REQUEST, key="k1")).job_id == job.job_id


@pytest.mark.requirement("F-10")
async def test_a_key_of_one_customer_is_refused_for_another_and_leaves_no_job(orders: Orders) -> None:
    store = store_of(orders)
    await orders.start(await put_onboarded(store, "muster"), Order("build"), key="k1")
    other = await put_onboarded(store, "other")
    with pytest.raises(Conflict, match="idempotency key"):
        await orders.start(other, Order("build"), key="k1")
    async with store.session("other") as session:
        assert await session.open_job("other") is None


async def test_the_keys_of_jobs_before_keys_had_a_table_are_kept(database) -> None:
    statements = {each.number: each.sql for each in migrations_of("servers.orchestrator")}
    made = await database("servers.orchestrator")
    connection = await asyncpg.connect(made.urls.owner)
    try:
        async with connection.transaction():
            await connection.execute("DROP TABLE job_keys, jobs, customers")
            await connection.execute(statements[1])
            await connection.execute("SELECT set_config('app.customer', 'muster', true)")
            await connection.execute(
                "INSERT INTO customers VALUES ('muster', 'Muster', 'a@b.c', 'package', '{}', NULL, 'active', $1, $1)",
                DIGEST,
            )
            await connection.execute(
                "INSERT INTO jobs (job_id, customer_id, kind, request_digest, idempotency_key, created_by)"
                " VALUES ($1, 'muster', 'build', $2, 'k1', 'usr_a')",
                OLD_JOB,
                DIGEST,
            )
        for number in sorted(statements)[1:]:
            async with connection.transaction():
                await connection.execute(statements[number])
    finally:
        await connection.close()
    async with JobStore(made.db).session("other") as session:
        job = await session.job_by_key("usr_a", "k1")
    assert job is not None
    assert job.job_id == OLD_JOB


async def test_a_session_that_looked_a_key_up_is_back_behind_its_wall(orders: Orders) -> None:
    store = store_of(orders)
    await orders.start(await put_onboarded(store, "muster"), Order("build"), key="k1")
    async with store.session("other") as session:
        assert await session.job_by_key(ADMIN.subject, "k1") is not None
        assert await session.jobs("muster", 10) == []


async def test_a_second_job_of_a_customer_waits_for_the_first(orders: Orders) -> None:
    customer = await put_onboarded(store_of(orders), "muster")
    job = await orders.start(customer, Order("build"))
    with pytest.raises(Conflict, match=job.job_id):
        await orders.start(customer, Order("verification"))
    await orders.cancel(job)
    assert (await orders.start(customer, Order("verification"))).state == "queued"


@pytest.mark.parametrize(("asked", "numbers"), [(2, {"parameter_version": 2}), ("newest", {})])
async def test_an_update_with_other_parameters_starts_from_them_and_from_no_dataset(
    orders: Orders, asked, numbers
) -> None:
    customer = await put_onboarded(store_of(orders), "muster")
    job = await orders.start(customer, Order("update", parameter_version=asked))
    assert job.result.numbers == numbers
    assert job.result.digests == {}
    with pytest.raises(Conflict, match=job.job_id):  # another request: that of the dataset's own version
        await orders.start(customer, Order("update"))


async def test_after_an_update_with_other_parameters_failed_the_datasets_own_version_counts(orders: Orders) -> None:
    store = store_of(orders)
    customer = await put_onboarded(store, "muster")
    job = await orders.start(customer, Order("update", parameter_version=2))
    await store.fail(job, {"code": "unavailable", "message": "Away.", "retryable": True})
    following = await orders.start(customer, Order("build"))
    assert following.result.numbers == {"parameter_version": 1}
    assert following.result.digests["dataset"] == DIGEST


async def test_after_a_cancelled_update_the_next_one_starts_from_what_was_delivered(orders: Orders) -> None:
    store, other = store_of(orders), "sha256:" + "1" * 64
    customer = await put_onboarded(store, "muster")
    cancelled = await orders.start(customer, Order("update"))
    made = JobResult(numbers={"parameter_version": 1}, digests={"dataset": other})
    assert await store.begin_step(cancelled, 0)
    assert await store.end_step(cancelled, 0, 1.0, made)
    await orders.cancel(cancelled)
    following = await orders.start(customer, Order("update"))
    assert (following.result.digests["base"], following.result.digests["dataset"]) == (DIGEST, other)


async def test_the_newest_job_counts_though_the_clock_was_set_back_since_the_one_before(orders: Orders) -> None:
    store, other = store_of(orders), "sha256:" + "1" * 64
    customer = await put_onboarded(store, "muster")
    async with store.session("muster") as session:
        await session._connection.execute("UPDATE jobs SET created_at = now() + interval '1 hour'")
    made = JobResult(numbers={"parameter_version": 2}, digests={"dataset": other, "image": other})
    await store.complete(await put_job(store, "muster", "update", result=made))
    following = await orders.start(customer, Order("build"))
    assert (following.result.numbers["parameter_version"], following.result.digests["dataset"]) == (2, other)


async def test_other_parameters_are_for_customers_with_a_dataset(orders: Orders) -> None:
    customer = await put_customer(store_of(orders), "muster")
    with pytest.raises(Conflict, match="onboard it"):
        await orders.start(customer, Order("update", parameter_version="newest"))


async def test_a_build_needs_a_dataset(orders: Orders) -> None:
    customer = await put_customer(store_of(orders), "muster")
    with pytest.raises(Conflict, match="onboard it"):
        await orders.start(customer, Order("build"))


async def test_cancelling_twice_is_cancelling_once(orders: Orders) -> None:
    customer = await put_onboarded(store_of(orders), "muster")
    job = await orders.cancel(await orders.start(customer, Order("build")))
    assert job.state == "cancelled"
    assert (await orders.cancel(job)).updated_at == job.updated_at
