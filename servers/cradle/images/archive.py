"""The archive: every delivered image is kept, create-only, read-only, with a list of hashes.

`HOME/archive/<customer>/<tag>/` holds `image.tar`, `image.json` and `SHA256SUMS`. A folder appears under its name whole
or not at all, and a second image under the same tag is refused. An operator who wants the file system to refuse
deletion too sets `chattr +i` on it; the platform does not, since then nobody could remove a test's home.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

from servers.cradle.images.build import IMAGE, RECORD, built_image, sweep
from servers.cradle.images.files import copy, hash_file, reflink, sync_folder, write_new
from servers.cradle.images.layers import room_or_clean
from shared.contracts.image import ImageArchived, ImageBuilt
from shared.errors import Conflict, NotFound

SUMS = "SHA256SUMS"


async def archive_image(bucket: Path, tag: str, archive: Path) -> ImageArchived:
    """Keep the built image for ever, at `archive/<customer>/<tag>-<12 digits of its hash>`: an image that was built
    anew by a newer platform stands beside the older one. Archiving the same image again changes nothing.

    Args:
        bucket: the customer's folder, where the image was built.
        archive: the archive's folder, of all customers.

    Raises:
        NotFound: there is no image with this tag.
        Conflict: the archived image was altered, or the built file is not what was built.
        StorageFull: no room; nothing is left behind.
    """
    return await asyncio.to_thread(_archive, bucket, tag, archive)


async def restore_image(archive: Path, customer_id: str, name: str, target: Path) -> str:
    """Copy an archived image to `target`, checked against its hashes; returns the digest of the tar.

    Args:
        name: of its folder in the customer's archive.

    Raises:
        NotFound: nothing is archived under this name.
        Conflict: the archived file is damaged, or `target` exists.
    """
    return await asyncio.to_thread(_restore, archive / customer_id / name, target)


def archived(folder: Path) -> dict[str, str]:
    """The names in an archived folder's list of hashes, with their SHA-256; empty where there is none."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError:
        return {}
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def _archive(bucket: Path, tag: str, archive: Path) -> ImageArchived:
    built, image = built_image(bucket, tag)
    wanted = built.archive_digest.removeprefix("sha256:")
    final = archive / built.customer_id / f"{tag}-{wanted[:12]}"
    if final.exists():
        return _already(built, final, wanted)
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep(final.parent)
    work = final.parent / f".building-{tag}-{os.getpid()}-{os.urandom(4).hex()}"
    work.mkdir(mode=0o755)
    try:
        with room_or_clean():
            if not reflink(image, work / IMAGE):
                copy(image, work / IMAGE)
            if hash_file(work / IMAGE) != wanted:
                raise Conflict("The built image was altered after it was built. Build it again.", field="tag")
            record = (image.parent / RECORD).read_bytes()
            write_new(work / RECORD, record)
            sums = f"{wanted}  {IMAGE}\n{hashlib.sha256(record).hexdigest()}  {RECORD}\n"
            write_new(work / SUMS, sums.encode())
            for path in work.iterdir():
                path.chmod(0o444)
            sync_folder(work)
            try:
                work.rename(final)  # fails where another call has put a folder with files there
            except OSError:
                if not final.exists():
                    raise
                return _already(built, final, wanted)
            sync_folder(final.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _contract(built, final, already_there=False)


def _already(built: ImageBuilt, final: Path, wanted: str) -> ImageArchived:
    if archived(final).get(IMAGE) != wanted:
        raise Conflict("The archived image is damaged: its list of hashes was altered.", field="tag")
    return _contract(built, final, already_there=True)


def _contract(built: ImageBuilt, final: Path, *, already_there: bool) -> ImageArchived:
    return ImageArchived(
        customer_id=built.customer_id,
        tag=built.tag,
        archive_digest=built.archive_digest,
        location=str(final),
        already_there=already_there,
    )


def _restore(folder: Path, target: Path) -> str:
    expected = archived(folder).get(IMAGE)
    if expected is None:
        raise NotFound("Nothing is archived under this name.", field="name")
    try:
        with room_or_clean(target):
            copy(folder / IMAGE, target)
            if hash_file(target) != expected:
                raise Conflict("The archived image is damaged: its hash is not the recorded one.", field="tag")
    except FileExistsError:
        raise Conflict("The file to restore to exists already. Choose another name.", field="target") from None
    return "sha256:" + expected
