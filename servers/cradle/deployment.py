"""From a signed image to a running instance, its updates, and the way back, for one customer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from servers.cradle import delivery
from servers.cradle.deployments.service import NOTHING_THERE
from servers.cradle.deployments.store import Row
from servers.cradle.images.build import RECORD
from servers.cradle.images.signed import SignedImage, signed_image
from servers.cradle.images.updates import key_of, ledger_key, push_update
from servers.cradle.services import Services
from servers.cradle.workplace import Workplace, workplace
from shared.client import Upstream
from shared.contracts.deployment import DeploymentList, DeploymentMade, InstancesUpdated, Question, QuestionsKept
from shared.contracts.image import ImageBuilt
from shared.errors import Conflict, NotFound, PlatformError
from shared.ids import canonical_json, digest
from shared.objects import CustomerStore

QUESTIONS = "questions.json"
NO_IMAGE = "No image of this customer has this tag: list_deployments names the versions."


async def keep_questions(held: Services, customer: str, questions: list[Question]) -> QuestionsKept:
    """Put the planted questions into the customer's bucket, in place of earlier ones."""
    store = await CustomerStore.open(held.settings, customer)
    body = canonical_json([each.model_dump() for each in questions])
    await store.put(QUESTIONS, body)
    return QuestionsKept(questions=len(questions), digest=digest(body))


async def deploy(held: Services, customer: str, tag: str, host: str, port: int | None) -> DeploymentMade:
    """Let the signed image of this tag serve on a host. An image that is only in the archive is restored for it.

    Raises: as `Deployments.deploy` and `signed_image`.
    """
    store = await CustomerStore.open(held.settings, customer)
    async with _image(held, store, customer, tag) as image:
        return await held.deployments.deploy(customer, image, host, port, await planted_questions(store))


async def check_deployment(held: Services, customer: str, tag: str, host: str, port: int | None) -> str:
    """The host's container engine, in words, where `deploy` may begin: the image is there, and the port may be had.

    Raises:
        InvalidInput, Unavailable: the host is not known, its engine does not answer.
        NotFound: no image of this tag was made.
        Conflict: the deployment has another port, or another deployment or program has this one.
    """
    store = await CustomerStore.open(held.settings, customer)
    if not await store.exists(f"images/{tag}/{RECORD}") and not await delivery.is_archived(held, customer, tag):
        raise NotFound(NO_IMAGE, field="tag")
    return await held.deployments.check(customer, host, port)


async def check_rollback(held: Services, customer: str, tag: str, host: str) -> str:
    """The host's container engine, in words, where `roll_back` may begin.

    Raises:
        InvalidInput, Unavailable: the host is not known, its engine does not answer.
        NotFound: nothing is deployed there, or no image of this tag was archived.
    """
    if not await held.deployments.serving(customer, host):
        raise NotFound(NOTHING_THERE, field="host")
    if not await delivery.is_archived(held, customer, tag):
        raise NotFound(NO_IMAGE, field="tag")
    return await held.deployments.engine_of(host)


async def update_instances(held: Services, customer: str, tag: str) -> InstancesUpdated:
    """Bring every serving instance of the customer to the dataset of this image, which is the customer's newest.

    An instance that holds a version made with the same parameters gets the signed difference and goes on answering;
    any other gets the image.

    Raises:
        Conflict: an instance did not pass its gate and went back; the ones before it are updated.
        ParameterDrift: the instance refuses a difference made with other parameters than its own.
    """
    store = await CustomerStore.open(held.settings, customer)
    planted, made = await planted_questions(store), []
    rows = await held.deployments.serving(customer)
    if not rows:
        return InstancesUpdated(made=[])
    async with workplace(held.settings, customer, store, f"images/{tag}") as place:
        verifier = (await delivery.signer_of(held)).verifier
        for row in rows:
            image = await asyncio.to_thread(signed_image, place.folder, tag, customer, verifier)
            base = await _base(held, store, customer, row, image.built)
            if base is None:
                made.append(await held.deployments.deploy(customer, image, row.host, None, planted))
            else:
                pushed = await _update(held, customer, base, image.built, place)

                async def push(instance: Upstream, pushed: Path = pushed) -> object:
                    return await push_update(pushed, instance)

                made.append(await held.deployments.update(customer, row, image.built, push, planted))
    return InstancesUpdated(made=made)


async def roll_back(held: Services, customer: str, tag: str, host: str) -> DeploymentMade:
    """Let the instance serve the version of this tag: at once where it has it, else by the archived image, as where it
    does not answer.

    Approved changes are set aside: they stay in the volume and come back with the image that they were made on.

    Raises:
        NotFound: nothing of this tag was archived, or nothing is deployed on the host.
        Conflict: it did not pass its gate; what served before serves.
    """
    row = next(iter(await held.deployments.serving(customer, host)), None)
    if row is None:
        raise NotFound(NOTHING_THERE, field="host")
    archive = await delivery.whole_archive(held, customer, tag)
    wanted = await asyncio.to_thread(archive.record, customer, tag)
    if await _has(held, customer, row, wanted):
        return await held.deployments.switch(customer, row, wanted, ())
    store = await CustomerStore.open(held.settings, customer)
    async with _image(held, store, customer, tag) as image:
        return await held.deployments.deploy(customer, image, host, None, (), aside=True)


async def deployments(held: Services, customer: str) -> DeploymentList:
    """What is deployed, each asked just now, and the tags that can be gone back to."""
    versions = await delivery.archived_tags(held, customer)
    return DeploymentList(deployments=await held.deployments.listed(customer), versions=versions)


@asynccontextmanager
async def _image(held: Services, store: CustomerStore, customer: str, tag: str) -> AsyncIterator[SignedImage]:
    """The image of a tag as built, or from the archive."""
    verifier = (await delivery.signer_of(held)).verifier
    async with workplace(held.settings, customer, store, f"images/{tag}") as place:
        await delivery.at_hand(held, customer, tag, place)
        yield await asyncio.to_thread(signed_image, place.folder, tag, customer, verifier)


async def _has(held: Services, customer: str, row: Row, wanted: ImageBuilt) -> bool:
    """Whether the instance answers and can switch to this version by itself."""
    if row.fingerprint != wanted.fingerprint:
        return False
    try:
        there = await held.deployments.versions(customer, row)
    except PlatformError:
        return False
    return wanted.dataset_digest in {version.dataset_digest for version in there.versions}


async def _update(held: Services, customer: str, base: str, built: ImageBuilt, place: Workplace) -> Path:
    """The signed difference from `base` to the dataset of this image."""
    update = await delivery.make_update(held, customer, base)
    if update.dataset_digest != built.dataset_digest:
        raise Conflict("The dataset changed since the image was built. Call process_new_documents again.")
    return await place.fetch(key_of(update))


async def _base(held: Services, store: CustomerStore, customer: str, row: Row, built: ImageBuilt) -> str | None:
    """The version of the instance that a difference can be made from; None: it needs the whole image."""
    if row.fingerprint != built.fingerprint:
        return None
    there = (await held.deployments.versions(customer, row)).versions
    current = next(each.dataset_digest for each in there if each.current)
    known = current == built.dataset_digest or await store.exists(ledger_key(current))
    return current if known else None


async def planted_questions(store: CustomerStore) -> list[Question]:
    """The questions that the operator gave for this customer; none where it gave none."""
    try:
        return [Question.model_validate(each) for each in orjson.loads(await store.get(QUESTIONS))]
    except NotFound:
        return []
