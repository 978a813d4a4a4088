"""The archive: keeps every version, refuses to change it, gives it back, and forgets a customer for good."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.cradle.images import erasure
from servers.cradle.images.archive import SEALED, Archive, release
from servers.cradle.images.build import built_image
from servers.cradle.images.customer_keys import CustomerKey, destroy
from servers.cradle.images.erasure import erase
from servers.cradle.images.signing import Signer
from shared.errors import Conflict, InvalidInput, NotFound
from shared.ids import hash_file
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.image_rig import CustomerImage, small_image


class Killed(Exception):
    """Where a process ends that is killed."""


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.open(tmp_path / "keys")


@pytest.fixture
def archive(tmp_path: Path, signer: Signer) -> Iterator[Archive]:
    made = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    yield made
    release(made.folder)


@pytest.fixture
def image(tmp_path: Path, signer: Signer) -> CustomerImage:
    return small_image(tmp_path / "bucket", signer)


@pytest.mark.requirement("O-04")
async def test_every_delivered_version_is_restored_bit_for_bit(
    tmp_path: Path, archive: Archive, signer: Signer, image: CustomerImage
) -> None:
    second = small_image(image.bucket, signer, tag="p1-second")
    for each in (image, second):
        kept = await archive.keep(each.bucket, each.spec.tag)
        assert not kept.already_there
    assert len(archive.names("acme")) == 2
    for each in (image, second):
        target = tmp_path / f"restored-{each.spec.tag}"
        built = await archive.restore("acme", each.spec.tag, target)
        assert built == each.built
        assert (target / "image.tar").read_bytes() == each.tar.read_bytes()
        (tmp_path / "other" / "images").mkdir(parents=True, exist_ok=True)
        target.rename(tmp_path / "other" / "images" / each.spec.tag)
        assert built_image(tmp_path / "other", each.spec.tag)[0] == each.built  # deployable again


@pytest.mark.requirement("O-04")
async def test_the_same_image_again_changes_nothing_and_another_of_its_tag_stands_beside_it(
    tmp_path: Path, archive: Archive, signer: Signer, image: CustomerImage
) -> None:
    first = await archive.keep(image.bucket, image.spec.tag)
    before = held(first.location)
    assert {mode for _, mode in before.values()} == {0o100444}
    again = await archive.keep(image.bucket, image.spec.tag)
    assert again.already_there
    other = small_image(tmp_path / "newer", signer, first=1)
    beside = await archive.keep(other.bucket, other.spec.tag)
    assert not beside.already_there
    assert held(first.location) == before
    assert archive.names("acme") == [Path(each.location).name for each in (first, beside)]
    assert archive.record("acme", image.spec.tag) == other.built  # a tag is its newest image
    os.utime(beside.location, (1, 1))
    assert archive.names("acme") == [Path(each.location).name for each in (beside, first)]
    assert archive.record("acme", image.spec.tag) == image.built
    for each, kept in ((image, first), (other, beside)):
        target = tmp_path / f"restored-{each.built.archive_digest[7:15]}"
        assert await archive.restore("acme", Path(kept.location).name, target) == each.built
        assert (target / "image.tar").read_bytes() == each.tar.read_bytes()


def held(location: str) -> dict[str, tuple[int, int]]:
    """When each archived file was written, and its mode."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in Path(location).iterdir()}


def file_system_refuses(folder: Path) -> bool:
    """Whether this process may make files immutable here."""
    probe = folder / "probe"
    probe.write_bytes(b"")
    done = subprocess.run(["chattr", "+i", probe], capture_output=True, check=False).returncode == 0
    subprocess.run(["chattr", "-i", probe], capture_output=True, check=False)
    probe.unlink()
    return done


