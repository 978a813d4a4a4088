"""The archive on a real S3 server with object lock: what is archived cannot be deleted or replaced, and comes back."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from minio import Minio
from minio.commonconfig import GOVERNANCE
from minio.error import S3Error
from minio.retention import Retention

from servers.cradle import delivery
from servers.cradle.images.archive import SEALED, SUMS, Archive
from servers.cradle.images.archive_s3 import LockedBucket
from servers.cradle.images.build import RECORD
from servers.cradle.images.signing import Signer
from servers.cradle.services import Services
from servers.cradle.workplace import workplace
from shared.errors import Conflict, Unavailable
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.image_rig import CustomerImage, small_image

CUSTOMER = "lost-archive"


@pytest.fixture(scope="module")
def client() -> Minio:
    """The server named by TEST_S3_URL, http://KEY:SECRET@HOST:PORT; skips where none is named."""
    url = os.environ.get("TEST_S3_URL")
    if not url:
        pytest.skip("needs an S3 server with object lock: .ci/s3 starts one")
    parts = urlsplit(url)
    return Minio(
        f"{parts.hostname}:{parts.port}", access_key=parts.username, secret_key=parts.password,
        secure=parts.scheme == "https", region="us-east-1",
    )  # fmt: skip


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of its own; what is in it is locked for minutes, not for decades."""
    monkeypatch.setattr("servers.cradle.images.archive_s3.KEPT", timedelta(minutes=20))
    return f"archive-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def kept(tmp_path: Path) -> tuple[Archive, CustomerImage, Path]:
    """An archive in a folder with one image."""
    signer = Signer.open(tmp_path / "keys")
    archive = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    image = small_image(tmp_path / "bucket", signer)
    return archive, image, Path((await archive.keep(image.bucket, image.spec.tag)).location)


@pytest.mark.requirement("O-04")
async def test_the_server_refuses_to_delete_and_to_shorten_and_the_image_comes_back(
    client: Minio, bucket: str, kept: tuple[Archive, CustomerImage, Path], tmp_path: Path
) -> None:
    archive, image, folder = kept
    locked = LockedBucket(client, bucket)
    prefix = f"acme/{folder.name}"
    assert await locked.mirror(folder, prefix) == len(list(folder.iterdir()))
    assert await locked.mirror(folder, prefix) == 0
    key = f"{prefix}/{SEALED}"
    (entry,) = client.list_objects(bucket, prefix=key, include_version=True)
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_object(bucket, key, version_id=entry.version_id)
    soon = Retention(GOVERNANCE, datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(S3Error):
        client.set_object_retention(bucket, key, soon, version_id=entry.version_id)
    client.put_object(bucket, key, io.BytesIO(b"replaced"), 8)  # S3 takes it as a newer version …
    client.remove_object(bucket, key)  # … and this as a delete marker
    again = Archive(tmp_path / "fetched", archive.keys, archive.verifier)
    assert await locked.bring_back(again, "acme", image.spec.tag) == [folder.name]
    (sums,) = client.list_objects(bucket, prefix=f"{prefix}/{SUMS}", include_version=True)
    assert sums.last_modified is not None
    began = (again.folder / "acme" / folder.name).stat().st_mtime  # by which the archive is in order
    assert began == pytest.approx(sums.last_modified.timestamp(), abs=0.001)
    assert await locked.bring_back(again, "acme", image.spec.tag) == await locked.bring_back(again, "acme") == []
    built = await again.restore("acme", image.spec.tag, tmp_path / "restored")
    assert built == image.built
    assert (tmp_path / "restored" / "image.tar").read_bytes() == image.tar.read_bytes()
    assert again.names("acme") == [folder.name]


async def test_a_mirror_that_broke_off_goes_on_and_does_not_vouch_for_what_was_sealed_another_time(
    client: Minio, bucket: str, kept: tuple[Archive, CustomerImage, Path], tmp_path: Path
) -> None:
    archive, image, folder = kept
    locked, prefix = LockedBucket(client, bucket), f"acme/{folder.name}"
    locked._ensure()
    locked._put(folder / SEALED, f"{prefix}/{SEALED}")  # killed here
    assert await locked.mirror(folder, prefix) == len(list(folder.iterdir())) - 1
    again = Archive(tmp_path / "fetched", archive.keys, archive.verifier)
    await locked.bring_back(again, "acme")
    assert await again.restore("acme", image.spec.tag, tmp_path / "restored") == image.built

    shutil.rmtree(folder)  # killed in the middle once more, and then the disk is lost
    other = f"acme/{folder.name}-other"
    locked._put(again.folder / "acme" / folder.name / SEALED, f"{other}/{SEALED}")
    anew = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    with pytest.raises(Conflict, match="sealed another time"):
        await locked.mirror(anew, other)
    assert not list(client.list_objects(bucket, prefix=f"{other}/{SUMS}"))


@pytest.fixture
async def platform(client: Minio, bucket: str, tmp_path: Path) -> AsyncIterator[tuple[Services, CustomerImage, Path]]:
    """A platform on S3, its customer's image, and the folder in which it is archived."""
    settings = s3_settings(tmp_path / "home", os.environ["TEST_S3_URL"])
    unused: Any = None
    changes = {"archive_bucket": bucket, "work_folder": tmp_path}
    held = Services(settings.model_copy(update=changes), *[unused] * 5)
    image = small_image(tmp_path / "bucket", await delivery.signer_of(held), customer=CUSTOMER)
    store = await CustomerStore.open(settings, CUSTOMER, create=True)
    try:
        for path in (image.bucket / "images").rglob("*"):
            if path.is_file():
                await store.put(path.relative_to(image.bucket).as_posix(), path)
        yield held, image, Path((await delivery.archive(held, CUSTOMER, image.spec.tag)).location)
    finally:
        await store.remove()


