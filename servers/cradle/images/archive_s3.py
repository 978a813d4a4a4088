"""The archive on an S3-compatible server: a bucket with object lock, every object kept in compliance mode.

In compliance mode nobody, the server's root included, can delete a version or shorten its time before it is over.
Objects lie at `<customer>/<tag>-<12 digits>/<name>`, encrypted like those of the folder; erasing a customer means
destroying its key. S3 lets anyone with write access put a newer version over an object, so reading asks for the oldest
version: the one that was archived.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.cradle.images.archive import listed
from shared.errors import Conflict, NotFound, PlatformError, StorageFull, Unavailable
from shared.room import says_full

if TYPE_CHECKING:
    from minio import Minio

KEPT = timedelta(days=365 * 30)
"""How long each object is locked."""
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion"}


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

    async def fetch(self, prefix: str, folder: Path) -> None:
        """Write the objects of a prefix, as they were archived, into the new folder `folder`.

        Raises:
            NotFound: nothing, or nothing whole, is archived there.
        """
        await asyncio.to_thread(self._fetch, prefix, folder)

    def _mirror(self, folder: Path, prefix: str) -> int:
        try:
            self._ensure()
            there = self._oldest(prefix)
            names = [*sorted(listed(folder)), "SHA256SUMS"]
            done = 0
            for name in names:
                if f"{prefix}/{name}" in there:
                    continue
                self._put(folder / name, f"{prefix}/{name}")
                done += 1
            if self._read(f"{prefix}/SHA256SUMS") != (folder / "SHA256SUMS").read_bytes():
                raise Conflict("Another image is archived under this name. It stays as it is.", field="tag")
            return done
        except Exception as error:  # noqa: BLE001  the client raises classes of two libraries
            raise _meaning(error) from None

    def _fetch(self, prefix: str, folder: Path) -> None:
        try:
            there = self._oldest(prefix)
            if f"{prefix}/SHA256SUMS" not in there:
                raise NotFound("Nothing is archived under this name: list_deployments names what is.", field="name")
            folder.mkdir(mode=0o700)
            for key, version in there.items():
                target = folder / key.removeprefix(f"{prefix}/")
                self._client.fget_object(self._bucket, key, str(target), version_id=version)
        except Exception as error:  # noqa: BLE001  the client raises classes of two libraries
            raise _meaning(error) from None

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

    def _oldest(self, prefix: str) -> dict[str, str]:
        """Key → version of the object that was put first."""
        found: dict[str, tuple[datetime, str]] = {}
        for entry in self._client.list_objects(self._bucket, prefix=f"{prefix}/", recursive=True, include_version=True):
            if entry.is_delete_marker or not entry.object_name or entry.last_modified is None:
                continue
            this = (entry.last_modified, str(entry.version_id))
            if entry.object_name not in found or this[0] <= found[entry.object_name][0]:
                found[entry.object_name] = this
        return {key: version for key, (_, version) in found.items()}

    def _read(self, key: str) -> bytes:
        version = self._oldest(key.rsplit("/", 1)[0])[key]
        answer = self._client.get_object(self._bucket, key, version_id=version)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()


def _meaning(error: Exception) -> Exception:
    code: Any = getattr(error, "code", None)
    if isinstance(error, PlatformError | OSError):
        return error
    if code in _MISSING:
        return NotFound("Nothing is archived under this name: list_deployments names what is.", field="name")
    if says_full(error):
        return StorageFull("The archive's object store has no room. Free some space and call again.")
    return Unavailable("The archive's object store does not answer as it should. Try again.")
