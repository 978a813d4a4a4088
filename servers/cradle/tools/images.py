"""Customer images: build, archive, package, verify, and clean up after a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, StringConstraints

from servers.cradle import delivery
from servers.cradle.images.erasure import Certificate
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.deployment import VersionTag
from shared.contracts.image import Companion, DeliveryPackage, ImageArchived, ImageBuilt, UpdateMade
from shared.contracts.model import Contract
from shared.contracts.processing import CleanedUp, VerificationReport
from shared.errors import InvalidInput
from shared.ids import CustomerId, Digest
from shared.serving import Server

ArchiveName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,140}$")]


class RestoreDrill(Contract):
    """Each archived image, by the name of its folder: "restored", or the reason why not."""

    passed: bool
    images: dict[str, str]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def build_image(
        tag: VersionTag,
        parameter_version: Annotated[int, Field(ge=1)],
        dataset_digest: Digest,
        company_name: Annotated[str, Field(min_length=1, max_length=200)],
    ) -> ImageBuilt:
        """Build the customer's image of the dataset with this digest. Use it after verify_dataset.

        The same dataset and parameters give the same digests; nothing half built becomes visible.
        """
        customer = require_customer()
        return await delivery.build(services(), customer, tag, parameter_version, dataset_digest, company_name)

    async def archive_image(tag: VersionTag) -> ImageArchived:
        """Keep the built image in the archive, which refuses overwriting. Use it after build_image."""
        return await delivery.archive(services(), require_customer(), tag)

    async def package_delivery(
        tag: VersionTag,
        as_tar: Annotated[bool, Field(description="Also write the folder as one tar.")] = False,
        companions: Annotated[
            list[Companion], Field(max_length=1, description="Services beside the instance: a Neo4j for its graph.")
        ] = [],  # noqa: B006  read only
    ) -> DeliveryPackage:
        """Make the folder that the customer receives: image, compose file, Kubernetes manifest, README, checksums,
        signatures, bill of materials. Use it after archive_image.
        """
        return await delivery.package(services(), require_customer(), tag, as_tar, companions)

    async def verify_image(tag: VersionTag) -> VerificationReport:
        """Check the image's files and digests, start it, and ask it over MCP. Use it before a delivery."""
        return await delivery.verify(services(), require_customer(), tag)

    async def make_update(base_digest: Digest) -> UpdateMade:
        """Make a signed update of what changed since a delivered dataset, for instances that hold it.

        Use it after process_documents, instead of sending a whole image. `base_digest` is the dataset's
        digest of the earlier delivery.
        """
        return await delivery.make_update(services(), require_customer(), base_digest)

    async def restore_image(name: ArchiveName) -> ImageBuilt:
        """Decrypt an archived image into the customer's bucket, checked against its hashes and signature.

        Use it to get a delivered version back. `name` is the folder's name in the archive, or a tag.
        """
        return await delivery.restore(services(), require_customer(), name)

    async def drill_restore() -> RestoreDrill:
        """Restore every archived image of the customer and throw it away again. Use it to prove the archive."""
        found = await delivery.drill(services(), require_customer())
        return RestoreDrill(passed=bool(found) and set(found.values()) == {"restored"}, images=found)

    async def erase_customer(confirm: CustomerId) -> Certificate:
        """Erase the customer for ever: its instances, its bucket, its archive, and the key that this is encrypted with.

        Use it only when the customer demands erasure; nothing brings the data back. Its jobs have to have ended, since
        one that runs may write again: `0711 erase` makes sure of that, and removes its rows too. `confirm` repeats the
        id.
        """
        customer = require_customer()
        if confirm != customer:
            raise InvalidInput("confirm is not this customer's id. Repeat the id to erase it.", field="confirm")
        return await delivery.erase_customer(services(), customer)

    async def clean_up() -> CleanedUp:
        """Remove what the customer's jobs left in scratch folders. Use it at the end of a job."""
        return CleanedUp(removed=await delivery.clean_up(services(), require_customer()))

    longest = server.settings.job_step_deadline_s
    server.tool(erase_customer, scope="customers:erase", title="Erase a customer", destructive=True, deadline_s=longest)
    titles = {
        build_image: "Build an image",
        archive_image: "Archive an image",
        package_delivery: "Package a delivery",
        make_update: "Make an update",
        restore_image: "Restore an image",
        drill_restore: "Prove the archive",
        clean_up: "Clean up",
    }
    for tool, title in titles.items():
        server.tool(tool, scope="images:write", title=title, idempotent=True, deadline_s=longest)
    server.tool(
        verify_image, scope="images:read", title="Verify an image", read_only=True, idempotent=True, deadline_s=longest
    )
