"""From a verified dataset to what the customer receives: image, archive, package, and proof that it runs."""

from __future__ import annotations

from pathlib import Path

from servers.cradle.images.archive import archive_image
from servers.cradle.images.build import Sources, build_image, built_image
from servers.cradle.images.package import package_delivery
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.verify import verify_image
from servers.cradle.services import Services
from shared.contracts.image import DeliveryPackage, ImageArchived, ImageBuilt
from shared.contracts.instance import InstanceConfig
from shared.contracts.processing import VerificationReport
from shared.dataset.freeze import frozen_files
from shared.dataset.reader import DatasetReader
from shared.errors import Conflict, NotFound, Unavailable
from shared.ids import canonical_json
from shared.objects import CustomerStore


async def build(
    held: Services, customer: str, tag: str, parameter_version: int, dataset_digest: str, company_name: str
) -> ImageBuilt:
    """The image of the customer's dataset.

    Raises:
        Conflict: the dataset is not the one that was asked for; it was processed again meanwhile.
    """
    version = await held.installations.get(customer, parameter_version)
    store = await CustomerStore.open(held.settings, customer)
    async with DatasetReader(store.path("dataset"), storage_options=store.storage_options) as reader:
        manifest = reader.manifest
    if manifest.dataset_digest != dataset_digest:
        raise Conflict(
            "The dataset changed since it was verified. Call verify_customer, then build_image again.",
            field="dataset_digest",
        )
    config = InstanceConfig(
        customer_id=customer,
        company_name=company_name,
        tag=tag,
        fingerprint=version.fingerprint,
        dataset_digest=dataset_digest,
        parameter_version=parameter_version,
    )
    sources = Sources(
        model=await held.embedding.exported_model(),
        dataset=frozen_files(store.path("dataset"), store.storage_options),
        config=canonical_json(config.model_dump(mode="json")),
    )
    return await build_image(
        _spec(customer, tag, version.fingerprint, dataset_digest, parameter_version),
        sources,
        bucket=_folder(store),
        cache=held.settings.home / "cache" / "layers",
        base_image=held.settings.base_image,
        docker_host=held.settings.docker_host,
    )


async def archive(held: Services, customer: str, tag: str) -> ImageArchived:
    """The built image in the archive."""
    store = await CustomerStore.open(held.settings, customer)
    return await archive_image(_folder(store), tag, held.settings.home / "archive")


async def package(held: Services, customer: str, tag: str) -> DeliveryPackage:
    """The folder that the customer receives."""
    store = await CustomerStore.open(held.settings, customer)
    built, _ = built_image(_folder(store), tag)
    versions = {each.fingerprint: each.version for each in await held.installations.history(customer)}
    if built.fingerprint not in versions:
        raise NotFound("The image was built with parameters that this customer does not have. Build it again.")
    spec = _spec(customer, tag, built.fingerprint, built.dataset_digest, versions[built.fingerprint])
    return await package_delivery(_folder(store), tag, spec)


async def verify(held: Services, customer: str, tag: str) -> VerificationReport:
    """Starts the image and asks it; content stays in the customer's folder."""
    store = await CustomerStore.open(held.settings, customer)
    built, image = built_image(_folder(store), tag)
    scratch = _folder(store) / "scratch"
    scratch.mkdir(exist_ok=True)
    return await verify_image(image, built, scratch, docker_host=held.settings.docker_host)


async def clean_up(held: Services, customer: str) -> int:
    """Empties the customer's scratch prefix; returns how many objects were removed."""
    store = await CustomerStore.open(held.settings, customer)
    return await store.delete_all("scratch")


def _spec(customer: str, tag: str, fingerprint: str, dataset_digest: str, parameter_version: int) -> ImageSpec:
    chosen = {
        "customer_id": customer,
        "tag": tag,
        "fingerprint": fingerprint,
        "dataset_digest": dataset_digest,
        "parameter_version": parameter_version,
    }
    return ImageSpec.model_validate(chosen)


def _folder(store: CustomerStore) -> Path:
    folder = store.local()
    if folder is None:
        raise Unavailable("Images are built where the customer's bucket is a folder; building from S3 comes later.")
    return folder
