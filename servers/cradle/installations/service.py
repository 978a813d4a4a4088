"""Saving, reading and comparing installation parameters, and the refusal of drift."""

from __future__ import annotations

from servers.cradle.installations import probes as probing
from servers.cradle.installations.fingerprint import canonical, fingerprint
from servers.cradle.installations.parameters import differences, require_equal, validate
from servers.cradle.installations.probes import ProbeEmbedder, Probes
from servers.cradle.installations.store import InstallationStore, NewVersion
from shared.contracts.installation import InstallationParameters, InstallationVersion, ParameterChange, ParameterHistory
from shared.errors import Conflict, NotFound
from shared.postgres.database import Database


class InstallationService:
    """A customer's versions. Every method sees that customer's rows only.

    Args:
        database: `installation_configs`, opened by the caller.
    """

    def __init__(self, database: Database) -> None:
        self._store = InstallationStore(database)

    async def save(
        self, customer: str, parameters: InstallationParameters, embedding: ProbeEmbedder
    ) -> InstallationVersion:
        """Makes these parameters the customer's current ones.

        Parameters that the customer has had before get their old version again, so saving twice is saving once.

        Raises:
            InvalidInput: the parameters contradict themselves.
            Unavailable: the embedding model or the database does not answer.
        """
        validate(parameters)
        mark = fingerprint(parameters)
        known = await self._store.select(customer, mark)
        if known is not None:
            return known
        vectors = await probing.embed(embedding)
        return await self._store.add(
            customer,
            NewVersion(
                fingerprint=mark,
                parameters=canonical(parameters),
                probes_digest=probing.probes_digest(),
                probe_vectors=probing.pack(vectors),
                dimension=int(vectors.shape[1]),
            ),
        )

    async def get(self, customer: str, version: int | None = None) -> InstallationVersion:
        """A version, or the current one: the one that was saved last.

        Raises:
            NotFound: no such version of this customer.
        """
        found = await self._store.version(customer, version)
        if found is None:
            raise NotFound(
                "This customer has no saved parameters. Save some with save_installation_params."
                if version is None
                else f"This customer has no parameter version {version}: list_installation_params has them.",
                field="version",
            )
        return found

    async def history(self, customer: str) -> list[InstallationVersion]:
        """Every version of a customer, oldest first."""
        return await self._store.history(customer)

    async def changes(self, customer: str, start: int | None, limit: int) -> ParameterHistory:
        """Up to `limit` versions from `start` back, from the newest where it is None, each with what it changed.

        Raises:
            NotFound: the customer has no version.
        """
        current = (await self.get(customer)).version
        stored = [each for each in await self.history(customer) if start is None or each.version <= start]
        before = [None, *(each.parameters for each in stored)]
        changes = [
            ParameterChange(
                version=each.version,
                fingerprint=each.fingerprint,
                created_at=each.created_at,
                current=each.version == current,
                differences=differences(old, each.parameters) if old else [],
            )
            for old, each in zip(before, stored, strict=False)
        ][::-1]
        left = changes[limit:]
        return ParameterHistory(versions=changes[:limit], next_start=left[0].version if left else None)

    async def probes(self, customer: str, version: int) -> Probes:
        """The probe texts and the vectors that were stored with a version.

        Raises:
            NotFound: no such version of this customer.
            Conflict: the stored vectors are of other texts than this program's.
        """
        held = await self.get(customer, version)
        if held.probes_digest != probing.probes_digest():
            raise Conflict(
                f"Version {version} has other probe texts. Call save_installation_params with another chunk_tokens, "
                "then process_new_documents with parameter_version='newest'."
            )
        data, dimension = await self._store.probe_vectors(customer, version)
        return Probes(probing.PROBES, probing.unpack(data, dimension))

    async def check_drift(
        self, customer: str, version: int, current: InstallationParameters, embedding: ProbeEmbedder
    ) -> None:
        """Refuses to go on when what would be computed now differs from the installation. Call it before an update.

        Args:
            current: what the models and extractors of this process give, with the customer's choice
                (`parameters.choice_of`).
            embedding: the service that embeds the probes again.

        Raises:
            ParameterDrift: names each field that drifted; or the weights, when the probes' vectors moved.
        """
        require_equal((await self.get(customer, version)).parameters, current)
        stored = await self.probes(customer, version)
        probing.require_same(stored.vectors, await probing.embed(embedding))
