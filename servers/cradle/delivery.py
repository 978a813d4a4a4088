"""From a verified dataset to what the customer receives: image, archive, package, and proof that it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import orjson

from servers.cradle.images import updates
from servers.cradle.images.archive import Archive, archived_name, tag_of
from servers.cradle.images.archive_s3 import LockedBucket
from servers.cradle.images.base import architecture
from servers.cradle.images.build import RECORD, Means, Sources, Stored, build_image, built_image, publish
from servers.cradle.images.customer_keys import key_folder
from servers.cradle.images.erasure import Certificate, erase
from servers.cradle.images.files import work_name
from servers.cradle.images.package import SUMS_SIGNATURE, package_delivery
from servers.cradle.images.registry import chosen
from servers.cradle.images.report import JSON, write_report
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.updates import ledger_key
from servers.cradle.images.verify import verify_image
from servers.cradle.services import Services
from servers.cradle.workplace import Workplace, sweep_work, workplace
from shared.contracts.image import Companion, DeliveryPackage, ImageArchived, ImageBuilt, UpdateMade
from shared.contracts.instance import InstanceConfig
from shared.contracts.processing import VerificationReport
from shared.dataset.delta import ledger
from shared.dataset.freeze import frozen_files
from shared.dataset.manifest import MANIFEST, Manifest
from shared.dataset.places import Place
from shared.dataset.reader import DatasetReader
from shared.errors import Conflict, NotFound, Unavailable
from shared.ids import canonical_json
from shared.objects import CustomerStore, s3_client
from shared.settings import Settings
from shared.telemetry import event


async def build(
    held: Services, customer: str, tag: str, parameter_version: int, dataset_digest: str, company_name: str
) -> ImageBuilt:
    """The image of the customer's dataset.

    Raises:
        Conflict: the dataset is not the one that was asked for; it was processed again meanwhile.
    """
    version = await held.installations.get(customer, parameter_version)
    store = await CustomerStore.open(held.settings, customer)
    await keep_ledger(store, dataset_digest)
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
    async with workplace(held.settings, customer, store, _image(tag)) as place:
        built = await build_image(
            ImageSpec(
                customer_id=customer,
                tag=tag,
                fingerprint=version.fingerprint,
                dataset_digest=dataset_digest,
                parameter_version=parameter_version,
                compression=held.settings.image_compression,
                architecture=architecture(),
            ),
            sources,
            place.folder,
            await _means(held),
        )
        await place.give(_image(tag), RECORD)
    return built


async def keep_ledger(store: CustomerStore, dataset_digest: str) -> None:
    """Keep the ledger of this dataset, from which updates to later ones are made. One of another dataset is never kept
    under its name.

    Raises:
        Conflict: the customer's dataset is another, or became another meanwhile.
    """
    await _require(store, dataset_digest)
    known = await asyncio.to_thread(ledger, Place(store.path("dataset"), store.storage_options))
    await _require(store, dataset_digest)
    await store.put(ledger_key(dataset_digest), canonical_json(known))


async def _require(store: CustomerStore, dataset_digest: str) -> None:
    if (await _manifest(store)).dataset_digest != dataset_digest:
        raise Conflict(
            "The dataset changed since it was verified. Call verify_customer, then build_image again.",
            field="dataset_digest",
        )


async def _means(held: Services) -> Means:
    """What this machine builds images with."""
    return Means(
        cache=held.settings.home / "cache" / "layers",
        signer=await signer_of(held),
        base_image=chosen(held.settings.base_image),
        docker_host=held.settings.docker_host,
        method=held.settings.image_builder,
        others=held.settings.image_architectures,
    )


async def _manifest(store: CustomerStore) -> Manifest:
    """The manifest of the customer's dataset, whose version is here to be read."""
    async with DatasetReader(store.path("dataset"), storage_options=store.storage_options) as reader:
        return reader.manifest


async def make_update(held: Services, customer: str, base_digest: str) -> UpdateMade:
    """What changed since the delivered dataset `base_digest`, signed, for instances that hold it.

    Raises:
        NotFound: no image of that dataset was built.
    """
    store = await CustomerStore.open(held.settings, customer)
    try:
        known = orjson.loads(await store.get(ledger_key(base_digest)))
    except NotFound:
        raise NotFound("No image of this dataset was built. Name the dataset of a delivery.", field="base") from None
    manifest = await _manifest(store)
    async with workplace(held.settings, customer, store) as place:
        base = updates.DeliveredDataset(base_digest, known)
        dataset = Place(store.path("dataset"), store.storage_options)
        made = await updates.make_update(customer, base, dataset, manifest, place.folder, await signer_of(held))
        return made.model_copy(update={"location": await place.give(updates.key_of(made))})


