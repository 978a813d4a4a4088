"""A copy of a legacy deployment in the customer's bucket, whole and checked, before anything is made of it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import orjson

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
NEXT, BEGUN = "next", "begun.json"
Holding = Callable[[str], AbstractAsyncContextManager[Path]]
_LONGEST_NAME = 255  # bytes, in the file systems of Linux
CHANGED = "A file of the legacy deployment changed while it was copied. Stop its updates and call again."
_NOT_OURS = (
    "A file of the customer's own lies in the bucket's folder `legacy` where one of the legacy deployment belongs. "
    "Move it and call again."
)


def back_up(found: Layout, root: Path, bucket: Path) -> LegacyBackup:
    """Copy the legacy folder `root` to `bucket/legacy/`: its files to `files/`, its tables to `export/`; blocking.

    What an earlier copy brought stays until the new one lies whole and checked in `next/`; then it gives way, and what
    the legacy deployment has no more is removed. What the customer put there itself stays. A copy that was interrupted
    goes on: what is there under its hash is not copied again. Bytes of a name that are no UTF-8 are written out, as
    they are where files are processed.

    Raises:
        Conflict: a file changed or went while it was copied, became a link, or two have one name; or the customer's own
            file lies where one belongs.
        InvalidInput: a file cannot be opened, or its name is too long.
        StorageFull: no room; what was copied stays for the next call.
    """
    target, hashes, size, plan = bucket / FOLDER, dict[str, str](), 0, _plan(found)
    place, moved = Place(str(target)), list[str]()
    with room_or_clean(at=bucket):
        known = _known(place.read(MANIFEST), place.read(BEGUN))
        begun = {name.removeprefix(f"{NEXT}/") for name in place.names(NEXT)}
        _drop(target / NEXT, begun - {name for _, name in plan})
        for source, name in plan:
            stop_if_told()
            with _held(root / source, root) as held:
                hashes[name] = hash_file(held)
                if not _is(target / name, hashes[name]):
                    _require_free(target, name, known)
                    _copy(held, target / NEXT / name, hashes[name])
                    moved.append(name)
                size += held.stat().st_size
        body = canonical_json(hashes)
        os.sync()  # what is copied is on the disk before anything gives way to it
        place.write(BEGUN, canonical_json(sorted(known | hashes.keys())))
        (target / MANIFEST).unlink(missing_ok=True)  # it would vouch for what now changes
        _drop(target, known - hashes.keys())
        for name in moved:
            _drop_empty(target / name)
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (target / NEXT / name).replace(target / name)
        place.remove(NEXT)
        os.sync()  # the names of the files, and what an interrupted copy had written
        place.write(MANIFEST, body)
        (target / BEGUN).unlink()
    return _told(found, size, body)


async def back_up_to(store: CustomerStore, found: Layout, held: Holding) -> LegacyBackup:
    """The same into a bucket that is no folder, one file at a time; each is read back and compared. What is new is put
    first, then what changed is replaced, and what is gone removed last.

    Args:
        held: gives a file of the legacy deployment, by its path, as one that stays the same while it is copied.

    Raises: as `back_up`.
    """
    hashes, size, plan, changed = dict[str, str](), 0, _plan(found), list[tuple[str, str]]()
    there = {key.removeprefix(f"{FOLDER}/") for key, _ in await store.list(FOLDER)}
    known = _known(*[await store.get(f"{FOLDER}/{name}") if name in there else None for name in (MANIFEST, BEGUN)])
    known |= {name for _, name in plan} - there
    await store.put(f"{FOLDER}/{BEGUN}", canonical_json(sorted(known)))
    for source, name in plan:
        key = f"{FOLDER}/{name}"
        async with held(source) as path:
            hashes[name] = await asyncio.to_thread(hash_file, path)
            if name not in there:
                await _send(path, store, key, hashes[name])
            elif await _hash_object(store, key) != hashes[name]:
                if name not in known:
                    raise Conflict(_NOT_OURS)
                changed.append((source, name))
            size += (await asyncio.to_thread(path.stat)).st_size
    if changed:
        await store.delete(f"{FOLDER}/{MANIFEST}")  # it would vouch for what now changes
    for source, name in changed:
        async with held(source) as path:
            await _send(path, store, f"{FOLDER}/{name}", hashes[name])
    body = canonical_json(hashes)
    await store.put(f"{FOLDER}/{MANIFEST}", body)
    for name in sorted((known - hashes.keys()) & there):
        await store.delete(f"{FOLDER}/{name}")
    await store.delete(f"{FOLDER}/{BEGUN}")
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


async def _send(source: Path, store: CustomerStore, key: str, wanted: str) -> None:
    await store.put(key, await asyncio.to_thread(source.resolve))
    if await _hash_object(store, key) != wanted:
        await store.delete(key)
        raise Conflict(CHANGED)


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


def _known(manifest: bytes | None, begun: bytes | None) -> set[str]:
    """The names that earlier copies brought: all else below `legacy/` is the customer's own."""
    names = {*orjson.loads(manifest or b"[]"), *orjson.loads(begun or b"[]")}
    return {name for name in names if name.startswith((f"{FILES}/", f"{EXPORT}/")) and ".." not in name.split("/")}


def _require_free(target: Path, name: str, known: set[str]) -> None:
    """Where a file of the copy belongs lies nothing, or what an earlier copy brought."""
    path = target / name
    below = path.rglob("*") if path.is_dir() else ()
    for each in (path, *path.parents[: name.count("/")], *below):
        if each.is_file() and each.relative_to(target).as_posix() not in known:
            raise Conflict(_NOT_OURS)


def _drop(target: Path, names: Iterable[str]) -> None:
    for name in names:
        path = target / name
        if not path.parent.resolve().is_relative_to(target.resolve()):  # a link leads out of the bucket
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        with suppress(OSError):  # one that is not empty stays
            for folder in path.parents[: name.count("/")]:
                folder.rmdir()


def _drop_empty(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):  # one that is not empty stays
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
            raise Conflict(CHANGED) from None
        reason = "A file of the legacy deployment cannot be opened. Give the platform's user the right to read it."
        raise InvalidInput(reason, field="legacy") from None
    try:
        proc = Path(f"/proc/self/fd/{handle}")
        held = proc if proc.exists() else path
        if not held.resolve().is_relative_to(root.resolve()):
            raise Conflict(CHANGED)
        yield held
    finally:
        os.close(handle)


def _is(path: Path, wanted: str) -> bool:
    return path.is_file() and hash_file(path) == wanted


def _copy(source: Path, target: Path, wanted: str) -> None:
    if _is(target, wanted):
        return
    target.unlink(missing_ok=True)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not reflink(source, target):
        copy(source, target)
    if not _is(target, wanted):
        target.unlink()
        raise Conflict(CHANGED)
