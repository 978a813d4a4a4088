"""Licences as rows. Each change is in the audit log, in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.marketplace.catalogue.store import View, seen_by
from servers.marketplace.cursors import unknown_cursor
from servers.marketplace.licences.signing import LicenceKeys
from shared.audit import AuditLog
from shared.errors import NotFound
from shared.ids import new_handle
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "licences.sql")


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as listed."""

    licence_id: str
    customer: str
    server_name: str
    expires_at: datetime
    revoked: bool


class LicenceStore:
    """Issues, revokes and lists."""

    def __init__(self, database: Database, keys: LicenceKeys) -> None:
        self._database = database
        self._keys = keys
        self._audit = AuditLog(database)

    async def issue(self, customer: str, server_name: str, expires_at: datetime, issued_by: str) -> Licence:
        """A new licence; earlier ones stay as they are."""
        licence_id = new_handle("lic")
        document, key_id, signature = self._keys.signed(licence_id, customer, server_name, expires_at)
        async with self._database.session(customer, platform=True) as connection:
            await queries.add_licence(
                connection, licence_id=licence_id, customer_id=customer, server_name=server_name, document=document,
                key_id=key_id, signature=signature, issued_by=issued_by, expires_at=expires_at,
            )  # fmt: skip
            await self._audit.append_in(
                connection, issued_by, "licence.issued", licence_id, customer, {"server": server_name}
            )
        return Licence(licence_id, customer, server_name, expires_at, revoked=False)

    async def revoke(self, licence_id: str, customer: str | None, revoked_by: str) -> None:
        """End a licence for good.

        Args:
            customer: whose it must be; None: anyone's.

        Raises:
            NotFound: there is none that could be ended.
        """
        async with self._database.session(platform=True) as connection:
            row = await queries.revoke_licence(connection, licence_id=licence_id, customer=customer)
            if row is None:
                raise NotFound(
                    "There is no such licence, or it is revoked: list_licences shows them.", field="licence_id"
                )
            await self._audit.append_in(
                connection,
                revoked_by,
                "licence.revoked",
                licence_id,
                row["customer_id"],
                {"server": row["server_name"]},
            )

    async def page(self, view: View, after: str, limit: int) -> list[Licence]:
        """Licences in the order of their ids, after the id `after`.

        Raises:
            InvalidInput: `after` is none of these licences.
        """
        async with seen_by(self._database, view) as connection:
            if after and await queries.licence_of(connection, licence_id=after) is None:
                raise unknown_cursor()
            rows = queries.licences_of(connection, after=after, limit=limit)
            return [
                Licence(row["licence_id"], row["customer_id"], row["server_name"], row["expires_at"], row["revoked"])
                async for row in rows
            ]
