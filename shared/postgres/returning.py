"""One customer's rows out of a saved database into the one that runs. A row that is here stays as it is."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.errors import Conflict
from shared.postgres.connection import connected
from shared.postgres.dump import fingerprints, restore
from shared.postgres.migrations import migrate
from shared.postgres.owned import KEPT, about, own, references, tables_of_customers
from shared.postgres.provision import DATABASES, drop_databases
from shared.postgres.queries import changed_rows

_COLUMNS = """
SELECT quote_ident(attname) AS name, attidentity <> '' AS counted,
       EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisprimary AND attnum = ANY(indkey)) AS key
FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""


@dataclass(slots=True)
class Returned:
    """Numbers of a customer's rows in a backup: those that were added, those that are here anyway, and by table those
    that cannot come back, because what they need is gone or what has to be unique is another's now."""

    added: int = 0
    here: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def beside(database: str) -> str:
    """The name of the saved database beside the one that runs."""
    return f"restoring_{database}"


async def saved_database(
    superuser_url: str, owner_url: str, source: Path, packages: Sequence[str], expected: Mapping[str, str]
) -> None:
    """Put a file of `dump` beside the database of the owner's address, brought up to this version's schema. It stays
    until `drop_saved`.

    Args:
        expected: what `fingerprints` gave when it was saved.

    Raises:
        Conflict: its rows are not those that were saved, or a newer version saved it.
        Unavailable: the server does not answer, or the file is damaged.
    """
    database = urlsplit(owner_url).path.removeprefix("/")
    async with connected(superuser_url) as admin:
        await admin.execute(f'CREATE DATABASE "{beside(database)}" TEMPLATE template0 OWNER "{database}_owner"')
        await admin.execute(f'REVOKE ALL ON DATABASE "{beside(database)}" FROM PUBLIC')
    await asyncio.to_thread(restore, superuser_url, beside(database), source)
    if await fingerprints(superuser_url, beside(database)) != expected:
        raise Conflict(f"The saved database {database} is not equal to what was saved. Use another backup.")
    for package in packages:
        await migrate(urlsplit(owner_url)._replace(path=f"/{beside(database)}").geturl(), package)


async def drop_saved(superuser_url: str) -> None:
    """Remove what `saved_database` made, or a process left that was killed meanwhile.

    Raises:
        Unavailable: the server does not answer.
    """
    await drop_databases(superuser_url, [beside(name) for name in DATABASES])


@asynccontextmanager
async def returned(
    superuser_url: str, database: str, customer_id: str, changes: Mapping[str, str]
) -> AsyncIterator[Returned]:
    """Add the customer's rows that are in the saved database and not here, in a transaction that ends with the block.

    Args:
        changes: table → a statement that alters its rows, in a table `back`, before they are added.

    Raises:
        Conflict: a job of the customer is open here, or what was the customer's is another customer's now.
        Unavailable: the server does not answer.
    """
    async with (
        connected(superuser_url, beside(database)) as saved,
        connected(superuser_url, database) as target,
        target.transaction(),
    ):
        names = await tables_of_customers(target, besides=KEPT)
        if "public.jobs" in names:
            await _require_idle(target, customer_id)
        links = await references(target, names)
        done, wanted = Returned(), {place: f"({own('t', columns)})" for place, columns in names.items()}
        for link in links:
            if link["place"] in names:  # nobody's rows about the customer's, such as the operator's connection
                nobodys = " AND ".join(f"t.{name} IS NULL" for name in names[link["place"]])
                wanted[link["place"]] += f" OR ({about(link, names)} AND {nobodys})"
        order = TopologicalSorter({place: [] for place in names})
        for link in links:
            if link["place"] != link["known"]:
                order.add(link["place"], link["known"])
        for place in order.static_order():
            await target.execute(f"CREATE TEMP TABLE back ON COMMIT DROP AS TABLE {place} WITH NO DATA")
            await _copy(saved, target, place, wanted[place], customer_id)
            if place in changes:
                await target.execute(changes[place])
            needed = [f"({each['none']} OR EXISTS (SELECT FROM {each['known']} k WHERE {each['same']}))"
                      for each in links if each["place"] == place]  # fmt: skip
            await _add(target, place, names[place], " AND ".join(needed) or "true", customer_id, done)
            await target.execute("DROP TABLE back")
        yield done


async def _require_idle(target: Any, customer_id: str) -> None:
    """No job is open, and until the transaction ends none is ordered: the lock is the orchestrator's own."""
    await target.execute("SET LOCAL lock_timeout = '30s'")
    await target.execute("SELECT pg_advisory_xact_lock(hashtextextended('orchestrator:' || $1, 0))", customer_id)
    open_job = "SELECT FROM jobs WHERE customer_id = $1 AND state IN ('queued', 'running', 'waiting')"
    if await target.fetchval(f"SELECT EXISTS ({open_job})", customer_id):
        raise Conflict("A job of this customer has not ended. Cancel it with cancel_job, and call again.")


async def _copy(saved: Any, target: Any, place: str, wanted: str, customer_id: str) -> None:
    columns = ", ".join([row["name"] for row in await target.fetch(_COLUMNS, place)])
    rows = bytearray()

    async def take(piece: bytes) -> None:
        rows.extend(piece)

    query = f"SELECT {columns} FROM {place} t WHERE {wanted}"  # noqa: S608  its own names
    await saved.copy_from_query(query, customer_id, output=take, format="binary")
    await target.copy_to_table("back", source=io.BytesIO(rows), format="binary")


async def _add(target: Any, place: str, names: list[str], needed: str, customer_id: str, done: Returned) -> None:
    about_columns = await target.fetch(_COLUMNS, place)
    columns = [row["name"] for row in about_columns if not row["counted"]]
    counted = [row["name"] for row in about_columns if row["counted"]]
    total = await target.fetchval("SELECT count(*) FROM back")
    if counted:  # a history whose numbers the database gives: taken whole, in its order, or not at all
        there = f"SELECT EXISTS (SELECT FROM {place} t WHERE {own('t', names)})"  # noqa: S608
        here = total if await target.fetchval(there, customer_id) else 0
        needed += f" AND {str(not here).lower()}"
    else:
        here = await _here(target, place, names, [row["name"] for row in about_columns if row["key"]])
    listed, order = ", ".join(columns), f"ORDER BY {', '.join(counted)}" if counted else ""
    insert = f"INSERT INTO {place} ({listed}) SELECT {listed} FROM back t WHERE {needed} {order} ON CONFLICT DO NOTHING"  # noqa: S608
    added = changed_rows(await target.execute(insert))
    if here is None:  # a table without a key: what could be there and was not added is there
        here = await target.fetchval(f"SELECT count(*) FROM back t WHERE {needed}") - added  # noqa: S608
    done.added += added
    done.here += here
    if total > added + here:
        done.left_out[place.removeprefix("public.")] = total - added - here


async def _here(target: Any, place: str, names: list[str], key: list[str]) -> int | None:
    """How many of the rows are here already, by their key; None where the table has none."""
    if not key:
        return None
    same = " AND ".join(f"t.{name} = b.{name}" for name in key)
    others = " OR ".join(f"t.{name} IS DISTINCT FROM b.{name}" for name in names)
    counts = f"SELECT count(*) AS here, count(*) FILTER (WHERE {others}) AS others FROM back b JOIN {place} t ON {same}"  # noqa: S608
    found = await target.fetchrow(counts)
    if found["others"]:
        raise Conflict(
            f"A row of the customer's has become another's since (table {place.removeprefix('public.')}): nothing was"
            " restored."
        )
    return found["here"]
