"""Connections as rows. A credential is sealed by a key of the home folder, bound to its customer and its server, and
opened only to be sent to that server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.marketplace.gateway.sessions import SessionSeal
from shared.audit import AuditLog
from shared.contracts.catalogue import Direction
from shared.errors import NotFound, Unavailable
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

    async def save(self, customer: str, server_name: str, direction: Direction, header: Header, saved_by: str) -> None:
        """Save a connection that was tested; it replaces the one before."""
        sealed = self._seal.seal(header[1], PURPOSE, customer, server_name, header[0], lifetime_s=KEPT_S)
        async with self._database.session(customer) as connection:
            await queries.put_connection(
                connection, customer_id=customer, server_name=server_name, direction=direction, header=header[0],
                sealed=sealed, saved_by=saved_by,
            )  # fmt: skip
            await self._audit.append_in(
                connection, saved_by, "connection.saved", server_name, customer, {"direction": direction}
            )

    async def remove(self, customer: str, server_name: str, removed_by: str) -> bool:
        """Forget a connection. False where there was none."""
        async with self._database.session(customer) as connection:
            removed = await queries.remove_connection(connection, server_name=server_name)
            if removed is not None:
                await self._audit.append_in(connection, removed_by, "connection.removed", server_name, customer)
        return removed is not None

    async def listed(self, customer: str) -> list[Connection]:
        """A customer's connections, `MOST` at most."""
        async with self._database.session(customer) as connection:
            return [Connection(**dict(row)) async for row in queries.connections_of(connection, limit=MOST)]

    async def header(self, customer: str | None, server_name: str) -> Header | None:
        """The header that carries a customer's credential; None: it has no connection.

        Args:
            customer: None: of any customer, for asking a server which tools it has.

        Raises:
            Unavailable: the credential cannot be opened: the key is another.
        """
        async with self._database.session(customer) as connection:
            if customer is None:
                await queries.enter_platform(connection)
            row = await queries.credential_of(connection, customer_id=customer, server_name=server_name)
        if row is None:
            return None
        try:
            return row["header"], self._seal.open(
                row["sealed"], PURPOSE, row["customer_id"], server_name, row["header"]
            )
        except NotFound:
            raise Unavailable("The connection's credential cannot be opened: connect the server again.") from None
