"""Migration of a legacy deployment: note where it is, copy it, compare the new image with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.cradle import migration
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.deployment import LegacyBackup, LegacyPrepared, VersionTag
from shared.contracts.processing import VerificationReport
from shared.serving import Server


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def prepare_migration(legacy: Annotated[str, Field(min_length=1, max_length=2000)]) -> LegacyPrepared:
        """Note where a customer's legacy deployment lies, and check it. Use it before back_up_legacy."""
        return LegacyPrepared(sources_digest=await migration.prepare(services(), require_customer(), legacy))

    async def back_up_legacy() -> LegacyBackup:
        """Copy the legacy deployment into the customer's bucket, checked file by file. Use it before processing."""
        return await migration.copy_legacy(services(), require_customer())

    async def reconcile_legacy(tag: VersionTag) -> VerificationReport:
        """Compare the new image with the legacy deployment: counts, names, answers. Use it before a cut-over."""
        return await migration.reconcile(services(), require_customer(), tag)

    longest = server.settings.job_step_deadline_s
    server.tool(prepare_migration, scope="process", title="Prepare a migration", idempotent=True)
    server.tool(
        back_up_legacy, scope="process", title="Back up a legacy deployment", idempotent=True, deadline_s=longest
    )
    server.tool(
        reconcile_legacy, scope="images:read", title="Reconcile with a legacy deployment", read_only=True,
        idempotent=True, deadline_s=longest,
    )  # fmt: skip
