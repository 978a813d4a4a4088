"""A bucket holds a customer's newest images; older ones are in the archive, and come back from it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from servers.cradle import delivery
from servers.cradle.images.archive import SEALED, release
from servers.cradle.images.build import built_image
from servers.cradle.images.package import package_delivery
from servers.cradle.images.spec import ImageSpec
from servers.cradle.services import Services
from servers.cradle.workplace import Workplace
from shared.contracts.processing import Counts
from shared.dataset.manifest import MANIFEST, DatasetModel, Manifest, Pins
from shared.errors import NotFound
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.image_rig import FINGERPRINT, small_image

TAGS = [f"p1-{number}" for number in range(5)]


@pytest.fixture
async def cradle(tmp_path: Path) -> AsyncIterator[tuple[Services, CustomerStore]]:
    """A customer with five images in the archive, each with a delivery and the update to it; the last is of the
    present dataset."""
    unused: Any = None
    held = Services(Settings(home=tmp_path / "home", images_kept=2), *[unused] * 5)
    store = await CustomerStore.open(held.settings, "acme", create=True)
    bucket, signer = folder_of(store), await delivery.signer_of(held)
    archive = await delivery.archive_of(held)
    for tag in TAGS:
        image = small_image(bucket, signer, tag=tag)
        await archive.keep(bucket, tag)
        for key in (f"delivery/{tag}/README.md", f"delivery/{tag}.tar", update_to(image.built.dataset_digest)):
            await store.put(key, b"x")
    await store.put("updates/.building-1/update.tar", b"x")
    await present(store, image.built.dataset_digest)
    yield held, store
    release(archive.folder)


def update_to(dataset_digest: str) -> str:
    return f"updates/000000000000-{dataset_digest[7:19]}.tar"


async def present(store: CustomerStore, dataset_digest: str) -> None:
    """Let the customer's dataset be this one."""
    made = Manifest(
        dataset_digest=dataset_digest, table_digests={}, parameter_version=1, fingerprint=FINGERPRINT,
        model=DatasetModel(model="x", revision="1", dimension=1), pins=Pins(tables={}, vectors="x", graph="x"),
        counts=Counts.model_validate(dict.fromkeys(Counts.model_fields, 0)),
    )  # fmt: skip
    await store.put(f"dataset/{MANIFEST}", made.model_dump_json().encode())


def folder_of(store: CustomerStore) -> Path:
    folder = store.local()
    assert folder is not None
    return folder


async def kept(store: CustomerStore) -> set[str]:
    """The tags of which the bucket has anything."""
    found = [key for place in ("images", "delivery") for key, _ in await store.list(place)]
    return {key.split("/")[1].removesuffix(".tar") for key in found}


async def test_the_newest_images_stay_and_older_ones_come_back_from_the_archive(
    cradle: tuple[Services, CustomerStore],
) -> None:
    held, store = cradle
    assert await kept(store) == {*TAGS}
    assert await delivery.clean_up(held, "acme") > 0
    assert await kept(store) == {*TAGS[-2:]}
    assert [key for key, _ in await store.list("updates")] == [
        "updates/.building-1/update.tar",
        update_to(built_image(folder_of(store), TAGS[-1])[0].dataset_digest),
    ]
    assert await delivery.clean_up(held, "acme") == 0
    archive = await delivery.archive_of(held)
    assert [name.rpartition("-")[0] for name in archive.names("acme")] == TAGS
    assert set((await delivery.drill(held, "acme")).values()) == {"restored"}
    back = await delivery.restore(held, "acme", TAGS[0])
    assert back.tag == TAGS[0]


async def test_what_is_not_archived_or_of_the_present_dataset_stays_however_old_it_is(
    cradle: tuple[Services, CustomerStore],
) -> None:
    held, store = cradle
    bucket = folder_of(store)
    await store.delete_all(f"images/{TAGS[0]}")
    again = small_image(bucket, await delivery.signer_of(held), tag=TAGS[0], first=7)  # another content, not archived
    await present(store, built_image(bucket, TAGS[1])[0].dataset_digest)
    await delivery.clean_up(held, "acme")
    assert await kept(store) == {TAGS[0], TAGS[1], *TAGS[-2:]}
    assert again.tar.exists()


@pytest.mark.requirement("O-04")
async def test_an_image_whose_archived_copy_is_damaged_stays_and_that_is_told(
    cradle: tuple[Services, CustomerStore], caplog: pytest.LogCaptureFixture
) -> None:
    held, store = cradle
    archive = await delivery.archive_of(held)
    sealed = archive.folder / "acme" / archive.names("acme")[0] / SEALED
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    sealed.chmod(0o644)
    sealed.write_bytes(data)
    with caplog.at_level(logging.ERROR, "platform-0711"):
        await delivery.clean_up(held, "acme")
    assert await kept(store) == {TAGS[0], *TAGS[-2:]}
    assert [record.getMessage() for record in caplog.records] == ["archived_image_damaged"]


async def test_what_another_release_wrote_is_left_alone(cradle: tuple[Services, CustomerStore]) -> None:
    held, store = cradle
    await store.put(f"images/{TAGS[0]}/image.json", b'{"of": "another release"}')
    await delivery.clean_up(held, "acme")
    assert await kept(store) == {TAGS[0], *TAGS[-2:]}
    await store.put(f"dataset/{MANIFEST}", b'{"of": "another release"}')
    assert await delivery.clean_up(held, "acme") == 0


async def test_what_a_killed_clean_up_left_of_an_old_image_is_gone_with_the_next_one(
    cradle: tuple[Services, CustomerStore],
) -> None:
    held, store = cradle
    await store.delete(f"images/{TAGS[0]}/image.json")
    await delivery.clean_up(held, "acme")
    assert await kept(store) == {*TAGS[-2:]}


async def test_an_older_image_is_packaged_again_from_the_archive(cradle: tuple[Services, CustomerStore]) -> None:
    held, store = cradle
    bucket = folder_of(store)
    before = {path.name: path.read_bytes() for path in (bucket / "images" / TAGS[0]).iterdir()}
    await delivery.clean_up(held, "acme")
    (bucket / "images" / TAGS[0]).mkdir()  # what a killed restore left
    built, tar = await delivery.at_hand(held, "acme", TAGS[0], Workplace(store, bucket))
    assert {path.name: path.read_bytes() for path in tar.parent.iterdir()} == before
    spec = ImageSpec(
        customer_id="acme", tag=TAGS[0], fingerprint=FINGERPRINT, dataset_digest=built.dataset_digest
    )  # fmt: skip
    made = await package_delivery(bucket, TAGS[0], spec, await delivery.signer_of(held))
    assert (made.tag, made.files > 5, made.size_bytes > 4_000_000) == (TAGS[0], True, True)
    with pytest.raises(NotFound, match="no image with this tag"):
        await delivery.at_hand(held, "acme", "p1-none", Workplace(store, bucket))
    await delivery.clean_up(held, "acme")
    assert await kept(store) == {*TAGS[-2:]}
