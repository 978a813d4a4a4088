"""Processing and verifying a customer's dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from servers.cradle.onboarding import process, verify_dataset
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.processing import ProcessingReport, VerificationReport
from shared.serving import report

Version = Annotated[int, Field(ge=1, description="The customer's parameter version.")]


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""
    deadline_s = services_deadline(services)

    async def process_documents(parameter_version: Version) -> ProcessingReport:
        """Turn the customer's files into the dataset, with exactly these parameters. Reports progress.

        What has not changed since the last run is taken over. Parameters that no longer match what this cradle would
        compute are refused by name. A file that cannot be read is an entry of the ledger, not an error.
        """
        return await process(services(), require_customer(), parameter_version, report)

    async def verify_dataset_(parameter_version: Version) -> VerificationReport:
        """Check the dataset against the files and the ledger: counts, digests, parameters."""
        return await verify_dataset(services(), require_customer(), parameter_version)

    verify_dataset_.__name__ = "verify_dataset"
    server.tool(
        process_documents,
        scope="process", title="Process documents", read_only=False, idempotent=True, open_world=False, deadline_s=deadline_s,
    )  # fmt: skip
    server.tool(
        verify_dataset_,
        scope="process", title="Verify the dataset", read_only=True, idempotent=True, open_world=False, deadline_s=deadline_s,
    )  # fmt: skip
