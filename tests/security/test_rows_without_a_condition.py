"""Row-level security alone: statements without a WHERE, in every table with customers' rows of every package.

Each table gets rows of two customers and one that is nobody's, and the application's role may do anything with it; what
is left is the wall.
"""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Forbidden
from tests.conftest import Databases, TestDatabase
from tests.rows_rig import fill

pytestmark = pytest.mark.requirement("T-02", "T-03")

CALLERS = {"acme": ["acme"], "bolt": ["bolt"], "carl": [], None: [], "": []}
"""A session's customer, and whose rows it reaches."""


@pytest.fixture
async def filled(database: Databases, postgres_server: Any, migrated_package: str) -> tuple[TestDatabase, list[str]]:
    """A database with rows in all tables of customers, and the names of these."""
    made = await database(migrated_package)
    role = made.urls.app.partition("://")[2].partition(":")[0]
    async with postgres_server.superuser(made.urls) as superuser:
        tables = await fill(superuser, "acme", "bolt", None)
        for table in tables:
            await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        await superuser.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    return made, tables


class Undone(Exception):
    """Rolls a transaction back, and says what it did."""


async def attempted(db: Any, customer: str | None, statement: str) -> str | None:
    """What a statement did, all of which is undone; None where it was refused."""
    try:
        async with db.session(customer) as connection:
            raise Undone(await connection.execute(statement))
    except Undone as told:
        return str(told)
    except Forbidden:
        return None


async def test_a_statement_without_a_condition_reaches_the_own_customers_rows_and_none_where_none_is_named(
    filled: tuple[TestDatabase, list[str]],
) -> None:
    made, tables = filled
    assert tables
    for table in tables:
        for customer, own in CALLERS.items():
            async with made.db.session(customer) as connection:
                seen = await connection.fetch(f"SELECT customer_id FROM {table}")  # noqa: S608
            assert [row["customer_id"] for row in seen if row["customer_id"]] == own, (table, customer)
            changed = await attempted(made.db, customer, f"UPDATE {table} SET customer_id = customer_id")  # noqa: S608
            assert changed in {f"UPDATE {len(own)}", None if own else ""}, (table, customer)
            removed = await attempted(made.db, customer, f"DELETE FROM {table}")  # noqa: S608
            assert removed == f"DELETE {len(own)}", (table, customer)


async def test_a_customers_session_gives_its_rows_to_nobody_else_and_takes_none_of_everyones(
    filled: tuple[TestDatabase, list[str]],
) -> None:
    made, tables = filled
    for table in tables:
        for value in ("'bolt'", "NULL"):
            assert await attempted(made.db, "acme", f"UPDATE {table} SET customer_id = {value}") is None, (table, value)  # noqa: S608
        taken = await attempted(made.db, "acme", f"UPDATE {table} SET customer_id = 'acme'")  # noqa: S608
        assert taken in {"UPDATE 1", None}, table