async def archive(held: Services, customer: str, tag: str) -> ImageArchived:
    """The built image in the archive. Where the archive's disk has damaged it, it first comes back from
    P0711_ARCHIVE_BUCKET.

    Raises: as `Archive.keep` and `LockedBucket.mirror`.
    """
    store = await CustomerStore.open(held.settings, customer)
    settings = held.settings
    async with workplace(settings, customer, store, _image(tag)) as place:
        try:
            kept = await (await archive_of(held)).keep(place.folder, tag)
        except Conflict:
            kept = await (await whole_archive(held, customer, tag)).keep(place.folder, tag)
    if (locked := await _locked(settings)) is not None:
        folder = Path(kept.location)
        await locked.mirror(folder, f"{customer}/{folder.name}")
    return kept.model_copy(update={"image": store.path("images", tag)})


async def restore(held: Services, customer: str, name: str) -> ImageBuilt:
    """An archived image, decrypted and checked, in the customer's bucket under `restored/<name>`.

    Raises:
        Conflict: it is there already, or what is archived is damaged.
    """
    store = await CustomerStore.open(held.settings, customer)
    if store.local() is None and await store.exists(f"restored/{name}/{RECORD}"):  # comes last: without it, it is half
        raise Conflict("The folder to restore to exists already. Choose another name.", field="name")
    async with workplace(held.settings, customer, store) as place:
        folder = place.folder / "restored"
        await asyncio.to_thread(folder.mkdir, mode=0o700, exist_ok=True)
        restored = await (await whole_archive(held, customer, name)).restore(customer, name, folder / name)
        await place.give(f"restored/{name}", RECORD)
    return restored


async def drill(held: Services, customer: str) -> dict[str, str]:
    """Restores every archived image of the customer and throws it away; name → how it went."""
    store = await CustomerStore.open(held.settings, customer)
    async with workplace(held.settings, customer, store) as place:
        return await (await whole_archive(held, customer)).drill(customer, place.scratch)


async def _locked(settings: Settings) -> LockedBucket | None:
    """The archive's bucket, where the settings name one."""
    if settings.archive_bucket is None:
        return None
    if settings.s3_endpoint is None:
        raise Unavailable("P0711_ARCHIVE_BUCKET needs P0711_S3_ENDPOINT. Set it, or unset the bucket.")
    return LockedBucket(await asyncio.to_thread(s3_client, settings), settings.archive_bucket)


async def archived_tags(held: Services, customer: str) -> list[str]:
    """The tags of the customer's archived images, oldest first; those that only the archive's bucket has come first.
    Where the bucket does not answer, which is logged, they are those of the archive's disk."""
    names = await _names_here(held, customer)
    if (locked := await _locked(held.settings)) is not None:
        try:
            names = [*(each for each in await locked.names(customer) if each not in names), *names]
        except Unavailable:
            event("archive_bucket_unavailable", level=logging.WARNING)
    return list(dict.fromkeys(map(tag_of, names)))


async def is_archived(held: Services, customer: str, tag: str) -> bool:
    """Whether an image of this tag is archived. The archive's bucket is asked where the disk has none.

    Raises:
        Unavailable: the bucket does not answer; call again.
    """
    if tag in map(tag_of, await _names_here(held, customer)):
        return True
    locked = await _locked(held.settings)
    return locked is not None and tag in map(tag_of, await locked.names(customer))


async def _names_here(held: Services, customer: str) -> list[str]:
    return await asyncio.to_thread((await archive_of(held)).names, customer)


async def whole_archive(held: Services, customer: str, name: str | None = None) -> Archive:
    """The archive, in which the customer's images (or those of this name or tag) are again that its disk has lost or
    damaged, where P0711_ARCHIVE_BUCKET has them."""
    archive, locked = await archive_of(held), await _locked(held.settings)
    if locked is not None and (found := await locked.bring_back(archive, customer, name)):
        event("archived_images_brought_back", count=len(found))
    return archive


async def erase_customer(held: Services, customer: str) -> Certificate:
    """The customer's instances, bucket, archive and key are gone; a signed certificate says so.

    Jobs are the orchestrator's, and not seen from here: the caller makes sure that none is open.
    """
    instances = await held.deployments.erase(customer)
    await asyncio.to_thread(sweep_work, held.settings)
    store = await CustomerStore.open(held.settings, customer, create=True)
    certificates, signer = held.settings.home / "certificates", await signer_of(held)
    return await erase(store, customer, await archive_of(held), signer, certificates, instances=instances)


async def package(
    held: Services, customer: str, tag: str, as_tar: bool = False, companions: Sequence[Companion] = ()
) -> DeliveryPackage:
    """The folder that the customer receives, and on demand one tar of it."""
    store = await CustomerStore.open(held.settings, customer)
    async with workplace(held.settings, customer, store, _image(tag), f"reports/{tag}") as place:
        built, _ = await at_hand(held, customer, tag, place)
        spec = ImageSpec(
            customer_id=customer,
            tag=tag,
            fingerprint=built.fingerprint,
            dataset_digest=built.dataset_digest,
            parameter_version=await _version_of(held, customer, built),
            compression=built.compression,
            architecture=built.architecture,
        )
        made = await package_delivery(
            place.folder, tag, spec, await signer_of(held), as_tar=as_tar, companions=companions
        )
        tar = await place.give(f"delivery/{tag}.tar")
        location = await place.give(f"delivery/{tag}", SUMS_SIGNATURE)
    return made.model_copy(update={"location": location, "tar": tar if made.tar else None})


