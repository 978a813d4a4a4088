"""A disk that is full in the middle of a step, on a real file system of limited size: one clear error, nothing half
made, and the same call works once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers.cradle.images.archive import Archive
from servers.cradle.images.package import package_delivery
from servers.cradle.images.report import FILES, write_report
from servers.cradle.images.signing import Signer
from shared.contracts.verification import ImageReport
from shared.errors import StorageFull
from tests.image_rig import small_image

MIB = 2**20
Resize = Callable[[int], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A file system of its own, and a function that sets its size in bytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system of limited size")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={64 * MIB}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow to mount a file system")

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


def names(folder: Path) -> set[str]:
    """Everything below a folder, hidden or not."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.requirement("F-09")
@pytest.mark.parametrize("size", [4096, MIB, 4 * MIB])
async def test_the_archive_on_a_full_disk_keeps_all_or_nothing(
    tmp_path: Path, disk: tuple[Path, Resize], size: int
) -> None:
    folder, resize = disk
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer)
    archive = Archive(folder / "archive", tmp_path / "keys" / "customers", signer.verifier)
    resize(size)
    with pytest.raises(StorageFull, match=rf"^The disk at {folder} is full"):
        await archive.keep(image.bucket, image.spec.tag)
    assert names(folder) <= {"archive", "archive/acme"}
    resize(64 * MIB)
    await archive.keep(image.bucket, image.spec.tag)
    assert set((await archive.drill("acme", tmp_path)).values()) == {"restored"}


@pytest.mark.requirement("F-09")
async def test_a_restore_on_a_full_disk_leaves_no_half_image(tmp_path: Path, disk: tuple[Path, Resize]) -> None:
    folder, resize = disk
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer)
    archive = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    await archive.keep(image.bucket, image.spec.tag)
    resize(MIB)
    with pytest.raises(StorageFull, match=rf"^The disk at {folder} is full"):
        await archive.restore("acme", image.spec.tag, folder / "restored")
    assert names(folder) == set()
    resize(64 * MIB)
    assert await archive.restore("acme", image.spec.tag, folder / "restored") == image.built


@pytest.mark.requirement("F-09")
@pytest.mark.parametrize("as_tar", [False, True])
async def test_a_delivery_on_a_full_disk_is_not_there_and_the_earlier_one_stays(
    tmp_path: Path, disk: tuple[Path, Resize], as_tar: bool
) -> None:
    folder, resize = disk
    signer = Signer.open(tmp_path / "keys")
    image = small_image(folder / "bucket", signer)
    await package_delivery(image.bucket, image.spec.tag, image.spec, signer)
    before = names(folder)
    used = sum(path.stat().st_blocks * 512 for path in image.folder.iterdir())
    resize(used + 96 * 1024)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    with pytest.raises(StorageFull):
        await package_delivery(image.bucket, image.spec.tag, image.spec, signer, as_tar=as_tar)
    assert names(folder) - {"filler"} == before
    filler.unlink()
    resize(64 * MIB)
    made = await package_delivery(image.bucket, image.spec.tag, image.spec, signer, as_tar=as_tar)
    assert (made.tar is not None) is as_tar


@pytest.mark.requirement("F-09")
async def test_a_layer_on_a_full_disk_is_removed(disk: tuple[Path, Resize]) -> None:
    from servers.cradle.images.layers import Entry, write_layer

    folder, resize = disk
    resize(MIB)
    with pytest.raises(StorageFull, match=rf"^The disk at {folder} is full"):
        write_layer("vectors", [Entry("data/noise", os.urandom(4 * MIB))], folder)
    assert names(folder) == set()


@pytest.mark.requirement("F-09")
@pytest.mark.parametrize("size", [4096, 8192])
def test_the_report_on_a_full_disk_is_whole_or_not_there(tmp_path: Path, disk: tuple[Path, Resize], size: int) -> None:
    folder, resize = disk
    built = small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys")).built
    report = ImageReport(passed=True, checks=[], image=built, verified_at="2026-11-26T00:00:00+00:00")
    resize(size)
    with pytest.raises(StorageFull):
        write_report(folder, report)
    assert names(folder) == {"reports"}
    resize(64 * MIB)
    write_report(folder, report)
    assert names(folder / "reports" / built.tag) == set(FILES)
