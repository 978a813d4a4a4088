"""The archive on an S3-compatible server: a bucket with object lock, every object kept in compliance mode.

In compliance mode nobody, the server's root included, can delete a version or shorten its time before it is over.
Objects lie at `<customer>/<tag>-<12 digits>/<name>`, encrypted like those of the folder; erasing a customer means
destroying its key. S3 lets anyone with write access put a newer version over an object, so reading asks for the oldest
version: the one that was archived.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.cradle.images.archive import SEALED, SUMS, Archive, listed, make_immutable, record_in, release, tag_of
from servers.cradle.images.build import RECORD, publish
from servers.cradle.images.evidence import FILES
from servers.cradle.images.files import sweep, work_name
from servers.cradle.images.layers import room_or_clean
from shared.errors import Conflict, NotFound, PlatformError, StorageFull, Unavailable
from shared.room import says_full

if TYPE_CHECKING:
    from minio import Minio

KEPT = timedelta(days=365 * 30)
"""How long each object is locked."""
_OF_ANOTHER_SEALING = (
    "The archive's bucket holds a part of this image that was sealed another time and never came to its end; its lock "
    "keeps it. Name another bucket with P0711_ARCHIVE_BUCKET and archive again."
)
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion"}
_OF_AN_IMAGE = frozenset({RECORD, SEALED, SUMS, *FILES})


class LockedBucket:
    """A bucket whose objects cannot be deleted.

    Args:
        client: with the archive's credentials.
        bucket: made with object lock where it does not exist.
    """

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    async def mirror(self, folder: Path, prefix: str) -> int:
        """Put an archived folder into the bucket, its list of hashes last. Objects that are there already stay.

        Returns:
            How many objects were put.

        Raises:
            Conflict: other content is archived under this prefix, or the bucket has no object lock.
            Unavailable, StorageFull: the server does not answer or has no room; call again.
        """
        return await asyncio.to_thread(self._mirror, folder, prefix)

    async def names(self, customer: str) -> list[str]:
        """The customer's images that lie whole in the bucket, oldest first.

        Raises:
            Unavailable: the server does not answer; call again.
        """
        return await asyncio.to_thread(self._names, customer)

    async def bring_back(self, archive: Archive, customer: str, name: str | None = None) -> list[str]:
        """Put back into the archive's folder what it has lost, or has damaged, and the bucket still has.

        Args:
            name: only images with this name or tag; None: all of the customer's.

        Returns:
            The names of the images that came back.

        Raises:
            Conflict: the bucket holds what is no file of an image.
            Unavailable, StorageFull: the server does not answer, or the folder has no room; call again.
        """
        return await asyncio.to_thread(self._bring_back, archive, customer, name)

    def _mirror(self, folder: Path, prefix: str) -> int:
        try:
            self._ensure()
            there = self._oldest(prefix)
            hashes, done = listed(folder), 0
            for name in [*sorted(hashes), SUMS]:
                key = f"{prefix}/{name}"
                if key not in there:
                    self._put(folder / name, key)
                    done += 1
                elif f"{prefix}/{SUMS}" not in there and self._hash(key) != hashes[name]:
                    raise Conflict(_OF_ANOTHER_SEALING, field="bucket")
            if self._read(f"{prefix}/{SUMS}") != (folder / SUMS).read_bytes():
                raise Conflict("Another image is archived under this name. It stays as it is.", field="tag")
            return done
        except Exception as error:  # noqa: BLE001  the client raises classes of two libraries
            raise _meaning(error) from None

    def _bring_back(self, archive: Archive, customer: str, name: str | None) -> list[str]:
        here = [each for each in archive.names(customer) if name in (None, each, tag_of(each))]
        whole = {each for each in here if archive.is_whole(customer, each)}
        if name is not None and whole and len(whole) == len(here):
            return []
        try:
            kept = self._all(customer)
            missing = [each for each in _whole(kept) if each not in whole and name in (None, each, tag_of(each))]
            back = list[str]()
            for each in missing:
                prefix = f"{customer}/{each}/"
                files = {key.removeprefix(prefix): put for key, put in kept.items() if key.startswith(prefix)}
                if self._fetch(prefix, files, archive.folder / customer / each):
                    back.append(each)
                if archive.immutable:
                    make_immutable(archive.folder / customer / each)
            return back
        except Exception as error:  # noqa: BLE001  the client raises classes of two libraries
            raise _meaning(error) from None

    def _names(self, customer: str) -> list[str]:
        try:
            return _whole(self._all(customer))
        except Exception as error:  # noqa: BLE001  the client raises classes of two libraries
            raise _meaning(error) from None

    def _all(self, customer: str) -> dict[str, tuple[datetime, str]]:
        return self._oldest(customer) if self._client.bucket_exists(self._bucket) else {}

    def _fetch(self, prefix: str, files: dict[str, tuple[datetime, str]], final: Path) -> bool:
        """The files of an image, each in its version, into a folder that is there whole or not at all. It has the time
        at which it was archived: the archive is in that order. One that is there gives way to an undamaged one
        only; False where the bucket has none."""
        if final.name.startswith(".") or not files.keys() <= _OF_AN_IMAGE:
            raise Conflict("The archive's bucket holds what is no file of an image. Look at who writes to it.")
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final.parent)
        work = final.parent / work_name(f".building-{final.name}")
        work.mkdir(mode=0o755)
        try:
            with room_or_clean(at=final.parent):
                for name, (_, version) in files.items():
                    self._client.fget_object(self._bucket, prefix + name, str(work / name), version_id=version)
                    (work / name).chmod(0o444)
                archived = files[SUMS][0].timestamp()
                os.utime(work, (archived, archived))
                try:
                    record_in(work)
                except Conflict:
                    if final.exists():
                        return False
                os.sync()
                release(final)
                publish(work, final)
                return True
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _ensure(self) -> None:
        if not self._client.bucket_exists(self._bucket):
            self._client.make_bucket(self._bucket, object_lock=True)
        if self._client.get_object_lock_config(self._bucket) is None:
            raise Conflict("The archive's bucket has no object lock. Name another bucket.", field="bucket")

    def _put(self, path: Path, key: str) -> None:
        from minio.commonconfig import COMPLIANCE
        from minio.retention import Retention

        until = (datetime.now(UTC) + KEPT).replace(microsecond=0)
        self._client.fput_object(self._bucket, key, str(path), retention=Retention(COMPLIANCE, until))

    def _oldest(self, prefix: str) -> dict[str, tuple[datetime, str]]:
        """Key → when the object was put first, and that version."""
        found: dict[str, tuple[datetime, str]] = {}
        for entry in self._client.list_objects(self._bucket, prefix=f"{prefix}/", recursive=True, include_version=True):
            if entry.is_delete_marker or not entry.object_name or entry.last_modified is None:
                continue
            this = (entry.last_modified, str(entry.version_id))
            if entry.object_name not in found or this[0] <= found[entry.object_name][0]:
                found[entry.object_name] = this
        return found

    def _read(self, key: str) -> bytes:
        return b"".join(self._pieces(key))

    def _hash(self, key: str) -> str:
        state = hashlib.sha256()
        for piece in self._pieces(key):
            state.update(piece)
        return state.hexdigest()

    def _pieces(self, key: str) -> Iterator[bytes]:
        _, version = self._oldest(key.rsplit("/", 1)[0])[key]
        answer = self._client.get_object(self._bucket, key, version_id=version)
        try:
            yield from answer.stream(1 << 20)
        finally:
            answer.close()
            answer.release_conn()


def _whole(kept: dict[str, tuple[datetime, str]]) -> list[str]:
    """The names of images whose list of hashes, which comes last, is there; oldest first."""
    put = {key.split("/")[1]: at for key, (at, _) in kept.items() if key.count("/") == 2 and key.endswith(f"/{SUMS}")}
    return sorted(put, key=lambda name: (put[name], name))


def _meaning(error: Exception) -> Exception:
    code: Any = getattr(error, "code", None)
    if isinstance(error, PlatformError | OSError):
        return error
    if code in _MISSING:
        return NotFound("Nothing is archived under this name: list_deployments names what is.", field="name")
    if says_full(error):
        return StorageFull("The archive's object store has no room. Free some space and call again.")
    return Unavailable("The archive's object store does not answer as it should. Try again.")
