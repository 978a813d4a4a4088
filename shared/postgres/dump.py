"""Whole databases to files and back, by Postgres' own programs from the wheel, and what two are compared by."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.errors import Conflict, StorageFull, Unavailable
from shared.postgres.account import Account, binaries
from shared.postgres.connection import connected
from shared.room import says_full

DEADLINE_S = 6 * 3600.0

# Order does not matter and nothing is held in memory: the sum of a 64-bit hash of every row.
_ROWS = "SELECT count(*) AS n, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS sum FROM {} t"
_TABLES = """
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
_WRITTEN = {"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "bytea_output": "hex"}
"""How values become text, whatever the server's own settings are: two servers write equal rows alike."""


def dump(superuser_url: str, database: str, target: Path) -> None:
    """Write a database to a file in Postgres' custom format; blocking.

    Raises:
        Conflict: the server is newer than the wheel's programs, or the address asks for TLS, which they do not have.
        Unavailable: the server does not answer.
        StorageFull: no room.
    """
    _run(superuser_url, database, "pg_dump", "--format=custom", f"--file={target}")


def restore(superuser_url: str, database: str, source: Path) -> None:
    """Put a file of `dump` into a database that `provision` made, all of it or nothing; blocking.

    Raises:
        Unavailable: as `dump`, or the file is damaged.
    """
    options = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
    _run(superuser_url, database, "pg_restore", *options, str(source))


async def fingerprints(superuser_url: str, database: str) -> dict[str, str]:
    """Every table → its number of rows and a sum over them: equal for equal rows.

    Raises:
        Unavailable: the server does not answer.
    """
    async with connected(superuser_url, database, settings=_WRITTEN) as connection:
        names = [row["name"] for row in await connection.fetch(_TABLES)]
        rows = [await connection.fetchrow(_ROWS.format(name)) for name in names]
    return {name: f"{row['n']} {row['sum']}" for name, row in zip(names, rows, strict=True) if row is not None}


def _run(superuser_url: str, database: str, program: str, *arguments: str) -> None:
    """Run a program on a database, at the address with its options, such as `sslmode`, but without the password."""
    parts = urlsplit(superuser_url)
    place = parts.netloc.rpartition("@")[2]
    address = parts._replace(netloc=f"{parts.username or ''}@{place}", path=f"/{database}").geturl()
    environment = {"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": unquote(parts.password or "")}
    command = [str(binaries(Account.current()) / program), "--no-password", f"--dbname={address}", *arguments]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False
    )
    if done.returncode:
        raise _failure(program, done.stderr.decode(errors="replace"))


def _failure(program: str, said: str) -> Unavailable | StorageFull | Conflict:
    """The reason without the program's words, which can hold values of rows."""
    if says_full(said):
        return StorageFull("No room for the backup. Free some space and call again.")
    if "SSL support is not compiled in" in said:
        return Conflict(
            "P0711_POSTGRES_URL asks for an encrypted connection, which this platform's programs cannot make. "
            "Use the server's own pg_dump."
        )
    if "server version mismatch" in said:
        return Conflict("The Postgres server is newer than this platform's programs. Use its own pg_dump.")
    return Unavailable(f"Postgres' {program} did not finish: the server does not answer, or the file is damaged.")
