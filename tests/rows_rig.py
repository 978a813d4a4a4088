"""A row of a customer in every table that holds customers' rows, made from the tables themselves, so that a new table
cannot be forgotten."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

TABLES = """
SELECT table_name, bool_or(is_nullable = 'YES') AS everyones
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema = 'public' AND column_name = 'customer_id'
GROUP BY 1 ORDER BY 1
"""
"""Tables with a customer's rows, and whether a row of theirs may be nobody's."""
NEEDED = """
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER' AND is_identity = 'NO'
  AND column_name <> 'customer_id' AND is_nullable = 'NO' AND column_default IS NULL
"""
CHECKS = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = $1::regclass"
VALUES: dict[str, Any] = {
    "bytea": b"", "boolean": False, "date": date(2026, 1, 1), "jsonb": "{}", "smallint": 1, "integer": 1,
    "timestamp with time zone": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip
"""A value of each type that is not text or a bigint; those are different in every row."""


async def fill(superuser: Any, *customers: str | None) -> list[str]:
    """Put a row of each customer into each of these tables, where it has none yet; their names. Their CHECKs go.

    Args:
        customers: None: a row that is nobody's, where a table takes one.
    """
    await superuser.execute("SET session_replication_role = replica")  # neither triggers nor foreign keys
    tables = {row["table_name"]: row["everyones"] for row in await superuser.fetch(TABLES)}
    for table, everyones in tables.items():
        for (name,) in await superuser.fetch(CHECKS, table):
            await superuser.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        needed = {row["column_name"]: row["data_type"] for row in await superuser.fetch(NEEDED, table)}
        for number, customer in enumerate(customers):
            there = f"SELECT count(*) FROM {table} WHERE customer_id IS NOT DISTINCT FROM $1"  # noqa: S608
            if (customer is not None or everyones) and not await superuser.fetchval(there, customer):
                made = {name: VALUES.get(kind, number) for name, kind in needed.items()}
                made |= {name: f"{customer}'s {name}" for name, kind in needed.items() if kind == "text"}
                made["customer_id"] = customer
                places = ", ".join(f"${place}" for place in range(1, len(made) + 1))
                await superuser.execute(f"INSERT INTO {table} ({', '.join(made)}) VALUES ({places})", *made.values())  # noqa: S608
    return list(tables)
