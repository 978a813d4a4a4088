"""Databases and roles, on the embedded server or any other.

Each database has an owner role that migrates, and an application role that owns nothing, is no superuser and does not
bypass row-level security. `platform` also has a role that owns the schema `dbos`. Doing it again changes nothing but
the passwords' salts. Passwords travel as SCRAM verifiers, so that no server's log can hold one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from shared.errors import Conflict
from shared.postgres import urls as stored
from shared.postgres.connection import connected
from shared.postgres.urls import DatabaseUrls, password_of, with_role

DATABASES = ("platform", "installation_configs", "user_registry")
LOCK = 711_000_001
COMMAND_TIMEOUT_S = 60.0
SCRAM_ROUNDS = 4096
LEAVING_S = 3.0
"""For Postgres to end the sessions of a server that has just been stopped."""
_ANY_TABLE = """
SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))
"""
_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = ANY($1) AND usename IN (datname || '_app', datname || '_owner', datname || '_dbos')
"""


async def provision(superuser_url: str, home: Path) -> dict[str, DatabaseUrls]:
    """Makes what is missing of the three databases and their roles, and writes `home/databases.json`.

    Returns:
        The addresses by database.

    Raises:
        Unavailable: the server does not answer or refuses the credential.
    """
    known = stored.read(home)
    async with connected(superuser_url, command_timeout_s=COMMAND_TIMEOUT_S) as admin:
        await admin.execute("SELECT pg_advisory_lock($1)", LOCK)
        urls = {name: await _database(admin, superuser_url, name, known.get(name)) for name in DATABASES}
    stored.write(home, urls)
    return urls


async def require_unused(superuser_url: str) -> None:
    """Make sure that no platform uses this server: none of the three databases holds a table.

    Raises:
        Conflict: one does.
        Unavailable: the server does not answer or refuses the credential.
    """
    async with connected(superuser_url, command_timeout_s=COMMAND_TIMEOUT_S) as admin:
        known = await admin.fetch("SELECT datname FROM pg_database WHERE datname = ANY($1)", list(DATABASES))
    for row in known:
        async with connected(superuser_url, row["datname"], command_timeout_s=COMMAND_TIMEOUT_S) as admin:
            if await admin.fetchval(_ANY_TABLE):
                raise Conflict(
                    f"The Postgres server has a database {row['datname']} with tables. Restore onto another server, or"
                    " unset P0711_POSTGRES_URL for one in the home folder."
                )


async def require_nobody_connected(superuser_url: str) -> None:
    """Make sure that no server of a platform is connected to the three databases, or one that has ended only just now.

    Raises:
        Conflict: one is.
        Unavailable: the server does not answer or refuses the credential.
    """
    async with connected(superuser_url, command_timeout_s=COMMAND_TIMEOUT_S) as admin:
        until = time.monotonic() + LEAVING_S
        while (sessions := await admin.fetchval(_SESSIONS, list(DATABASES))) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    if sessions:
        raise Conflict("A server of the platform is connected to its databases. Stop every server, and call again.")


async def drop_databases(superuser_url: str, names: Sequence[str] = DATABASES) -> None:
    """Remove databases with all that is in them.

    Raises:
        Unavailable: the server does not answer or refuses the credential.
    """
    async with connected(superuser_url, command_timeout_s=COMMAND_TIMEOUT_S) as admin:
        for name in names:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _database(
    admin: asyncpg.Connection, superuser_url: str, name: str, known: DatabaseUrls | None
) -> DatabaseUrls:
    owner = await _make_role(admin, superuser_url, name, f"{name}_owner", known and known.owner)
    app = await _make_role(admin, superuser_url, name, f"{name}_app", known and known.app)
    dbos = None
    if name == "platform":
        dbos = await _make_role(admin, superuser_url, name, f"{name}_dbos", known and known.dbos)
    if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 OWNER "{name}_owner"')
    await _grant(superuser_url, name, f"{name}_owner", f"{name}_app", f"{name}_dbos" if dbos else None)
    return DatabaseUrls(app, owner, dbos)


async def _make_role(admin: asyncpg.Connection, superuser_url: str, database: str, role: str, known: str | None) -> str:
    password = (known and password_of(known)) or secrets.token_urlsafe(24)
    limits = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await admin.execute(f'CREATE ROLE "{role}"')
    await admin.execute(f"ALTER ROLE \"{role}\" {limits} PASSWORD '{_verifier(password)}'")
    return with_role(superuser_url, database, role, password)


async def _grant(superuser_url: str, database: str, owner: str, app: str, dbos: str | None = None) -> None:
    """Nobody but the three roles may connect; the application uses the tables that the owner makes."""
    statements = [
        f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC',
        f'GRANT CONNECT ON DATABASE "{database}" TO "{app}"',
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f'GRANT ALL ON SCHEMA public TO "{owner}"',
        f'GRANT USAGE ON SCHEMA public TO "{app}"',
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA public '
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{app}"',
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO "{app}"',
    ]
    if dbos is not None:
        statements += [
            f'GRANT CONNECT ON DATABASE "{database}" TO "{dbos}"',
            f'CREATE SCHEMA IF NOT EXISTS dbos AUTHORIZATION "{dbos}"',
        ]
    async with connected(superuser_url, database, command_timeout_s=COMMAND_TIMEOUT_S) as admin:
        for statement in statements:
            await admin.execute(statement)


def _verifier(password: str) -> str:
    """A SCRAM-SHA-256 verifier (RFC 5802, RFC 7677) in Postgres' form."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ROUNDS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(each).decode() for each in (salt, stored_key, server_key))
    encoded_salt, encoded_stored, encoded_server = parts
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{encoded_salt}${encoded_stored}:{encoded_server}"
