"""Migration of a legacy deployment: note where it is, copy it, compare the new image with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.cradle import migration
from servers.cradle.onboarding import check_choice, require_platform
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.deployment import LegacyBackup, LegacyPrepared, VersionTag
from shared.contracts.installation import ParameterChoice
from shared.contracts.processing import VerificationReport
from shared.ids import CustomerId, canonical_digest
from shared.serving import Server

LegacyArgument = Annotated[str, Field(min_length=1, max_length=2000)]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def check_migration(
        customer_id: CustomerId, legacy: LegacyArgument, choice: ParameterChoice
    ) -> LegacyPrepared:
        """Check that a customer's legacy deployment can be read, and that the choice can be met; change nothing.

        Use it before a customer is registered, with a token for no customer; prepare_migration checks again.
        """
        require_platform()
        await check_choice(services(), choice)
        uri = await migration.checked_legacy(services(), customer_id, legacy)
        return LegacyPrepared(sources_digest=canonical_digest(uri))

    async def prepare_migration(legacy: LegacyArgument) -> LegacyPrepared:
        """Note where a customer's legacy deployment lies, and check it. Use it before back_up_legacy."""
        return LegacyPrepared(sources_digest=await migration.prepare(services(), require_customer(), legacy))

    async def back_up_legacy() -> LegacyBackup:
        """Copy the legacy deployment into the customer's bucket, checked file by file. Use it before processing.

        Once the new copy is whole, what an earlier one brought and the legacy deployment has no more is removed.
        """
        return await migration.copy_legacy(services(), require_customer())

    async def reconcile_legacy(tag: VersionTag) -> VerificationReport:
        """Compare the new image with the legacy deployment: counts, names, answers. Use it before a cut-over."""
        return await migration.reconcile(services(), require_customer(), tag)

    longest = server.settings.job_step_deadline_s
    server.tool(check_migration, scope="process", title="Check a migration", read_only=True, idempotent=True)
    server.tool(prepare_migration, scope="process", title="Prepare a migration", idempotent=True)
    server.tool(
        back_up_legacy, scope="process", title="Back up a legacy deployment", destructive=True, idempotent=True,
        deadline_s=longest,
    )  # fmt: skip
    server.tool(
        reconcile_legacy, scope="images:read", title="Reconcile with a legacy deployment", read_only=True,
        idempotent=True, deadline_s=longest,
    )  # fmt: skip
