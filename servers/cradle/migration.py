"""From a legacy deployment to the new one: prepare, back up, and reconcile before anything is cut over.

The legacy deployment is only ever read. It goes on until its operator stops it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from servers.cradle import delivery
from servers.cradle.deployment import planted_questions
from servers.cradle.images.build import built_image
from servers.cradle.images.containers import owner_of
from servers.cradle.images.customer_keys import key_folder, require_not_erased
from servers.cradle.images.running import running_instance
from servers.cradle.legacy.backup import (
    CHANGED,
    EXPORT,
    FILES,
    FOLDER,
    MANIFEST,
    Holding,
    back_up,
    back_up_to,
    changed_since,
    held_below,
)
from servers.cradle.legacy.export import Export, Layout, layout, layout_of, plain_name, read_export, sort_names
from servers.cradle.legacy.reconcile import NewDataset, Reconciliation, ask, compare
from servers.cradle.onboarding import ASKED_BEFORE, SOURCES, known_store
from servers.cradle.processing.sources import SourceList, legacy_place
from servers.cradle.services import Services
from servers.cradle.workplace import Workplace, workplace
from shared.auth import require_sources
from shared.client import Upstream
from shared.contracts.deployment import LegacyBackup, ReconciledBy
from shared.contracts.processing import VerificationReport
from shared.dataset.foreign import ForeignTable
from shared.dataset.places import Place
from shared.dataset.reader import DatasetReader
from shared.dataset.tables import Tables
from shared.errors import Conflict, InvalidInput, NotFound
from shared.ids import canonical_digest
from shared.objects import CustomerStore, bucket_name
from shared.stopping import stoppable

STATES = ("processed", "failed")
PLACE, REPORT = f"{FOLDER}/source.json", f"{FOLDER}/reconciliation.json"


async def checked_legacy(held: Services, customer: str, legacy: str) -> str:
    """The address of a legacy deployment that was found to be one that can be read. Changes nothing.

    Raises:
        Forbidden, InvalidInput: the caller may not name it, or it holds no file or a table that cannot be read.
        Conflict: a customer of this id was erased.
    """
    require_sources([legacy], ASKED_BEFORE)
    await asyncio.to_thread(require_not_erased, key_folder(held.settings), customer)
    (uri,) = SourceList.parse([legacy], held.settings).uris
    lies = await _legacy(held, customer, await known_store(held, customer), uri)
    await asyncio.to_thread(lambda: [ForeignTable(lies.place, table).count() for table in lies.found.tables])
    return uri


async def prepare(held: Services, customer: str, legacy: str) -> str:
    """Check the legacy deployment's folder and note in the customer's bucket where it is; its digest.

    Raises:
        Forbidden, InvalidInput, Conflict: as `checked_legacy`; nothing was noted.
    """
    uri = await checked_legacy(held, customer, legacy)
    store = await CustomerStore.open(held.settings, customer, create=True)
    await store.put(PLACE, orjson.dumps(uri))
    await store.put(SOURCES, orjson.dumps([f"bucket:{FOLDER}/{FILES}"]))
    return canonical_digest(uri)


async def copy_legacy(held: Services, customer: str) -> LegacyBackup:
    """The copy in the customer's bucket. Repeating it goes on where it was."""
    store = await CustomerStore.open(held.settings, customer)
    lies, bucket = await _legacy(held, customer, store, await _place(store)), store.local()
    root = lies.place.folder
    if bucket is not None and root is not None:
        return await stoppable(back_up, lies.found, root, bucket)
    async with _holding(held, customer, store, lies) as holding:
        return await back_up_to(store, lies.found, holding)


async def reconcile(held: Services, customer: str, tag: str) -> VerificationReport:
    """Compare the new dataset and its image with the copy of the legacy deployment, and that with what it is now.

    A failed check is a line of the report. What is missing, by name, lies in the bucket: legacy/reconciliation.json.
    """
    store = await CustomerStore.open(held.settings, customer)
    try:
        manifest = orjson.loads(await store.get(f"{FOLDER}/{MANIFEST}"))
    except NotFound:
        raise NotFound("No legacy deployment was backed up for this customer. Call back_up_legacy first.") from None
    copied = [name for name in manifest if name.startswith(f"{FILES}/")]
    export = await _export(store)
    found = compare(export, len(copied), await _new_dataset(store))
    owner = owner_of((await delivery.signer_of(held)).verifier, customer)
    async with workplace(held.settings, customer, store, f"images/{tag}") as place:
        _, image = await asyncio.to_thread(built_image, place.folder, tag)
        async with (
            running_instance(image, place.scratch, docker_host=held.settings.docker_host, owner=owner) as instance,
            Upstream(instance.url, key=instance.access_key, name="instance") as upstream,
        ):
            await ask(found, upstream, export, await planted_questions(store))
    await _compare_once_more(held, customer, store, manifest, found)
    await store.put(REPORT, _report(found, export.recognised))
    return VerificationReport(passed=all(check.passed for check in found.checks), checks=found.checks)


