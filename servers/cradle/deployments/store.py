"""The rows of deployments, and with them the registry of ports: no two of a host are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.contracts.image import ImageBuilt
from shared.errors import Conflict
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

TAKEN = "Another deployment has this port. Choose another, or leave the port out."

queries: Any = load_queries("servers.cradle.deployments", "deployments.sql")


@dataclass(frozen=True, slots=True)
class Row:
    """A deployment as stored; what it runs is None until it has served once."""

    host: str
    port: int
    state: str
    tag: str | None
    image_digest: str | None
    dataset_digest: str | None
    fingerprint: str | None


class DeploymentStore:
    """Reads and writes deployments. Every method sees one customer's rows only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, customer: str) -> list[Row]:
        """The customer's deployments by host."""
        async with self._database.session(customer) as connection:
            return [Row(*row) async for row in queries.deployments(connection, customer_id=customer)]

    async def on(self, customer: str, host: str) -> Row | None:
        """The customer's deployment on a host."""
        return next((row for row in await self.all(customer) if row.host == host), None)

    async def reserve(self, customer: str, host: str, ports: Iterable[int]) -> Row:
        """The customer's deployment on a host; a new one gets the first of these ports that nobody has there.

        Raises:
            Conflict: other deployments have all of them.
        """
        for port in ports:
            async with self._database.session(customer) as connection:
                row = await queries.reserve_port(connection, customer_id=customer, host=host, port=port)
            if row is not None:
                return Row(*row)
            if (known := await self.on(customer, host)) is not None:
                return known
        raise Conflict(TAKEN, field="port")

    async def may_reserve(self, customer: str, host: str, port: int) -> bool:
        """Whether `reserve` would give a new deployment this port now. The rows of others are not seen; they refuse."""
        async with self._database.session(customer) as connection:
            trial = connection.transaction()
            await trial.start()
            row = await queries.reserve_port(connection, customer_id=customer, host=host, port=port)
            await trial.rollback()
        return row is not None

    async def serving(self, customer: str, host: str, built: ImageBuilt) -> None:
        """Note what serves now."""
        async with self._database.session(customer) as connection:
            await queries.note_serving(
                connection, customer_id=customer, host=host, tag=built.tag, image_digest=built.manifest_digest,
                dataset_digest=built.dataset_digest, fingerprint=built.fingerprint,
            )  # fmt: skip

    async def stopped(self, customer: str, host: str) -> None:
        """Note that nothing serves now; the port stays the customer's."""
        async with self._database.session(customer) as connection:
            await queries.note_stopped(connection, customer_id=customer, host=host)

    async def release(self, customer: str, host: str) -> None:
        """Give the port back."""
        async with self._database.session(customer) as connection:
            await queries.release_port(connection, customer_id=customer, host=host)
