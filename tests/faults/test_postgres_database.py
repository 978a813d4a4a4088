"""The pool when Postgres refuses, is slow, goes away and comes back: the right error, and no value in it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

import asyncpg
import pytest

from shared.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidInput,
    PlatformError,
    Unavailable,
)
from shared.postgres.database import Database
from shared.postgres.launcher import EmbeddedPostgres
from tests.serving_rig import HANGS_S

CANARY = "canary-value-0711"


@pytest.fixture
async def db(database) -> Database:
    made = await database("shared", migrated=False)
    async with Database(made.urls.owner) as owner, owner.session() as connection:
        await connection.execute(
            "CREATE TABLE things (name text PRIMARY KEY CHECK (name <> 'bad'), parent text REFERENCES things)"
        )
        await connection.execute("CREATE TABLE locked (id integer); REVOKE ALL ON locked FROM PUBLIC, platform_app")
    return made.db


@pytest.mark.parametrize(
    ("statement", "values", "kind"),
    [
        ("INSERT INTO things VALUES ($1), ($1)", [CANARY], Conflict),
        ("INSERT INTO things VALUES ('x', $1)", [CANARY], Conflict),
        ("INSERT INTO things VALUES ('bad', $1)", [CANARY], InvalidInput),
        ("SELECT $1::text::integer", [CANARY], InvalidInput),
        ("SELECT $1::integer", [CANARY], InvalidInput),
        ("SELECT $1::text", [CANARY + "\0"], InvalidInput),
        ("SELECT * FROM locked WHERE $1 = ''", [CANARY], Forbidden),
        (f"SELECT '{CANARY}' FROM nowhere", [], Internal),  # noqa: S608
        (f"SELEC '{CANARY}'", [], Internal),
    ],
)
async def test_a_refusal_is_the_platforms_error_and_repeats_no_value(db, caplog, statement, values, kind) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PlatformError) as caught:
        async with db.session("acme") as connection:
            await connection.execute(statement, *values)
    assert type(caught.value) is kind
    assert CANARY not in str(caught.value.as_dict())
    assert caught.value.__suppress_context__
    assert CANARY not in caplog.text


async def test_an_error_in_the_block_rolls_everything_back(db) -> None:
    with pytest.raises(KeyError):  # noqa: PT012
        async with db.session() as connection:
            await connection.execute("INSERT INTO things VALUES ('x')")
            raise KeyError
    async with db.session() as connection:
        assert await connection.fetchval("SELECT count(*) FROM things") == 0


async def test_an_error_of_the_block_that_is_not_the_databases_stays_what_it_is(db) -> None:
    with pytest.raises(FileNotFoundError):
        async with db.session():
            raise FileNotFoundError


async def test_a_statement_that_takes_too_long_is_ended_and_the_pool_goes_on(database) -> None:
    made = await database("shared", migrated=False)
    async with Database(made.urls.app, size=1, command_timeout_s=0.2) as slow:
        with pytest.raises(DeadlineExceeded):
            async with slow.session() as connection:
                await connection.execute("SELECT pg_sleep(60)")
        async with asyncio.timeout(HANGS_S):
            while not await slow.healthy():  # 0.2 s is little for a busy machine
                pass


async def test_a_cancelled_call_gives_its_connection_back(database) -> None:
    made = await database("shared", migrated=False)
    one = Database(made.urls.app, size=1)
    await one.open()
    entered = asyncio.Event()

    async def hold() -> None:
        async with one.session() as connection:
            entered.set()
            await connection.execute("SELECT pg_sleep(60)")

    try:
        task = asyncio.create_task(hold())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await one.healthy()
    finally:
        await one.close()


@pytest.mark.requirement("F-02")
async def test_calls_fail_retryable_while_the_server_is_away_and_succeed_once_it_is_back() -> None:
    with tempfile.TemporaryDirectory(prefix="0711-gone-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", 0, {"fsync": "off"})
        await asyncio.to_thread(server.start)
        db = Database(server.superuser_url)
        try:
            await db.open()
            entered, away = asyncio.Event(), asyncio.Event()

            async def interrupted() -> None:
                async with db.session() as connection:
                    entered.set()
                    await away.wait()
                    await connection.execute("SELECT 1")

            running = asyncio.create_task(interrupted())
            await entered.wait()
            await asyncio.to_thread(server.stop)
            away.set()
            outcomes = await asyncio.wait_for(
                asyncio.gather(running, *(_question(db) for _ in range(200)), return_exceptions=True), HANGS_S
            )
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            assert all(isinstance(outcome, Unavailable) and outcome.retryable for outcome in outcomes)
            assert not await db.healthy()
            await asyncio.to_thread(server.start)
            assert await asyncio.gather(*(_question(db) for _ in range(200))) == [1] * 200
        finally:
            await db.close()
            await asyncio.to_thread(server.remove)


async def _question(db: Database) -> int:
    async with db.session() as connection:
        return await connection.fetchval("SELECT 1")


async def test_a_database_not_opened_or_closed_already_says_so(database) -> None:
    made = await database("shared", migrated=False)
    unopened = Database(made.urls.app)
    with pytest.raises(Unavailable, match="not open"):
        await _question(unopened)
    await unopened.close()


async def test_a_transaction_that_is_running_when_the_database_is_closed_ends_well(db: Database) -> None:
    async with db.session() as connection:
        closing = asyncio.create_task(db.close())
        await asyncio.sleep(0)
        await connection.execute("INSERT INTO things VALUES ('kept')")
    await closing
    await db.open()
    async with db.session() as connection:
        assert await connection.fetchval("SELECT name FROM things") == "kept"


async def test_wrong_credentials_say_what_to_run(postgres_server) -> None:
    url = f"postgresql://platform_app:wrong@127.0.0.1:{postgres_server.server.port}/platform"
    async with Database(url) as wrong:
        with pytest.raises(Unavailable, match="0711 up"):
            await _question(wrong)


async def test_a_connection_that_breaks_in_the_middle_of_a_message_is_worth_another_try(db: Database) -> None:
    with pytest.raises(Unavailable) as broken:
        async with db.session():
            raise asyncpg.ProtocolError(CANARY)  # as the driver's parser does on a cut message
    assert broken.value.retry_after
    assert CANARY not in broken.value.message
