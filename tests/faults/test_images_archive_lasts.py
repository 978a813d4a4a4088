"""What the archive keeps and gives back lasts through a power cut, and is what this platform signed."""

from __future__ import annotations

import io
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from servers.cradle.images.archive import SEALED, SUMS, Archive
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.signing import Signer
from shared.errors import Conflict
from shared.ids import hash_file
from tests.image_rig import CustomerImage, small_image


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", tmp_path / "keys" / "customers", Signer.open(tmp_path / "keys").verifier)


@pytest.fixture
def image(tmp_path: Path) -> CustomerImage:
    return small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys"))


def files_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def lasts(made: Callable[[], Awaitable[Path]], monkeypatch: pytest.MonkeyPatch, final: Path) -> None:
    """Every file of the folder is on the disk whole, and their names, before it gets its name; then that is too."""
    sizes, names, fsync = dict[int, int](), dict[int, bool](), os.fsync

    def noted(descriptor: int) -> None:
        about = os.fstat(descriptor)
        sizes[about.st_ino], names[about.st_ino] = about.st_size, final.exists()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert await made() == final
    there = {path: path.stat() for path in (final, final.parent, *files_of(final))}
    for path in files_of(final):
        assert sizes[there[path].st_ino] == there[path].st_size, path.name
    assert names[there[final].st_ino] is False
    assert names[there[final.parent].st_ino] is True


@pytest.mark.requirement("O-04")
async def test_an_image_is_archived_and_restored_on_the_disk_when_the_call_returns(
    tmp_path: Path, archive: Archive, image: CustomerImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kept() -> Path:
        return Path((await archive.keep(image.bucket, image.spec.tag)).location)

    async def restored() -> Path:
        await archive.restore("acme", image.spec.tag, tmp_path / "restored")
        return tmp_path / "restored"

    digits = image.built.archive_digest.removeprefix("sha256:")[:12]
    await lasts(kept, monkeypatch, archive.folder / "acme" / f"{image.spec.tag}-{digits}")
    await lasts(restored, monkeypatch, tmp_path / "restored")


@pytest.mark.requirement("O-04", "S-01")
async def test_what_another_signed_for_the_customer_is_not_restored(tmp_path: Path, archive: Archive) -> None:
    stranger = Signer.open(tmp_path / "stranger")
    theirs = small_image(tmp_path / "bucket", stranger)
    await Archive(archive.folder, archive.keys, stranger.verifier).keep(theirs.bucket, theirs.spec.tag)
    with pytest.raises(Conflict, match="signed by another key"):
        await archive.restore("acme", theirs.spec.tag, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.requirement("O-04")
async def test_an_image_that_was_altered_after_it_was_signed_is_not_archived(
    archive: Archive, image: CustomerImage
) -> None:
    data = bytearray(image.tar.read_bytes())
    data[len(data) // 2] ^= 1
    image.tar.write_bytes(data)
    with pytest.raises(Conflict, match="altered after it was built"):
        await archive.keep(image.bucket, image.spec.tag)
    assert files_of(archive.folder / "acme") == []


async def test_what_a_killed_archiver_left_goes_with_the_next_image_and_is_no_image(
    tmp_path: Path, archive: Archive, image: CustomerImage
) -> None:
    left = archive.folder / "acme" / ".building-p1-small-999999999-0badcafe"
    left.mkdir(parents=True)
    (left / SUMS).write_text("half")
    assert archive.names("acme") == []
    await archive.keep(image.bucket, image.spec.tag)
    assert not left.exists()
    assert len(archive.names("acme")) == 1


async def test_without_its_list_of_hashes_or_with_another_record_an_archived_image_is_damaged(
    tmp_path: Path, archive: Archive, image: CustomerImage
) -> None:
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    sums = (kept / SUMS).read_text()
    (kept / SUMS).chmod(0o644)
    for harmed in ("", sums.replace(sums[:8], "00000000", 1)):
        (kept / SUMS).write_text(harmed)
        for call in (
            archive.restore("acme", kept.name, tmp_path / "restored"),
            archive.keep(image.bucket, image.spec.tag),
        ):
            with pytest.raises(Conflict, match="damaged"):
                await call
    (kept / SUMS).write_text(sums)
    assert (await archive.keep(image.bucket, image.spec.tag)).already_there


@pytest.mark.requirement("O-04", "S-01")
async def test_another_image_that_was_sealed_under_the_name_of_one_is_not_restored(
    tmp_path: Path, archive: Archive, image: CustomerImage
) -> None:
    """Sealing needs the public half of the key alone, and the list of hashes no key."""
    kept = Path((await archive.keep(image.bucket, image.spec.tag)).location)
    for name in (SEALED, SUMS):
        (kept / name).chmod(0o644)
    before = hash_file(kept / SEALED)
    with (kept / SEALED).open("wb") as out:
        CustomerKey.open(archive.keys, "acme", create=False).encrypt(io.BytesIO(b"another image"), out)
    (kept / SUMS).write_text((kept / SUMS).read_text().replace(before, hash_file(kept / SEALED)))
    with pytest.raises(Conflict, match="its hash is not the recorded one"):
        await archive.restore("acme", kept.name, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
