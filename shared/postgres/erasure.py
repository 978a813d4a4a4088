"""Erasing every row of one customer from a database, those that nothing may change otherwise included.

Only the superuser can: for one transaction triggers are off, so that immutable versions go too. The audit log stays: it
is a chain that a removed entry would break, and holds ids, verbs and digests only.
"""

from __future__ import annotations

from typing import Any

from shared.errors import Conflict
from shared.postgres.connection import connected
from shared.postgres.owned import KEPT, about, own, references, tables_of_customers, tables_with
from shared.postgres.queries import changed_rows

_OF_JOB = ["workflow_uuid"]


async def erase_rows(superuser_url: str, database: str, customer_id: str) -> int:
    """Delete the customer's rows and every row that refers to one of them, all or none; how many there were.

    Raises:
        Conflict: a job of the customer is open.
        Unavailable: the server does not answer, or the address is no superuser's.
    """
    async with connected(superuser_url, database) as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        return await _erase(connection, customer_id)


async def names_customer(superuser_url: str, database: str, customer_id: str, *, audited: bool = True) -> bool:
    """Whether any row names the customer, entries of the audit log included: they stay after an erasure.

    An entry of a tool's call (`….called`) is no sign: it is written before it is known whether there is the customer.

    Args:
        audited: take the audit log into account.

    Raises:
        Unavailable: the server does not answer.
    """
    async with connected(superuser_url, database) as connection:
        tables = await tables_of_customers(connection, besides="" if audited else KEPT)
        for place, names in tables.items():
            where = own("t", names)
            if place == f"public.{KEPT}":
                where = f"({where}) AND verb NOT LIKE '%.called'"
            if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {place} t WHERE {where})", customer_id):  # noqa: S608
                return True
    return False


async def _erase(connection: Any, customer_id: str) -> int:
    tables = await tables_of_customers(connection, besides=KEPT)
    removed = 0
    if "public.jobs" in tables:
        jobs = await connection.fetch("SELECT job_id, state FROM jobs WHERE customer_id = $1 FOR UPDATE", customer_id)
        if any(job["state"] in {"queued", "running", "waiting"} for job in jobs):
            raise Conflict("A job of this customer has not ended. Cancel it with cancel_job, and call again.")
        ids = [job["job_id"] for job in jobs]
        for place in await tables_with(connection, _OF_JOB):
            removed += await _delete(connection, place, "split_part(workflow_uuid, '.', 1) = ANY($1)", ids)
    for row in await references(connection, tables):  # nobody's rows about the customer's: no trigger is on
        removed += await _delete(connection, row["place"], about(row, tables), customer_id)
    for place, columns in tables.items():
        removed += await _delete(connection, place, own("t", columns), customer_id)
    await connection.execute("SELECT pg_notify('registry', '')")  # triggers, which tell of changes, are off
    return removed


async def _delete(connection: Any, place: str, where: str, value: object) -> int:
    """Delete the rows `t` of a table, whose name the database has quoted itself; how many there were."""
    return changed_rows(await connection.execute(f"DELETE FROM {place} t WHERE {where}", value))  # noqa: S608