async def verify(held: Services, customer: str, tag: str) -> VerificationReport:
    """Starts the image, asks it and measures it; the report, and all content, stays in the customer's folder."""
    store = await CustomerStore.open(held.settings, customer)
    async with workplace(held.settings, customer, store, _image(tag)) as place:
        built, image = await at_hand(held, customer, tag, place)
        signer = await signer_of(held)
        probes = await held.installations.probes(customer, await _version_of(held, customer, built))
        report = await verify_image(image, built, place.scratch, signer.verifier, probes, held.settings.docker_host)
        page = await asyncio.to_thread(write_report, place.folder, report)
        await place.give(f"reports/{tag}", JSON)
    return VerificationReport(
        passed=report.passed, checks=report.checks, dataset_digest=built.dataset_digest,
        report=store.path("reports", tag, page.name),
    )  # fmt: skip


async def at_hand(held: Services, customer: str, tag: str, place: Workplace) -> tuple[ImageBuilt, Path]:
    """An image and the path of its tar. One that only the archive has is put beside the others until the next job makes
    room.

    Raises:
        NotFound: no image of this tag was built.
    """
    try:
        return await asyncio.to_thread(built_image, place.folder, tag)
    except NotFound:
        archive = await whole_archive(held, customer, tag)
        if tag not in map(tag_of, await asyncio.to_thread(archive.names, customer)):
            raise
        restored = place.scratch / work_name("restored")
        await archive.restore(customer, tag, restored)
        (place.folder / "images").mkdir(exist_ok=True)
        await asyncio.to_thread(publish, restored, place.folder / "images" / tag)
        return await asyncio.to_thread(built_image, place.folder, tag)


async def _version_of(held: Services, customer: str, built: ImageBuilt) -> int:
    """The parameter version that an image was built with."""
    versions = {each.fingerprint: each.version for each in await held.installations.history(customer)}
    if built.fingerprint not in versions:
        raise NotFound("The image was built with parameters that this customer does not have. Build it again.")
    return versions[built.fingerprint]


async def clean_up(held: Services, customer: str) -> int:
    """Empties the customer's scratch prefix and makes room in its bucket; returns how many objects were removed."""
    store = await CustomerStore.open(held.settings, customer)
    return await store.delete_all("scratch") + await _make_room(held, store, customer)


async def _make_room(held: Services, store: CustomerStore, customer: str) -> int:
    """Removes what is made again or lies in the archive, which deploying and rolling back take it from: images and
    deliveries beyond the newest `images_kept`, and updates to another dataset than the present one. The image of the
    present dataset stays, whatever the clock says, and one that was built anew and is not archived, or of which the
    archive's copy is damaged."""
    try:
        present = Manifest.model_validate_json(await store.get(f"dataset/{MANIFEST}")).dataset_digest
    except (NotFound, ValueError):  # none, or one of another release, which says nothing of what to keep
        return 0
    archive = await archive_of(held)
    names = await asyncio.to_thread(archive.names, customer)
    old = list(dict.fromkeys(map(tag_of, reversed(names))))[held.settings.images_kept :]
    there = {key.split("/")[1] for place in ("images", "delivery") for key, _ in await store.list(place)}
    removed = 0
    for tag in there.intersection(old):
        try:
            built = Stored.model_validate_json(await store.get(f"images/{tag}/{RECORD}")).built
            keep = built.dataset_digest == present or archived_name(built) not in names
            keep = keep or not await asyncio.to_thread(archive.is_whole, customer, archived_name(built))
        except ValueError:  # of another release
            keep = True
        except NotFound:  # what a killed process left of it
            keep = False
        if keep:
            continue
        await store.delete(f"delivery/{tag}.tar")
        removed += await store.delete_all(f"delivery/{tag}") + await store.delete_all(f"images/{tag}")
    for key, _ in await store.list("updates"):
        if key.count("/") == 1 and not updates.leads_to(key, present):  # deeper, it is being made
            await store.delete(key)
            removed += 1
    return removed


async def archive_of(held: Services) -> Archive:
    """The archive of delivered images."""
    home = held.settings.home
    signing = await signer_of(held)
    return Archive(home / "archive", key_folder(held.settings), signing.verifier, held.settings.archive_immutable)


async def signer_of(held: Services) -> Signer:
    """The platform's key that images are signed with."""
    return await asyncio.to_thread(Signer.open, held.settings.home / "keys")


def _image(tag: str) -> str:
    return f"images/{tag}"
