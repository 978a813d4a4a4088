"""Erasing every row of one customer from a database, those that nothing may change otherwise included.

Only the superuser can: for one transaction triggers are off, so that immutable versions go too. The audit log stays: it
is a chain that a removed entry would break, and holds ids, verbs and digests only.
"""

from __future__ import annotations

from typing import Any

from shared.errors import Conflict
from shared.postgres.connection import connected
from shared.postgres.queries import changed_rows

KEPT = "audit"
_COLUMNS = """
SELECT format('%I.%I', table_schema, table_name) AS place, array_agg(column_name::text) AS names
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name <> $1
      AND column_name = ANY($2::text[])
GROUP BY 1 ORDER BY 1
"""
_OF_CUSTOMER = ["customer_id", "acts_for"]
_OF_JOB = ["workflow_uuid"]
_REFERENCES = """
SELECT format('%I.%I', n.nspname, c.relname) AS place, format('%I.%I', pn.nspname, p.relname) AS known,
       string_agg(format('k.%I = t.%I', pa.attname, a.attname), ' AND ') AS same
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS pair (own, other)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = pair.own
JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum = pair.other
WHERE f.contype = 'f' AND format('%I.%I', pn.nspname, p.relname) = ANY($1::text[])
GROUP BY f.oid, 1, 2 ORDER BY 1, 2
"""
"""Foreign keys to these tables: of which one, and when a row `t` of it refers to a row `k` there."""


async def erase_rows(superuser_url: str, database: str, customer_id: str) -> int:
    """Delete the customer's rows and every row that refers to one of them, all or none; how many there were.

    Raises:
        Conflict: a job of the customer is open.
        Unavailable: the server does not answer, or the address is no superuser's.
    """
    async with connected(superuser_url, database) as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        return await _erase(connection, customer_id)


async def names_customer(superuser_url: str, database: str, customer_id: str) -> bool:
    """Whether any row names the customer, entries of the audit log included: they stay after an erasure.

    An entry of a tool's call (`….called`) is no sign: it is written before it is known whether there is the customer.

    Raises:
        Unavailable: the server does not answer.
    """
    async with connected(superuser_url, database) as connection:
        for row in await connection.fetch(_COLUMNS, "", _OF_CUSTOMER):
            where = " OR ".join(f"{name} = $1" for name in row["names"])
            if row["place"] == f"public.{KEPT}":
                where = f"({where}) AND verb NOT LIKE '%.called'"
            if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {row['place']} WHERE {where})", customer_id):  # noqa: S608
                return True
    return False


async def _erase(connection: Any, customer_id: str) -> int:
    tables = await connection.fetch(_COLUMNS, KEPT, _OF_CUSTOMER)
    removed = 0
    if any(row["place"] == "public.jobs" for row in tables):
        jobs = await connection.fetch("SELECT job_id, state FROM jobs WHERE customer_id = $1 FOR UPDATE", customer_id)
        if any(job["state"] in {"queued", "running", "waiting"} for job in jobs):
            raise Conflict("A job of this customer has not ended. Cancel it with cancel_job, and call again.")
        ids = [job["job_id"] for job in jobs]
        for row in await connection.fetch(_COLUMNS, KEPT, _OF_JOB):
            removed += await _delete(connection, row["place"], "split_part(workflow_uuid, '.', 1) = ANY($1)", ids)
    names = {row["place"]: row["names"] for row in tables}
    for row in await connection.fetch(_REFERENCES, list(names)):  # nobody's rows about the customer's: no trigger is on
        about = f"EXISTS (SELECT FROM {row['known']} k WHERE {row['same']} AND ({_own('k', names[row['known']])}))"
        about += f" AND ({_own('t', names.get(row['place'], []))}) IS NOT TRUE"
        removed += await _delete(connection, row["place"], about, customer_id)
    for place, columns in names.items():
        removed += await _delete(connection, place, _own("t", columns), customer_id)
    await connection.execute("SELECT pg_notify('registry', '')")  # triggers, which tell of changes, are off
    return removed


def _own(row: str, names: list[str]) -> str:
    """The condition that a row is the customer's."""
    return " OR ".join(f"{row}.{name} = $1" for name in names) or "false"


async def _delete(connection: Any, place: str, where: str, value: object) -> int:
    """Delete the rows `t` of a table, whose name the database has quoted itself; how many there were."""
    return changed_rows(await connection.execute(f"DELETE FROM {place} t WHERE {where}", value))  # noqa: S608
