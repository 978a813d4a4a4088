"""A restore from the archive that kill -9 ends, or that meets another one: what has its name is whole."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from servers.cradle import delivery
from servers.cradle.images.archive import Archive
from servers.cradle.images.signing import Signer
from servers.cradle.services import Services
from shared.errors import Conflict
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.image_rig import CustomerImage, small_image

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from servers.cradle.images import archive
from servers.cradle.images.signing import Signer

root = Path(sys.argv[1])

def half(key, source, target):
    target.write(b"half")
    target.flush()
    os.kill(os.getpid(), signal.SIGKILL)

archive.CustomerKey.decrypt = half
kept = archive.Archive(root / "archive", root / "keys" / "customers", Signer.open(root / "keys").verifier)
asyncio.run(kept.restore("acme", "p1-small", root / "restored"))
"""


@pytest.fixture
async def kept(tmp_path: Path) -> tuple[Archive, CustomerImage]:
    """An archive with one image."""
    signer = Signer.open(tmp_path / "keys")
    archive = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    image = small_image(tmp_path / "bucket", signer)
    await archive.keep(image.bucket, image.spec.tag)
    return archive, image


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.requirement("O-04")
async def test_a_restore_that_was_killed_leaves_nothing_under_its_name_and_the_same_call_works(
    tmp_path: Path, kept: tuple[Archive, CustomerImage]
) -> None:
    archive, image = kept
    before = names(tmp_path)
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "restored").exists()
    assert await archive.restore("acme", image.spec.tag, tmp_path / "restored") == image.built
    assert names(tmp_path) == {*before, "restored"}
    assert (tmp_path / "restored").stat().st_mode & 0o777 == 0o700  # it is content
    assert (tmp_path / "restored" / "image.tar").read_bytes() == image.tar.read_bytes()
    with pytest.raises(Conflict, match="exists already"):
        await archive.restore("acme", image.spec.tag, tmp_path / "restored")


async def test_of_two_restores_to_one_place_one_is_told_of_the_other(
    tmp_path: Path, kept: tuple[Archive, CustomerImage]
) -> None:
    archive, image = kept
    made = [archive.restore("acme", image.spec.tag, tmp_path / "restored") for _ in range(2)]
    first, second = sorted(await asyncio.gather(*made, return_exceptions=True), key=lambda each: each == image.built)
    assert isinstance(first, Conflict)
    assert second == image.built
    assert (tmp_path / "restored" / "image.tar").read_bytes() == image.tar.read_bytes()


@pytest.mark.requirement("O-04")
async def test_what_a_killed_restore_left_in_a_bucket_on_s3_is_put_right_by_the_same_call(
    tmp_path: Path, s3_url: str
) -> None:
    settings, unused, customer = s3_settings(tmp_path / "home", s3_url), None, "half-restored"
    made: Any = [unused] * 5
    held = Services(settings.model_copy(update={"work_folder": tmp_path}), *made)
    image = small_image(tmp_path / "bucket", await delivery.signer_of(held), customer=customer)
    await (await delivery.archive_of(held)).keep(image.bucket, image.spec.tag)
    store = await CustomerStore.open(settings, customer, create=True)
    try:
        await store.put(f"restored/{image.spec.tag}/image.tar", b"half")
        assert await delivery.restore(held, customer, image.spec.tag) == image.built
        assert await store.get(f"restored/{image.spec.tag}/image.tar") == image.tar.read_bytes()
        with pytest.raises(Conflict, match="exists already"):
            await delivery.restore(held, customer, image.spec.tag)
    finally:
        await store.remove()