@pytest.mark.requirement("O-04")
async def test_the_file_system_refuses_to_overwrite_and_delete_what_is_archived(
    tmp_path: Path, signer: Signer, image: CustomerImage
) -> None:
    if os.geteuid() != 0 or not file_system_refuses(tmp_path):
        pytest.skip("files can be made immutable by root on ext4, xfs and btrfs only")
    archive = Archive(tmp_path / "locked", tmp_path / "keys" / "customers", signer.verifier, immutable=True)
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    try:
        for harm in (
            lambda: (kept / SEALED).write_bytes(b""),
            (kept / SEALED).unlink,
            lambda: kept.rename(kept.with_name("moved")),
            lambda: (kept / "more").write_bytes(b""),
        ):
            with pytest.raises(PermissionError):
                harm()
        assert (await archive.keep(image.bucket, image.spec.tag)).already_there
        assert await archive.drill("acme", tmp_path) == {kept.name: "restored"}
    finally:
        release(archive.folder)


@pytest.mark.requirement("O-04")
async def test_an_image_whose_archiver_was_killed_before_it_was_locked_is_locked_by_the_next_call(
    tmp_path: Path, signer: Signer, image: CustomerImage, archive: Archive
) -> None:
    if os.geteuid() != 0 or not file_system_refuses(tmp_path):
        pytest.skip("files can be made immutable by root on ext4, xfs and btrfs only")
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    locking = Archive(archive.folder, archive.keys, archive.verifier, immutable=True)
    assert (await locking.keep(image.bucket, image.spec.tag)).already_there
    with pytest.raises(PermissionError):
        (kept / SEALED).unlink()


