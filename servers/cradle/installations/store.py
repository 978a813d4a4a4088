"""The rows of installation parameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from shared.contracts.installation import InstallationParameters, InstallationVersion
from shared.errors import NotFound
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.cradle.installations", "installations.sql")


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be stored. `parameters`: canonical JSON; `probe_vectors`: little-endian float32, row after row."""

    fingerprint: str
    parameters: str
    probes_digest: str
    probe_vectors: bytes
    dimension: int


class InstallationStore:
    """Reads and appends versions. What is stored is never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def select(self, customer: str, fingerprint: str) -> InstallationVersion | None:
        """The version with this fingerprint, made the current one; None where there is none."""
        async with self._database.session(customer) as connection:
            await queries.lock_customer(connection, customer_id=customer)
            return await self._select(connection, customer, fingerprint)

    async def add(self, customer: str, new: NewVersion) -> InstallationVersion:
        """Stores the next version and makes it the current one; of two at the same time, both get the first's."""
        async with self._database.session(customer) as connection:
            await queries.lock_customer(connection, customer_id=customer)
            found = await self._select(connection, customer, new.fingerprint)
            if found is not None:
                return found
            row = await queries.add_version(connection, customer_id=customer, **asdict(new))
            await queries.select_version(connection, customer_id=customer, version=row["version"])
            return _version(row)

    async def version(self, customer: str, version: int | None) -> InstallationVersion | None:
        """A version, or the current one for None."""
        async with self._database.session(customer) as connection:
            if version is None:
                row = await queries.current_version(connection, customer_id=customer)
            else:
                row = await queries.version(connection, customer_id=customer, version=version)
            return _version(row) if row is not None else None

    async def history(self, customer: str) -> list[InstallationVersion]:
        """Every version, oldest first."""
        async with self._database.session(customer) as connection:
            return [_version(row) async for row in queries.versions(connection, customer_id=customer)]

    async def probe_vectors(self, customer: str, version: int) -> tuple[bytes, int]:
        """The packed vectors and their dimension."""
        async with self._database.session(customer) as connection:
            row = await queries.probe_vectors(connection, customer_id=customer, version=version)
        if row is None:
            raise NotFound(
                f"This customer has no parameter version {version}: list_installation_params has them.",
                field="version",
            )
        return bytes(row["probe_vectors"]), row["dimension"]

    async def _select(self, connection: Any, customer: str, fingerprint: str) -> InstallationVersion | None:
        row = await queries.version_by_fingerprint(connection, customer_id=customer, fingerprint=fingerprint)
        if row is None:
            return None
        await queries.select_version(connection, customer_id=customer, version=row["version"])
        return _version(row)


def _version(row: Any) -> InstallationVersion:
    return InstallationVersion(
        customer_id=row["customer_id"],
        version=row["version"],
        fingerprint=row["fingerprint"],
        parameters=InstallationParameters.model_validate(orjson.loads(row["parameters"])),
        probes_digest=row["probes_digest"],
        created_at=row["created_at"],
    )
