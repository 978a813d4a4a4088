"""A copy of a legacy deployment in the customer's bucket, whole and checked, before anything is made of it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from servers.cradle.images.files import copy, reflink
from servers.cradle.images.layers import room_or_clean
from servers.cradle.legacy.export import Layout
from shared.contracts.deployment import LegacyBackup
from shared.dataset.places import Place
from shared.errors import Conflict, InvalidInput
from shared.ids import canonical_json, digest, hash_file
from shared.objects import CustomerStore
from shared.stopping import stop_if_told

FOLDER, FILES, EXPORT, MANIFEST = "legacy", "files", "export", "manifest.json"
Holding = Callable[[str], AbstractAsyncContextManager[Path]]
_LONGEST_NAME = 255  # bytes, in the file systems of Linux
_CHANGED = "A file of the legacy deployment changed while it was copied. Stop its updates and call again."


def back_up(found: Layout, root: Path, bucket: Path) -> LegacyBackup:
    """Copy the legacy folder `root` to `bucket/legacy/`: its files to `files/`, its tables to `export/`; blocking.

    A copy that was interrupted goes on: what is there under its hash is not copied again, and what an earlier copy
    brought that the legacy deployment has no more is removed. Bytes of a name that are no UTF-8 are written out, as
    they are where files are processed.

    Raises:
        Conflict: a file changed or went while it was copied, became a link, or two have one name.
        InvalidInput: a file cannot be opened, or its name is too long.
        StorageFull: no room; what was copied stays for the next call.
    """
    target, hashes, size, plan = bucket / FOLDER, {}, 0, _plan(found)
    _drop_others(target, {name for _, name in plan})
    with room_or_clean(at=bucket):
        for source, name in plan:
            stop_if_told()
            with _held(root / source, root) as held:
                hashes[name] = _copied(held, target / name)
            size += (target / name).stat().st_size
        body = canonical_json(hashes)
        os.sync()  # the names of the files, and what an interrupted copy had written
        Place(str(target)).write(MANIFEST, body)
    return _told(found, size, body)


async def back_up_to(store: CustomerStore, found: Layout, held: Holding) -> LegacyBackup:
    """The same into a bucket that is no folder, one file at a time; each is read back and compared.

    Args:
        held: gives a file of the legacy deployment, by its path, as one that stays the same while it is copied.

    Raises: as `back_up`.
    """
    hashes, size, plan = {}, 0, _plan(found)
    wanted = {f"{FOLDER}/{name}" for _, name in plan}
    for folder in (FILES, EXPORT):
        for key, _ in await store.list(f"{FOLDER}/{folder}"):
            if key not in wanted:
                await store.delete(key)
    for source, name in plan:
        async with held(source) as path:
            hashes[name] = await _sent(path, store, f"{FOLDER}/{name}")
            size += (await asyncio.to_thread(path.stat)).st_size
    body = canonical_json(hashes)
    await store.put(f"{FOLDER}/{MANIFEST}", body)
    return _told(found, size, body)


async def changed_since(found: Layout, hashes: Mapping[str, str], held: Holding) -> list[str]:
    """What is new, gone or another in the legacy deployment since its copy, by the names there.

    Args:
        hashes: the copy's manifest.
        held: as of `back_up_to`.

    Raises:
        Conflict, InvalidInput: as `back_up`.
    """
    plan = _plan(found)
    changed = sorted({name for _, name in plan} ^ hashes.keys())
    for source, name in plan:
        if name in hashes:
            async with held(source) as path:
                if await asyncio.to_thread(hash_file, path) != hashes[name]:
                    changed.append(name)
    return changed


@asynccontextmanager
async def held_below(root: Path, source: str) -> AsyncIterator[Path]:
    """A file of a legacy folder, held as `back_up` holds it."""
    with _held(root / source, root) as path:
        yield path


async def _sent(source: Path, store: CustomerStore, key: str) -> str:
    wanted = await asyncio.to_thread(hash_file, source)
    if await store.exists(key) and await _hash_object(store, key) == wanted:
        return wanted
    await store.put(key, await asyncio.to_thread(source.resolve))
    if await _hash_object(store, key) != wanted:
        await store.delete(key)
        raise Conflict(_CHANGED)
    return wanted


async def _hash_object(store: CustomerStore, key: str) -> str:
    state = hashlib.sha256()
    async for piece in store.stream(key):
        state.update(piece)
    return state.hexdigest()


def _told(found: Layout, size: int, body: bytes) -> LegacyBackup:
    return LegacyBackup(
        files=len(found.files), tables=len(found.tables), links_left_out=found.links, size_bytes=size,
        digest=digest(body),
    )  # fmt: skip


def _plan(found: Layout) -> list[tuple[str, str]]:
    both = ((FILES, found.files), (EXPORT, found.parts))
    plan = [(name, f"{folder}/{_shown(name)}") for folder, names in both for name in names]
    if len({target for _, target in plan}) < len(plan):
        raise Conflict("Two files of the legacy deployment have names that are written alike. Rename one.")
    if any(len(part.encode()) > _LONGEST_NAME for _, target in plan for part in target.split("/")):
        reason = "A file's name is too long once its bytes that are no UTF-8 are written out. Rename it."
        raise InvalidInput(reason, field="legacy")
    return plan


def _drop_others(target: Path, names: Iterable[str]) -> None:
    for part in (FILES, EXPORT):
        for folder, _, files in os.walk(target / part, topdown=False):
            for path in (Path(folder) / file for file in files):
                if path.relative_to(target).as_posix() not in names:
                    path.unlink()
            with suppress(OSError):  # it is not empty
                Path(folder).rmdir()


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@contextmanager
def _held(path: Path, root: Path) -> Iterator[Path]:
    """The file that was listed, kept open: a path to it that stays the same when its name becomes a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
            raise Conflict(_CHANGED) from None
        reason = "A file of the legacy deployment cannot be opened. Give the platform's user the right to read it."
        raise InvalidInput(reason, field="legacy") from None
    try:
        proc = Path(f"/proc/self/fd/{handle}")
        held = proc if proc.exists() else path
        if not held.resolve().is_relative_to(root.resolve()):
            raise Conflict(_CHANGED)
        yield held
    finally:
        os.close(handle)


def _copied(source: Path, target: Path) -> str:
    wanted = hash_file(source)
    if target.is_file():
        if hash_file(target) == wanted:
            return wanted
        target.unlink()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not reflink(source, target):
        copy(source, target)
    if hash_file(target) != wanted:
        target.unlink()
        raise Conflict(_CHANGED)
    return wanted