@pytest.mark.requirement("O-04")
async def test_a_file_system_that_does_not_lock_is_told(
    archive: Archive, image: CustomerImage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with caplog.at_level(logging.WARNING, "platform-0711"):
        locking = Archive(archive.folder, archive.keys, archive.verifier, immutable=True)
        kept = await locking.keep(image.bucket, image.spec.tag)
    assert [record.getMessage() for record in caplog.records] == ["archived_image_not_immutable"]
    assert not kept.already_there


async def test_only_the_customers_key_reads_an_archived_image(
    tmp_path: Path, archive: Archive, image: CustomerImage
) -> None:
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    stored = (kept / SEALED).read_bytes()
    assert stored.startswith(b"age-encryption.org/v1")
    assert image.tar.read_bytes()[:4096] not in stored
    assert (archive.keys / "acme.age").stat().st_mode & 0o777 == 0o600
    other = CustomerKey.open(archive.keys, "other", create=True)
    (archive.keys / "acme.age").write_bytes((archive.keys / "other.age").read_bytes())
    assert other.fingerprint == CustomerKey.open(archive.keys, "acme", create=False).fingerprint
    with pytest.raises(Conflict, match="another key"):
        await archive.restore("acme", image.spec.tag, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("name", [SEALED, "image.json", "signature.json", "sbom.cdx.json"])
async def test_a_damaged_archive_is_found_by_the_drill(
    tmp_path: Path, archive: Archive, image: CustomerImage, name: str
) -> None:
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    data = bytearray((kept / name).read_bytes())
    data[len(data) // 2] ^= 1
    (kept / name).chmod(0o644)
    (kept / name).write_bytes(data)
    (result,) = (await archive.drill("acme", tmp_path)).values()
    assert "damaged" in result
    assert not list(tmp_path.glob("drill-*"))  # noqa: ASYNC240


async def test_what_is_not_signed_is_not_archived(archive: Archive, image: CustomerImage) -> None:
    (image.folder / "signature.json").write_bytes(b"{}")
    with pytest.raises(Conflict, match="signature is damaged"):
        await archive.keep(image.bucket, image.spec.tag)
    assert archive.names("acme") == []


async def test_names_that_lead_elsewhere_and_unknown_ones_are_refused(
    tmp_path: Path, archive: Archive, image: CustomerImage
) -> None:
    await archive.keep(image.bucket, image.spec.tag)
    for name in ("../acme", ".building-1", "/etc"):
        with pytest.raises(InvalidInput):
            await archive.restore("acme", name, tmp_path / "x")
    with pytest.raises(NotFound):
        await archive.restore("acme", "p9-none", tmp_path / "x")
    with pytest.raises(NotFound):
        await archive.restore("other", image.spec.tag, tmp_path / "x")


async def test_an_erased_customer_leaves_nothing_that_can_be_read_and_a_signed_certificate(
    tmp_path: Path, archive: Archive, signer: Signer
) -> None:
    settings = Settings(home=tmp_path)
    store = await CustomerStore.open(settings, "acme", create=True)
    bucket = store.local()
    assert bucket is not None
    image = small_image(bucket, signer)
    kept = Path((await archive.keep(bucket, image.spec.tag)).location)
    copy_elsewhere = (kept / SEALED).read_bytes()
    secret = (archive.keys / "acme.age").read_bytes().strip()

    certificate = await erase(store, "acme", archive, signer, tmp_path / "certificates")

    assert certificate.archived_images == 1
    assert certificate.objects > 1
    assert not bucket.exists()
    assert not kept.parent.exists()
    for path in tmp_path.rglob("*"):  # noqa: ASYNC240
        assert not path.is_file() or secret not in path.read_bytes(), path
    statement = signer.verifier.statement(Path(certificate.location).read_bytes())  # noqa: ASYNC240
    assert statement["predicate"]["customer_id"] == "acme"
    assert statement["predicate"]["archive_key"] == certificate.archive_key
    assert json.dumps(statement).find(str(tmp_path)) == -1

    kept.mkdir(parents=True)  # noqa: ASYNC240  a copy that someone kept is worth nothing without the key
    (kept / SEALED).write_bytes(copy_elsewhere)
    with pytest.raises(Conflict):
        await archive.restore("acme", kept.name, tmp_path / "restored")
    with pytest.raises(Conflict, match="erased"):
        CustomerKey.open(archive.keys, "acme", create=True)
    again = await erase(store, "acme", archive, signer, tmp_path / "certificates")
    assert again.objects == 0
    assert again.archive_key is None


@pytest.mark.requirement("Z-04")
@pytest.mark.parametrize("died", ["destroy", "_remove", "_sign"])
async def test_the_certificate_of_an_erasure_that_was_killed_says_what_the_killed_call_erased(
    tmp_path: Path, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    store = await CustomerStore.open(Settings(home=tmp_path), "acme", create=True)
    await archive.keep(Path(store.path()), small_image(Path(store.path()), signer).spec.tag)
    objects, key = len(await store.list()), CustomerKey.open(archive.keys, "acme", create=False).fingerprint
    places, real = tmp_path / "certificates", getattr(erasure, died)

    def dies(*arguments: object) -> None:
        if died == "destroy":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as killed:
        killed.setattr(erasure, died, dies)
        with pytest.raises(Killed):
            await erase(store, "acme", archive, signer, places, rows=7, instances=2)
    store = await CustomerStore.open(Settings(home=tmp_path), "acme", create=True)
    made = await erase(store, "acme", archive, signer, places, rows=1)
    assert (made.objects, made.archived_images, made.rows, made.instances) == (objects, 1, 8, 2)
    assert made.archive_key == key
    assert not list(places.glob("*.begun"))
    assert (await erase(store, "acme", archive, signer, places)).archive_key is None


@pytest.mark.parametrize("left", ["noted", "half noted", "overwritten"])
def test_a_key_whose_destruction_broke_off_is_destroyed_by_the_next_call(tmp_path: Path, left: str) -> None:
    fingerprint = CustomerKey.open(tmp_path, "acme", create=True).fingerprint
    (tmp_path / "acme.erased").write_text("" if left == "half noted" else fingerprint + "\n")
    if left == "overwritten":
        (tmp_path / "acme.age").write_bytes(b"\xff" * 75)
    assert destroy(tmp_path, "acme") == fingerprint
    assert not (tmp_path / "acme.age").exists()
    assert destroy(tmp_path, "acme") is None


async def test_two_archivers_of_one_image_leave_one_copy(archive: Archive, image: CustomerImage) -> None:
    import asyncio

    kept = await asyncio.gather(*(archive.keep(image.bucket, image.spec.tag) for _ in range(4)))
    assert len({each.location for each in kept}) == 1
    assert len(archive.names("acme")) == 1
    sums = (Path(kept[0].location) / "SHA256SUMS").read_text().splitlines()
    for line in sums:
        value, _, name = line.partition("  ")
        assert hash_file(Path(kept[0].location) / name) == value
