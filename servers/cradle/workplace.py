"""Where a customer's large files are worked on: the bucket itself where it is a folder, else a copy in memory.

On S3 an image, a package or a restored archive has to be a file while it is made, checked and loaded. It then lies in a
folder of its own below P0711_WORK_FOLDER, by default the machine's file system in memory (/dev/shm), for as long as the
work lasts. What a killed process left there goes with the next piece of work, and at cradle's next start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from servers.cradle.images.files import sweep, work_name
from servers.cradle.images.layers import room_or_clean
from shared.errors import StorageFull, Unavailable
from shared.ids import digest
from shared.objects import CustomerStore
from shared.settings import Settings

FETCHED_BYTES = 32 * 2**20  # in one request: nobody here reads slowly


@dataclass(slots=True)
class Workplace:
    """The customer's bucket, or the part of it that is worked on, as a folder."""

    store: CustomerStore
    folder: Path
    _fetched: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """A folder for what is thrown away again."""
        made = self.folder / "scratch"
        made.mkdir(exist_ok=True)
        return made

    async def fetch(self, key: str) -> Path:
        """An object as a file; of a bucket that is a folder the object itself.

        Raises:
            NotFound: no such object.
            StorageFull: the work folder has no room for it.
        """
        path = self.folder / key
        if self.store.local() is None and key not in self._fetched:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            with room_or_clean(path), path.open("xb") as file:
                async for piece in self.store.stream(key, FETCHED_BYTES):
                    await asyncio.to_thread(file.write, piece)
            self._fetched[key] = _seen(path)
        return path

    async def forget(self, key: str) -> None:
        """Remove the file of a fetched object, which may be fetched anew; the object stays."""
        if self._fetched.pop(key, None) is not None:
            await asyncio.to_thread((self.folder / key).unlink)

    async def give(self, name: str, record: str | None = None) -> str:
        """Put the file or folder of this name into the bucket, in place of what is there; its address.

        Args:
            record: the file of the folder that says that the rest is whole. It goes first and comes last, so that it
                never vouches for other files than its own.
        """
        if self.store.local() is None:
            here = await asyncio.to_thread(_files, self.folder, name)
            changed = {key for key, seen in here.items() if self._fetched.get(key) != seen}
            gone = {key for key, _ in await self.store.list(name)} | {name}
            gone -= here.keys()
            last = f"{name}/{record or ''}"
            if last in here and (changed or gone - {name}):
                gone, changed = gone | {last}, changed | {last}
            for key in sorted(gone):
                await self.store.delete(key)
            for key in sorted(changed, key=lambda key: (key == last, key)):
                await self.store.put(key, self.folder / key)
            self._fetched |= here
        return self.store.path(*name.split("/"))


@asynccontextmanager
async def workplace(
    settings: Settings, customer_id: str, store: CustomerStore, *needs: str
) -> AsyncIterator[Workplace]:
    """The customer's bucket as a folder for as long as the block lasts.

    Args:
        needs: prefixes whose objects have to be there; those without objects are left out.

    Raises:
        Unavailable: the work folder cannot be used, or the object store does not answer.
        StorageFull: the work folder has no room for what is needed.
    """
    local = store.local()
    if local is not None:
        yield Workplace(store, local)
        return
    root = await asyncio.to_thread(work_folder, settings)
    await asyncio.to_thread(sweep, root)
    folder = root / work_name(f".building-{customer_id}")
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    try:
        place = Workplace(store, folder)
        found = [each for prefix in needs for each in await store.list(prefix)]
        _require_room(root, sum(size for _, size in found))
        for key, _ in found:
            await place.fetch(key)
        yield place
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def work_folder(settings: Settings) -> Path:
    """This platform's own folder below P0711_WORK_FOLDER, made if need be; blocking.

    Raises:
        Unavailable: it cannot be made, or is another user's.
    """
    folder = settings.work_folder / f"0711-{digest(str(settings.home).encode()).removeprefix('sha256:')[:12]}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        raise Unavailable(
            "The work folder cannot be used. Name another one with P0711_WORK_FOLDER, best in memory or on an encrypted"
            " disk."
        ) from None
    if folder.is_symlink() or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise Unavailable("Another user's folder lies where the platform works. Name another P0711_WORK_FOLDER.")
    return folder


def sweep_work(settings: Settings) -> None:
    """Remove what killed processes left in the work folder; blocking."""
    if settings.s3_endpoint is not None:
        sweep(work_folder(settings))


def _require_room(folder: Path, size: int) -> None:
    if _free(folder) < size:
        raise StorageFull("The work folder has no room for this image. Name a larger one with P0711_WORK_FOLDER.")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _files(folder: Path, name: str) -> dict[str, tuple[int, int, int]]:
    """Key → what tells whether the file is still the same, of every file of this name or below it."""
    whole = folder / name
    paths = [whole] if whole.is_file() else sorted(path for path in whole.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _seen(path) for path in paths}


def _seen(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns
