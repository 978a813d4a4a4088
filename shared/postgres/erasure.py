"""Erasing every row of one customer from a database, those that nothing may change otherwise included.

Only the superuser can: for one transaction triggers are off, so that immutable versions go too. The audit log stays: it
is a chain that a removed entry would break, and holds ids, verbs and digests only.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import asyncpg

from shared.errors import Conflict
from shared.postgres.failures import translated

KEPT = "audit"
CONNECT_TIMEOUT_S = 10
_COLUMNS = """
SELECT format('%I.%I', table_schema, table_name) AS place, array_agg(column_name::text) AS names
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name <> $1
      AND column_name = ANY($2::text[])
GROUP BY 1 ORDER BY 1
"""
_OF_CUSTOMER = ["customer_id", "acts_for"]
_OF_JOB = ["workflow_uuid"]


async def erase_rows(superuser_url: str, database: str, customer_id: str) -> int:
    """Delete the customer's rows, all or none, and look that none is left; how many there were.

    Raises:
        Conflict: a job of the customer is open.
        Unavailable: the server does not answer, or the address is no superuser's.
    """
    try:
        connection = await asyncpg.connect(
            urlsplit(superuser_url)._replace(path=f"/{database}").geturl(), timeout=CONNECT_TIMEOUT_S
        )
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica")
                return await _erase(connection, customer_id)
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translated(error) from None


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
    for row in tables:
        removed += await _delete(
            connection, row["place"], " OR ".join(f"{name} = $1" for name in row["names"]), customer_id
        )
    await connection.execute("SELECT pg_notify('registry', '')")  # triggers, which tell of changes, are off
    return removed


async def _delete(connection: Any, place: str, where: str, value: object) -> int:
    """Delete from a table, whose name the database has quoted itself; how many rows there were."""
    status = await connection.execute(f"DELETE FROM {place} WHERE {where}", value)  # noqa: S608
    return int(status.rsplit(" ", 1)[-1])
