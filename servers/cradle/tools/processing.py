"""Processing and verifying a customer's dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.cradle import onboarding
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.processing import ProcessingReport, VerificationReport
from shared.serving import Server, report

Version = Annotated[int, Field(ge=1, description="The customer's parameter version.")]

Files = Annotated[
    Annotated[int, Field(ge=0)] | None,
    Field(description="How many process_documents found; leave out to count those that are there now."),
]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def process_documents(parameter_version: Version) -> ProcessingReport:
        """Turn the customer's files into the dataset, with exactly these parameters. Use it in a job: it reports
        progress and takes its time.

        What has not changed since the last run is taken over. Parameters that no longer match what this cradle would
        compute are refused by name. A file that cannot be read is an entry of the ledger, not an error.
        """
        return await onboarding.process(services(), require_customer(), parameter_version, report)

    async def verify_dataset(parameter_version: Version, files: Files = None) -> VerificationReport:
        """Check the dataset against the files and the ledger. Use it after processing, before an image is built."""
        return await onboarding.verify_dataset(services(), require_customer(), parameter_version, files)

    longest = server.settings.job_step_deadline_s
    server.tool(process_documents, scope="process", title="Process documents", idempotent=True, deadline_s=longest)
    server.tool(
        verify_dataset,
        scope="process",
        title="Verify the dataset",
        read_only=True,
        idempotent=True,
        deadline_s=longest,
    )
