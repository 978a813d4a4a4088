"""Customer images: build, archive, package, verify, and clean up after a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, StringConstraints

from servers.cradle import delivery
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.image import DeliveryPackage, ImageArchived, ImageBuilt
from shared.contracts.model import Contract
from shared.contracts.processing import VerificationReport
from shared.ids import Digest
from shared.serving import Server

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class CleanedUp(Contract):
    """What a job left in the scratch folder is gone."""

    removed: int


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def build_image(
        tag: Tag,
        parameter_version: Annotated[int, Field(ge=1)],
        dataset_digest: Digest,
        company_name: Annotated[str, Field(min_length=1, max_length=200)],
    ) -> ImageBuilt:
        """Build the customer's image of the dataset with this digest. Use it after verify_dataset.

        The same dataset and parameters give the same digests; nothing half built becomes visible.
        """
        customer = require_customer()
        return await delivery.build(services(), customer, tag, parameter_version, dataset_digest, company_name)

    async def archive_image(tag: Tag) -> ImageArchived:
        """Keep the built image in the archive, which refuses overwriting. Use it after build_image."""
        return await delivery.archive(services(), require_customer(), tag)

    async def package_delivery(tag: Tag) -> DeliveryPackage:
        """Make the folder that the customer receives: image, compose file, README, checksums. Use it after
        archive_image.
        """
        return await delivery.package(services(), require_customer(), tag)

    async def verify_image(tag: Tag) -> VerificationReport:
        """Check the image's files and digests, start it, and ask it over MCP. Use it before a delivery."""
        return await delivery.verify(services(), require_customer(), tag)

    async def clean_up() -> CleanedUp:
        """Remove what the customer's jobs left in scratch folders. Use it at the end of a job."""
        return CleanedUp(removed=await delivery.clean_up(services(), require_customer()))

    longest = server.settings.job_step_deadline_s
    titles = {
        build_image: "Build an image",
        archive_image: "Archive an image",
        package_delivery: "Package a delivery",
        clean_up: "Clean up",
    }
    for tool, title in titles.items():
        server.tool(tool, scope="images:write", title=title, idempotent=True, deadline_s=longest)
    server.tool(
        verify_image, scope="images:read", title="Verify an image", read_only=True, idempotent=True, deadline_s=longest
    )
