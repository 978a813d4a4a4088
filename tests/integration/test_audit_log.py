"""The audit log on a real Postgres: append-only, chained, ids only, one customer's rows only."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from shared.audit import AuditHead, AuditLog
from shared.errors import InvalidInput, Unavailable
from shared.postgres.database import Database

TAMPERED = [
    ("UPDATE audit SET verb = 'job.hidden' WHERE number = 3", 3, "changed after"),
    ("UPDATE audit SET at = at + interval '1 second' WHERE number = 4", 4, "changed after"),
    ("UPDATE audit SET detail = '[' WHERE number = 2", 2, "cannot be read"),
    ("UPDATE audit SET detail = '{\"steps\":9}' WHERE number = 2", 2, "changed after"),
    ("UPDATE audit SET actor = 'user_2' WHERE number = 1", 1, "changed after"),
    ("UPDATE audit SET subject = 'job_9' WHERE number = 5", 5, "changed after"),
    ("UPDATE audit SET customer_id = 'gamma' WHERE number = 3", 3, "changed after"),
    ("UPDATE audit SET customer_id = NULL WHERE number = 3", 3, "changed after"),
    ("UPDATE audit SET digest = previous WHERE number = 5", 5, "changed after"),
    ("UPDATE audit SET digest = previous WHERE number = 4", 4, "changed after"),
    ("DELETE FROM audit WHERE number = 1", 2, "missing"),
    (
        "INSERT INTO audit SELECT 6, at, actor, verb, customer_id, subject, detail, previous, digest FROM audit"
        " WHERE number = 5",
        6,
        "does not follow",
    ),
    (
        "INSERT INTO audit SELECT 6, at, actor, verb, customer_id, subject, detail, digest, digest FROM audit"
        " WHERE number = 5",
        6,
        "changed after",
    ),
    ("DELETE FROM audit WHERE number = 2", 3, "missing"),
    ("UPDATE audit SET previous = digest WHERE number = 5", 5, "does not follow"),
]


@pytest.fixture
async def made(database):
    return await database("shared")


async def _filled(db: Database, count: int = 5) -> AuditLog:
    log = AuditLog(db)
    for number in range(count):
        await log.append("user_1", "job.started", f"job_{number}", "acme" if number % 2 else "beta", {"steps": number})
    return log


@pytest.mark.requirement("A-10")
async def test_a_chain_of_concurrent_appends_is_whole(made) -> None:
    log = AuditLog(made.db)
    await asyncio.gather(*(log.append("user_1", "image.built", f"sha256:{number}") for number in range(40)))
    proof = await log.verify()
    assert proof.whole
    assert proof.entries == proof.head.number == 40


@pytest.mark.requirement("A-10")
async def test_an_entry_that_was_edited_removed_or_put_in_is_found(made, postgres_server) -> None:
    log = await _filled(made.db)
    async with postgres_server.superuser(made.urls) as superuser:
        await superuser.execute("ALTER TABLE audit DISABLE TRIGGER USER")  # only a superuser or the owner can do this
        columns = await superuser.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'audit'::regclass AND attnum > 0"
        )
        edited = {statement.split()[3] for statement, *_ in TAMPERED if statement.startswith("UPDATE")}
        assert {row["attname"] for row in columns} - {"number"} == edited
        await superuser.execute("CREATE TABLE kept AS TABLE audit")
        for statement, number, reason in TAMPERED:
            await superuser.execute(statement)
            proof = await log.verify()
            assert (proof.whole, proof.broken_at) == (False, number), statement
            assert reason in proof.reason, statement
            await superuser.execute("TRUNCATE audit; INSERT INTO audit SELECT * FROM kept")
            assert (await log.verify()).whole


@pytest.mark.requirement("A-10")
async def test_removed_entries_at_the_end_are_found_by_a_head_that_was_noted(made) -> None:
    log = await _filled(made.db, 3)
    head = (await log.verify()).head
    longer = AuditHead(number=head.number + 2, digest=head.digest)
    assert (await log.verify(head)).whole
    assert (await log.verify(longer)).broken_at == head.number + 1
    other = AuditHead(number=2, digest="sha256:" + "1" * 64)
    assert (await log.verify(other)).broken_at == 2


@pytest.mark.requirement("A-10")
@pytest.mark.parametrize("role", ["app", "owner"])
async def test_entries_can_neither_be_changed_nor_deleted(made, role) -> None:
    await _filled(made.db, 2)
    connection = await asyncpg.connect(getattr(made.urls, role))
    try:
        await connection.execute("SELECT set_config('app.platform', 'on', false)")
        for statement in ("UPDATE audit SET verb = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await connection.execute(statement)
            not_granted = role == "app" and statement.startswith("TRUNCATE")
            assert caught.value.sqlstate == ("42501" if not_granted else "23001"), statement
    finally:
        await connection.close()


@pytest.mark.requirement("T-03")
async def test_a_customer_reads_its_own_entries_only(made) -> None:
    log = await _filled(made.db)
    assert {entry.customer_id for entry in await log.newest(customer="acme")} == {"acme"}
    assert await log.newest(customer="gamma") == []
    assert [entry.number for entry in await log.newest(limit=2)] == [5, 4]
    assert [entry.number for entry in await log.newest(limit=2, before=4)] == [3, 2]
    async with made.db.session() as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit") == 0


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("subject", {"subject": "Preisliste Müller.xlsx"}),
        ("subject", {"subject": "two words"}),
        ("detail", {"detail": {"note": "a sentence about a customer"}}),
        ("verb", {"verb": "Saved It"}),
        ("actor", {"actor": "someone@example.org"}),
        ("customer_id", {"customer": "Not An Id"}),
    ],
)
async def test_an_entry_has_no_room_for_content(made, field, arguments) -> None:
    log = AuditLog(made.db)
    with pytest.raises(InvalidInput) as caught:
        await log.append(**{"actor": "user_1", "verb": "job.started", **arguments})
    assert caught.value.field == field
    assert (await log.verify()).entries == 0


@pytest.mark.requirement("A-10")
async def test_entry_and_change_happen_both_or_not_at_all_and_widen_nothing(made) -> None:
    log = AuditLog(made.db)
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with made.db.session("acme") as connection:
            await log.append_in(connection, "user_1", "job.started", "job_1", "acme")
            await log.append_in(connection, "user_1", "job.started", "job_2", "beta")
            assert await connection.fetchval("SELECT count(*) FROM audit") == 1  # as acme again, not as the platform
            raise RuntimeError
    assert (await log.verify()).entries == 0


@pytest.mark.requirement("A-10")
async def test_with_the_log_gone_the_append_refuses_so_the_change_cannot_go_on() -> None:
    async with Database("postgresql://nobody:none@127.0.0.1:1/none") as database:
        with pytest.raises(Unavailable):
            await AuditLog(database).append("user_1", "job.started")
