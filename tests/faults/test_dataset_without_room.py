"""A dataset whose disk or bucket is full: one clear error whatever was being written, what is visible stays so, and the
same run works once there is room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dataset_corpus import DIMENSION, commit, document, written

from shared.dataset.manifest import visible
from shared.dataset.places import Place
from shared.dataset.writer import DatasetWriter
from shared.errors import StorageFull
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.faults.test_images_disk_full import MIB, Resize, disk
from tests.faults.test_objects_on_s3 import Door, door

__all__ = ["disk", "door"]

STEP = 3 * 4096
CHANGED = (document(1, "Neuer Text."), document(9))


async def update(root: str) -> str:
    async with DatasetWriter(root, DIMENSION) as writer:
        await writer.replace_documents(list(CHANGED))
        return (await commit(writer)).dataset_digest


@pytest.mark.requirement("F-09")
async def test_wherever_the_disk_gets_full_it_is_one_sentence_and_the_old_version_stays(
    tmp_path: Path, disk: tuple[Path, Resize]
) -> None:
    folder, resize = disk
    root, refused, digest = folder / "dataset", 0, None
    before = await written(root, [document(1)])
    while digest is None:  # a little more room each time: tables, then vectors, then graph and manifest find none
        resize(shutil.disk_usage(folder).used + refused * STEP)
        try:
            digest = await update(str(root))
        except StorageFull:
            refused += 1
            assert visible(Place(str(root))) == before
        resize(64 * MIB)
    assert refused > 8
    assert digest == (await written(tmp_path / "clean", list(CHANGED))).dataset_digest


@pytest.mark.requirement("F-09")
async def test_a_full_bucket_on_s3_is_one_sentence_nothing_of_it_is_visible_and_a_retry_works(
    door: Door, tmp_path: Path
) -> None:
    """The door is in this process: what held the interpreter's lock while it waits for the store would never end."""
    store = await CustomerStore.open(s3_settings(tmp_path / "home", door.url), "voller-bestand", create=True)
    root, options = store.path("dataset"), store.storage_options
    try:
        async with DatasetWriter(root, DIMENSION, options) as writer:
            door.full = "QuotaExceeded"
            with pytest.raises(StorageFull):
                await writer.replace_documents(list(CHANGED))
            door.full = None
            await writer.replace_documents(list(CHANGED))
            assert set(await writer.documents()) == {each.document.path for each in CHANGED}
            door.full = "QuotaExceeded"
            with pytest.raises(StorageFull):
                await commit(writer)
            assert door.refused >= 2
            assert visible(Place(root, options)) is None
    finally:
        door.full = None
        await store.remove()