async def test_a_platform_that_lost_its_archive_restores_and_drills_from_the_bucket(
    platform: tuple[Services, CustomerImage, Path],
) -> None:
    held, image, kept = platform
    shutil.rmtree(kept)
    assert await delivery.restore(held, CUSTOMER, image.spec.tag) == image.built
    assert kept.is_dir()
    shutil.rmtree(kept)
    assert await delivery.drill(held, CUSTOMER) == {kept.name: "restored"}


@pytest.mark.parametrize("loss", ["removed", "damaged"])
async def test_what_the_archives_disk_has_lost_or_damaged_is_delivered_from_its_bucket(
    platform: tuple[Services, CustomerImage, Path], loss: str
) -> None:
    held, image, kept = platform
    store = await CustomerStore.open(held.settings, CUSTOMER)
    await store.delete_all("images")
    _lose(kept, loss)
    (kept.parent / ".building-killed-999999999-0").mkdir(exist_ok=True)  # of a process that was killed as it fetched
    assert await delivery.archived_tags(held, CUSTOMER) == [image.spec.tag]
    async with workplace(held.settings, CUSTOMER, store) as place:
        built, tar = await delivery.at_hand(held, CUSTOMER, image.spec.tag, place)
        assert built == image.built
        assert tar.read_bytes() == image.tar.read_bytes()
    _lose(kept, loss)
    archive = await delivery.whole_archive(held, CUSTOMER, image.spec.tag)
    assert archive.record(CUSTOMER, kept.name) == image.built
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


async def test_archiving_over_what_the_disk_has_damaged_brings_it_back_first(
    platform: tuple[Services, CustomerImage, Path],
) -> None:
    held, image, kept = platform
    _lose(kept, "damaged")
    again = await delivery.archive(held, CUSTOMER, image.spec.tag)
    assert (again.already_there, again.location) == (True, str(kept))
    assert (await delivery.archive_of(held)).record(CUSTOMER, kept.name) == image.built
    _lose(kept, "damaged")
    alone = held.settings.model_copy(update={"archive_bucket": None})
    with pytest.raises(Conflict, match="damaged"):
        await delivery.archive(replace(held, settings=alone), CUSTOMER, image.spec.tag)


async def test_while_the_archives_bucket_is_down_what_its_disk_has_is_listed_and_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, unused = s3_settings(tmp_path / "home", "http://key:secret@127.0.0.1:9"), cast("Any", None)
    held = Services(settings.model_copy(update={"archive_bucket": "gone", "s3_role": None}), *[unused] * 5)
    image = small_image(tmp_path / "bucket", await delivery.signer_of(held), customer=CUSTOMER)
    await (await delivery.archive_of(held)).keep(image.bucket, image.spec.tag)
    assert await delivery.archived_tags(held, CUSTOMER) == [image.spec.tag]
    assert "archive_bucket_unavailable" in [record.getMessage() for record in caplog.records]
    assert await delivery.is_archived(held, CUSTOMER, image.spec.tag)
    with pytest.raises(Unavailable):  # it may be the bucket that has it
        await delivery.is_archived(held, CUSTOMER, "p9-another")


def _lose(kept: Path, loss: str) -> None:
    if loss == "removed":
        shutil.rmtree(kept)
    else:
        (kept / SEALED).chmod(0o644)
        (kept / SEALED).write_bytes(b"damaged")


async def test_of_two_damaged_copies_the_archives_own_stays_and_is_told(
    client: Minio, bucket: str, kept: tuple[Archive, CustomerImage, Path]
) -> None:
    archive, _, folder = kept
    locked = LockedBucket(client, bucket)
    locked._ensure()
    locked._put(folder / RECORD, f"acme/{folder.name}/{SEALED}")
    for name in (RECORD, SUMS):
        locked._put(folder / name, f"acme/{folder.name}/{name}")
    _lose(folder, "damaged")
    assert await locked.bring_back(archive, "acme", folder.name) == []
    assert (folder / SEALED).read_bytes() == b"damaged"


async def test_what_is_no_file_of_an_image_is_not_written_anywhere(
    client: Minio, bucket: str, kept: tuple[Archive, CustomerImage, Path], tmp_path: Path
) -> None:
    archive, _, folder = kept
    locked = LockedBucket(client, bucket)
    await locked.mirror(folder, f"acme/{folder.name}")
    client.put_object(bucket, f"acme/{folder.name}/sub/evil", io.BytesIO(b"x"), 1)
    again = Archive(tmp_path / "fetched", archive.keys, archive.verifier)
    with pytest.raises(Conflict, match="no file of an image"):
        await locked.bring_back(again, "acme")
    assert [path for path in (tmp_path / "fetched").rglob("*") if path.is_file()] == []


async def test_what_is_not_there_and_a_server_that_is_gone_are_told_apart(
    client: Minio, bucket: str, tmp_path: Path
) -> None:
    locked = LockedBucket(client, bucket)
    archive = Archive(tmp_path / "archive", tmp_path / "keys", Signer.open(tmp_path / "signer").verifier)
    assert await locked.bring_back(archive, "acme") == []  # there is no bucket
    import urllib3

    gone = Minio(
        "127.0.0.1:9", access_key="a", secret_key="b", secure=False, http_client=urllib3.PoolManager(retries=0)
    )
    with pytest.raises(Unavailable):
        await LockedBucket(gone, bucket).bring_back(archive, "acme")
