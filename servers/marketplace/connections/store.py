"""Connections as rows. A credential is sealed by a key of the home folder, bound to its customer, its server and the
address where it was tested, and opened only to be sent there. One of no customer is the operator's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.marketplace.gateway.sessions import SessionSeal
from shared.audit import AuditLog
from shared.contracts.catalogue import Direction
from shared.errors import Conflict, NotFound
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "connections.sql")

KEPT_S = 100 * 365 * 24 * 3600
MOST = 500
PURPOSE = "connection"
Header = tuple[str, str]
"""Name and value of the one header that carries a credential."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as listed: without its credential."""

    server_name: str
    direction: Direction
    header: str
    tested_at: datetime


class ConnectionStore:
    """Saves, removes and opens. Each change is in the audit log, in the same transaction."""

    def __init__(self, database: Database, seal: SessionSeal) -> None:
        self._database = database
        self._seal = seal
        self._audit = AuditLog(database)

    async def save(
        self, customer: str | None, server_name: str, url: str, direction: Direction, header: Header, saved_by: str
    ) -> None:
        """Save a connection that was tested at this address; it replaces the one before."""
        sealed = self._seal.seal(header[1], PURPOSE, customer, server_name, url, header[0], lifetime_s=KEPT_S)
        async with self._database.of(customer) as connection:
            await queries.put_connection(
                connection, customer_id=customer, server_name=server_name, direction=direction, header=header[0],
                sealed=sealed, saved_by=saved_by,
            )  # fmt: skip
            await self._audit.append_in(
                connection, saved_by, "connection.saved", server_name, customer, {"direction": direction}
            )

    async def remove(self, customer: str | None, server_name: str, removed_by: str) -> bool:
        """Forget a connection. False where there was none."""
        async with self._database.of(customer) as connection:
            removed = await queries.remove_connection(connection, customer_id=customer, server_name=server_name)
            if removed is not None:
                await self._audit.append_in(connection, removed_by, "connection.removed", server_name, customer)
        return removed is not None

    async def listed(self, customer: str | None) -> list[Connection]:
        """A customer's connections, `MOST` at most."""
        async with self._database.of(customer) as connection:
            rows = queries.connections_of(connection, customer_id=customer, limit=MOST)
            return [Connection(**dict(row)) async for row in rows]

    async def direction(self, customer: str | None, server_name: str) -> Direction | None:
        """Which way data goes by a customer's connection; None: it has none."""
        async with self._database.of(customer) as connection:
            return await queries.direction_of(connection, customer_id=customer, server_name=server_name)

    async def header(self, customer: str | None, server_name: str, url: str) -> Header | None:
        """The header that carries a customer's credential to this address; None: it has no connection.

        Raises:
            Conflict: it was given for another address, or the key is another.
        """
        async with self._database.of(customer) as connection:
            row = await queries.credential_of(connection, customer_id=customer, server_name=server_name)
        if row is None:
            return None
        try:
            return row["header"], self._seal.open(row["sealed"], PURPOSE, customer, server_name, url, row["header"])
        except NotFound:
            raise connect_again() from None


def connect_again() -> Conflict:
    """The answer where a credential was not given for the server as it is now."""
    return Conflict(
        "The server's address has changed since it was connected: connect_mcp connects it again.", field="server_name"
    )
