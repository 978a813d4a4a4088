"""Numbered migrations: `sql/NNNN_name.sql` of a package, each applied once, in order, in its own transaction.

The table `migration.applied` keeps each file's SHA-256. A file that was edited after it was applied is refused, so
every database has the schema that its files, from the first to the last, describe; no second
description can differ.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import asyncpg

from shared.errors import Conflict, Internal
from shared.ids import digest
from shared.postgres.connection import connected
from shared.postgres.failures import sqlstate

log = logging.getLogger(__name__)

NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
LOCK = 711_000_002
COMMAND_TIMEOUT_S = 300.0
SURROUNDINGS = frozenset({"08", "53", "57"})
"""Classes of SQLSTATE of which no migration is to blame: connection, room and memory, the server's end."""

TABLE = """
CREATE SCHEMA IF NOT EXISTS migration;
CREATE TABLE IF NOT EXISTS migration.applied (
    package text NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (package, number)
);
"""


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Digest of the file's text."""
        return digest(self.sql.encode())


def migrations_of(package: str) -> list[Migration]:
    """The migrations of a package in order; none where it has no `sql` folder.

    Raises:
        Conflict: the numbers are not 1, 2, 3, …
    """
    folder = resources.files(package) / "sql"
    if not folder.is_dir():
        return []
    files = sorted((each.name, each) for each in folder.iterdir() if NAME.fullmatch(each.name))
    found = [Migration(int(name[:4]), name, file.read_text(encoding="utf-8")) for name, file in files]
    for position, migration in enumerate(found, 1):
        if migration.number != position:
            raise Conflict(f"Migration {migration.name} of {package} should have the number {position:04d}.")
    return found


async def migrate(owner_url: str, package: str) -> int:
    """Applies the package's migrations that the database lacks. Callers at the same time wait for each other.

    Returns:
        How many were applied.

    Raises:
        Conflict: an applied migration was edited or is missing; the message names the file.
        Internal: a migration's SQL fails; the log names the file, and nothing of that file is applied.
        StorageFull: there is no room for it; nothing of that file is applied, and the next call goes on with it.
    """
    return await apply(owner_url, package, migrations_of(package))


async def apply(owner_url: str, package: str, migrations: list[Migration]) -> int:
    """As `migrate`, with the migrations given."""
    if not migrations:
        return 0
    async with connected(owner_url, command_timeout_s=COMMAND_TIMEOUT_S) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(TABLE)
        return await _apply_missing(connection, package, migrations)


async def _apply_missing(connection: Any, package: str, migrations: list[Migration]) -> int:
    rows = await connection.fetch(
        "SELECT number, name, checksum FROM migration.applied WHERE package = $1 ORDER BY number", package
    )
    by_number = {migration.number: migration for migration in migrations}
    for row in rows:
        known = by_number.pop(row["number"], None)
        if known is None:
            raise Conflict(
                f"The database has {row['name']} of {package}, which this version lacks. Use a newer version."
            )
        if known.checksum != row["checksum"] or known.name != row["name"]:
            raise Conflict(
                f"Migration {known.name} of {package} was changed after it was applied. Restore it, and put the change "
                "in a new file."
            )
    for migration in by_number.values():
        await _apply_one(connection, package, migration)
    return len(by_number)


async def _apply_one(connection: Any, package: str, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO migration.applied (package, number, name, checksum) VALUES ($1, $2, $3, $4)",
                package, migration.number, migration.name, migration.checksum,
            )  # fmt: skip
    except asyncpg.PostgresError as error:
        if sqlstate(error)[:2] in SURROUNDINGS:
            raise
        log.error("migration %s of %s failed with SQLSTATE %s", migration.name, package, sqlstate(error))
        raise Internal(f"Migration {migration.name} of {package} failed (SQLSTATE {sqlstate(error)}).") from error