async def _place(store: CustomerStore) -> str:
    try:
        return orjson.loads(await store.get(PLACE))
    except NotFound:
        raise NotFound("No legacy deployment is noted for this customer. Call migrate_customer with it.") from None


@dataclass(frozen=True, slots=True)
class _Lies:
    """Where a legacy deployment lies, and what there is; `prefix` is that of a bucket on S3."""

    place: Place
    found: Layout
    prefix: str = ""


async def _legacy(held: Services, customer: str, store: CustomerStore | None, uri: str) -> _Lies:
    lies = await asyncio.to_thread(legacy_place, uri, held.settings, store, bucket_name(customer))
    if isinstance(lies, Path):
        return _Lies(Place(str(lies)), await asyncio.to_thread(layout, lies))
    assert store is not None  # noqa: S101  a prefix is one of its own
    names = [key.removeprefix(f"{lies}/") for key, _ in await store.list(lies)]
    return _Lies(Place(store.path(*lies.split("/")), store.storage_options), layout_of(names), lies)


@asynccontextmanager
async def _holding(held: Services, customer: str, store: CustomerStore, lies: _Lies) -> AsyncIterator[Holding]:
    """Gives files of a legacy deployment, wherever it lies."""
    root = lies.place.folder
    if root is not None:
        yield lambda name: held_below(root, name)
        return
    async with workplace(held.settings, customer, store) as place:
        yield lambda name: _passing(place, f"{lies.prefix}/{name}")


async def _compare_once_more(
    held: Services, customer: str, store: CustomerStore, manifest: dict[str, str], found: Reconciliation
) -> None:
    """A legacy deployment goes on while it is migrated: what it got since it was copied is in no new image."""
    name: ReconciledBy = "changes since the copy"
    try:
        lies = await _legacy(held, customer, store, await _place(store))
        async with _holding(held, customer, store, lies) as holding:
            changed = await changed_since(lies.found, manifest, holding)
    except (Conflict, InvalidInput):
        found.add(name, False, "the legacy deployment cannot be read any more")
        return
    found.add(name, not changed, f"{len(changed)} files", changed)
    if lies.found.links:
        found.add("links", False, f"{lies.found.links} were not followed, and what they lead to not copied")


@asynccontextmanager
async def _passing(place: Workplace, key: str) -> AsyncIterator[Path]:
    """An object as a file that is gone again after the block.

    Raises:
        Conflict: the object went after it was listed.
    """
    try:
        path = await place.fetch(key)
    except NotFound:
        raise Conflict(CHANGED) from None
    try:
        yield path
    finally:
        await place.forget(key)


async def _export(store: CustomerStore) -> Export:
    """What the copied tables say."""
    folder = f"{FOLDER}/{EXPORT}"
    tables = sort_names([key.removeprefix(f"{folder}/") for key, _ in await store.list(folder)]).tables
    place = Place(store.path(*folder.split("/")), store.storage_options)
    return await asyncio.to_thread(read_export, place, tables)


async def _new_dataset(store: CustomerStore) -> NewDataset:
    async with DatasetReader(store.path("dataset"), storage_options=store.storage_options) as reader:
        manifest = reader.manifest
    tables = Tables(Place(store.path("dataset"), store.storage_options), manifest.pins.tables)
    documents = (await asyncio.to_thread(tables.read, "documents")).select(["path", "status"]).to_pylist()
    articles = (await asyncio.to_thread(tables.read, "products"))["article_number"].to_pylist()
    by_state = {
        state: Counter(plain_name(row["path"]) for row in documents if row["status"] == state) for state in STATES
    }
    return NewDataset(by_state["processed"], by_state["failed"], len(documents), {each.strip() for each in articles})


def _report(found: Reconciliation, recognised: list[str]) -> bytes:
    checks = [check.model_dump() for check in found.checks]
    body = {"checks": checks, "missing": found.missing, "recognised_tables": recognised}
    return json.dumps(body, ensure_ascii=False, indent=2).encode()
