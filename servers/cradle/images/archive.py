"""The archive: every delivered image is kept, create-only, read-only, encrypted with the customer's key, with a list of
hashes.

`HOME/archive/<customer>/<tag>-<12 digits>/` holds `image.tar.age`, `image.json`, the files of `evidence` and
`SHA256SUMS`. A folder appears under its name whole or not at all, and nothing replaces one. With
P0711_ARCHIVE_IMMUTABLE, as root and where the file system knows it, the file system refuses changes and deletion too
(`chattr +i`). Erasing a customer means destroying its key.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from servers.cradle.images.build import IMAGE, RECORD, Stored, built_image
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.evidence import FILES
from servers.cradle.images.files import copy, new_file, sweep, work_name, write_new
from servers.cradle.images.layers import room_or_clean
from servers.cradle.images.signing import SignedBy
from servers.cradle.images.streams import Hashing
from shared.contracts.image import ImageArchived, ImageBuilt
from shared.durable import sync_folder
from shared.errors import Conflict, InvalidInput, NotFound, PlatformError
from shared.ids import digest_file, hash_file
from shared.signatures import Verifier
from shared.stopping import stoppable
from shared.telemetry import event

SUMS, SEALED = "SHA256SUMS", "image.tar.age"
_THERE = "The folder to restore to exists already. Choose another name."
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # linux/fs.h: FS_IOC_*FLAGS, FS_IMMUTABLE_FL


@dataclass(frozen=True, slots=True)
class Archive:
    """Where images are kept, and with which keys.

    Args:
        folder: of all customers' archives.
        keys: folder of the customers' keys.
        verifier: whose signatures count.
        immutable: let the file system refuse changes and deletion.
    """

    folder: Path
    keys: Path
    verifier: Verifier
    immutable: bool = False

    async def keep(self, bucket: Path, tag: str) -> ImageArchived:
        """Keep the built image for ever: one that was built anew by a newer platform stands beside the older one.
        Archiving the same image again changes nothing.

        Args:
            bucket: the customer's folder, where the image was built.

        Raises:
            NotFound: there is no image with this tag.
            Conflict: it is not signed, or not what was signed; or the archived one was altered.
            StorageFull: no room; nothing is left behind.
        """
        return await stoppable(self._keep, bucket, tag)

    async def restore(self, customer_id: str, name: str, target: Path) -> ImageBuilt:
        """Decrypt an archived image into the folder `target`, which is there whole or not at all: as it was when it was
        built, checked against its hashes and its signature.

        Args:
            name: of its folder in the customer's archive, or its tag, where one image has it.

        Raises:
            NotFound: nothing is archived under this name.
            Conflict: the archived file is damaged or not signed by this platform, the customer was erased, or `target`
                exists.
            StorageFull: no room; nothing is left behind.
        """
        return await stoppable(self._restore, customer_id, name, target)

    async def drill(self, customer_id: str, scratch: Path) -> dict[str, str]:
        """Restore every image of a customer, one after the other, and throw it away again.

        Returns:
            Name → "restored", or the reason why not.
        """
        found = {}
        for name in await asyncio.to_thread(self.names, customer_id):
            target = scratch / work_name("drill")
            try:
                await self.restore(customer_id, name, target)
                found[name] = "restored"
            except PlatformError as error:
                found[name] = error.message
            finally:
                await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
        return found

    def names(self, customer_id: str) -> list[str]:
        """The customer's archived images, oldest first; blocking."""
        folder = self.folder / customer_id
        found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def record(self, customer_id: str, name: str) -> ImageBuilt:
        """What was archived under a name or tag, its hashes checked; blocking.

        Raises:
            NotFound: nothing was.
            Conflict: it is damaged.
        """
        return record_in(self._find(customer_id, name))

    def is_whole(self, customer_id: str, name: str) -> bool:
        """Whether an archived image is what was archived; blocking. One that is damaged is logged."""
        try:
            self.record(customer_id, name)
        except Conflict:
            event("archived_image_damaged", level=logging.ERROR)
            return False
        return True

    def _keep(self, bucket: Path, tag: str) -> ImageArchived:
        kept = self._kept(bucket, tag)
        if self.immutable:
            make_immutable(Path(kept.location))
        return kept

    def _kept(self, bucket: Path, tag: str) -> ImageArchived:
        built, image = built_image(bucket, tag)
        SignedBy(self.verifier, f"0711/{built.customer_id}").verify(
            image.parent, built.manifest_digest, built.archive_digest
        )
        final = self.folder / built.customer_id / archived_name(built)
        if final.exists():
            return _already(built, image, final)
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final.parent)
        key = CustomerKey.open(self.keys, built.customer_id, create=True)
        work = final.parent / work_name(f".building-{tag}")
        work.mkdir(mode=0o755)
        try:
            with room_or_clean(at=self.folder):
                _seal(image, work, key, built.archive_digest)
                try:
                    work.rename(final)  # fails where another call has put a folder with files there
                except OSError:
                    if not final.exists():
                        raise
                    return _already(built, image, final)
                sync_folder(final.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return _contract(built, image, final, already_there=False)

    def _restore(self, customer_id: str, name: str, target: Path) -> ImageBuilt:
        folder = self._find(customer_id, name)
        built = record_in(folder)
        key = CustomerKey.open(self.keys, customer_id, create=False)
        SignedBy(self.verifier, f"0711/{customer_id}").verify(folder, built.manifest_digest, built.archive_digest)
        if target.exists():
            raise Conflict(_THERE, field="target")
        sweep(target.parent)
        work = target.with_name(work_name(f".building-{target.name}"))
        work.mkdir(mode=0o700)
        try:
            with room_or_clean(at=target.parent):
                for each in (RECORD, *FILES):
                    copy(folder / each, work / each)
                with (folder / SEALED).open("rb") as source, new_file(work / IMAGE) as out:
                    key.decrypt(source, out)
                if digest_file(work / IMAGE) != built.archive_digest:
                    raise Conflict("The archived image is damaged: its hash is not the recorded one.", field="name")
                sync_folder(work)
                try:
                    work.rename(target)
                except OSError:
                    if not target.exists():
                        raise
                    raise Conflict(_THERE, field="target") from None  # another call has restored it meanwhile
                sync_folder(target.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return built

    def _find(self, customer_id: str, name: str) -> Path:
        if "/" in name or name.startswith("."):
            raise InvalidInput("An archived image's name has no slash and no leading dot.", field="name")
        names = self.names(customer_id)
        matching = [each for each in names if each == name] or [each for each in names if tag_of(each) == name]
        if not matching:
            raise NotFound("Nothing is archived under this name: list_deployments names what is.", field="name")
        return self.folder / customer_id / matching[-1]


def archived_name(built: ImageBuilt) -> str:
    """The name under which an image is archived."""
    return f"{built.tag}-{built.archive_digest.removeprefix('sha256:')[:12]}"


def tag_of(name: str) -> str:
    """The image's tag in the name under which it is archived, `<tag>-<12 digits>`."""
    return name.rpartition("-")[0]


def listed(folder: Path) -> dict[str, str]:
    """The names in an archived folder's list of hashes, with their SHA-256; empty where there is none."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError:
        return {}
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def _seal(image: Path, work: Path, key: CustomerKey, archive_digest: str) -> None:
    with ThreadPoolExecutor(1) as beside:
        read = beside.submit(hash_file, image)
        with image.open("rb") as source, new_file(work / SEALED) as out:
            sealed = Hashing(out)
            key.encrypt(source, sealed)
    if "sha256:" + read.result() != archive_digest:
        raise Conflict("The built image was altered after it was built. Build it again.", field="tag")
    for name in (RECORD, *FILES):
        write_new(work / name, (image.parent / name).read_bytes())
    sums = {path.name: hash_file(path) for path in sorted(work.iterdir()) if path.name != SEALED}
    sums[SEALED] = sealed.digest.removeprefix("sha256:")
    write_new(work / SUMS, "".join(f"{value}  {name}\n" for name, value in sorted(sums.items())).encode())
    for path in work.iterdir():
        path.chmod(0o444)
    sync_folder(work)


def record_in(folder: Path) -> ImageBuilt:
    """The record of the archived image in a folder, whose files are read and checked.

    Raises:
        Conflict: it is damaged.
    """
    hashes = listed(folder)
    try:
        if not hashes or any(hash_file(folder / name) != value for name, value in hashes.items()):
            raise Conflict("The archived image is damaged: a file's hash is not the recorded one.", field="name")
        return Stored.model_validate_json((folder / RECORD).read_bytes()).built
    except (OSError, ValidationError):
        raise Conflict("The archived image is damaged: a file is missing.", field="name") from None


def _already(built: ImageBuilt, image: Path, final: Path) -> ImageArchived:
    if record_in(final).archive_digest != built.archive_digest:
        raise Conflict("The archived image is damaged: its record was altered.", field="tag")
    return _contract(built, image, final, already_there=True)


def _contract(built: ImageBuilt, image: Path, final: Path, *, already_there: bool) -> ImageArchived:
    return ImageArchived(
        customer_id=built.customer_id,
        tag=built.tag,
        archive_digest=built.archive_digest,
        location=str(final),
        image=str(image.parent),
        already_there=already_there,
    )


def make_immutable(folder: Path) -> bool:
    """Let the file system refuse changes and deletion of an archived image. False, and logged: it, or this process,
    cannot."""
    done = _set_immutable(folder, on=True)
    if not done:
        event("archived_image_not_immutable", level=logging.WARNING)
    return done


def _set_immutable(folder: Path, *, on: bool) -> bool:
    """`chattr +i` or `-i`; False where the file system cannot or this process may not."""
    if os.geteuid() != 0:
        return False
    done = True
    for path in (*folder.iterdir(), folder):
        try:
            with _opened(path) as descriptor:
                (flags,) = struct.unpack("<L", fcntl.ioctl(descriptor, _GET_FLAGS, b"\0" * 8)[:4])
                flags = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
                fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("<LL", flags, 0))
        except OSError:
            done = False
    return done


def release(folder: Path) -> None:
    """Take the file system's refusal away again: before a customer's erased archive is removed, or a test's home."""
    if folder.is_dir():
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            _set_immutable(each, on=False)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
