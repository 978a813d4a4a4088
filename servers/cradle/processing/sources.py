"""Where a customer's files are, and every file there: nothing outside the allowed folders, nothing skipped silently.

file:///srv/customers/acme     a folder (or one file) below one of the operator's `P0711_SOURCE_ROOTS`
s3://customer-acme/inbox       a prefix in the customer's own bucket
bucket:inbox                   the same, without naming the bucket
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from servers.cradle.processing.extract.extractor import Unreadable
from shared.errors import InvalidInput, NotFound, TooLarge, Unavailable
from shared.object_errors import Replaced
from shared.objects import CustomerStore
from shared.settings import Settings

MAX_FILES = 1_000_000
MAX_SOURCES = 100
MAX_FILE_BYTES = 2 * 2**30
STREAM_FROM = 32 * 2**20
"""A file of so many bytes is read in blocks; one that had fewer when it was listed and has more now is not held."""
BLOCK = 2**20
MAX_DEPTH = 64
EXAMPLE = "example-customer"
_Reader = tuple[Callable[[], Awaitable[bytes]], Unreadable | None, Callable[[], AsyncIterator[bytes]]]
_RESERVED = frozenset({
    "sources.json", "questions.json", "dataset", "ledgers", "images", "delivery", "updates", "reports", "restored",
    "scratch",
})  # fmt: skip
"""What the platform writes into a customer's bucket, and cleans up there; of `legacy` it reads the files itself."""


@dataclass(frozen=True, slots=True)
class SourceList:
    """A customer's data sources as checked URIs, in the operator's order."""

    uris: list[str]

    @classmethod
    def parse(cls, data_sources: list[str], settings: Settings) -> SourceList:
        """Checked sources, without duplicates.

        Raises:
            InvalidInput: not a source, not there, or outside the folders that the operator allowed.
        """
        uris = list(dict.fromkeys(_checked(source, settings) for source in data_sources))
        return cls(uris)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that was found. `path` is unique among the customer's files and safe to show; `problem` says why it
    cannot be read, where that is known without opening it."""

    path: str
    size: int
    source: str
    read: Callable[[], Awaitable[bytes]]
    problem: Unreadable | None = None
    blocks: Callable[[], AsyncIterator[bytes]] | None = None
    """The same bytes piece by piece, for files that are better not held in memory."""


async def find_files(sources: SourceList, settings: Settings, store: CustomerStore) -> list[SourceFile]:
    """Every file of every source, sorted by path. The same path in a later source is told apart by `source-N/`.

    Raises:
        InvalidInput: a source is no longer allowed, or there are over `MAX_FILES`.
        Unavailable: a source is not there any more, or empty: nothing is concluded about its files.
    """
    found: dict[str, SourceFile] = {}
    for number, uri in enumerate(sources.uris, 1):
        for file in await _list(uri, str(number), settings, store):
            path = file.path
            while path in found:
                path = f"source-{number}/{path}"
            found[path] = replace(file, path=path)
            if len(found) > MAX_FILES:
                raise TooLarge(f"The sources hold more than {MAX_FILES} files. Split them.", field="data_sources")
    return [found[path] for path in sorted(found)]


async def check_sources(sources: SourceList, settings: Settings, store: CustomerStore | None, bucket: str) -> None:
    """Each source is the customer's own and holds something.

    Args:
        store: None where the customer has no bucket yet; `bucket` is its name.

    Raises:
        InvalidInput: one is not, or does not.
    """
    for uri in sources.uris:
        try:
            if uri.startswith("file:"):
                if await asyncio.to_thread(_is_empty, _place(uri, settings)):
                    raise _nothing_there()
            elif store is not None:
                await _list(uri, "", settings, store)
            else:
                raise _no_bucket(bucket)
        except Unavailable as error:
            raise InvalidInput(error.message, field="data_sources") from None


def _is_empty(place: Path) -> bool:
    return place.is_dir() and next(_walk(place, "", None), None) is None


def _checked(source: str, settings: Settings) -> str:
    if "\x00" in source:
        raise InvalidInput("A data source holds a NUL character. Send it without.", field="data_sources")
    if source.startswith("/"):
        source = "file://" + quote(source)
    try:
        parts = urlsplit(source)
        if parts.scheme == "file":
            return "file://" + quote(str(_place(source, settings)))
    except (ValueError, OSError, RuntimeError):  # no address; a name too long, a loop of links, a locked folder
        raise InvalidInput("A data source cannot be opened. Check its path.", field="data_sources") from None
    if parts.scheme == "s3" and parts.netloc:
        return f"s3://{parts.netloc}/{_prefix(parts.path)}"
    if parts.scheme == "bucket":
        return f"bucket:{_prefix(parts.path)}"
    raise InvalidInput(
        "A data source is `file:///folder`, `s3://bucket/prefix` or `bucket:prefix`. Name each source so.",
        field="data_sources",
    )


def _place(uri: str, settings: Settings) -> Path:
    resolved = _path(uri).resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in settings.source_roots):
        raise InvalidInput(
            "A data source lies outside the allowed folders. Add its folder to the setting P0711_SOURCE_ROOTS.",
            field="data_sources",
        )
    if _is_ours(resolved, settings):
        raise InvalidInput(
            "A data source is a folder of the platform itself. Name the folder of the customer's files.",
            field="data_sources",
        )
    if not (resolved.is_dir() or resolved.is_file()):
        raise InvalidInput(
            "A data source is not a folder or file on the machine that processes. Check its path.",
            field="data_sources",
        )
    return resolved


def _is_ours(resolved: Path, settings: Settings) -> bool:
    """Keys, databases and buckets lie in the home folder; of it only the demo's example is a source."""
    home = settings.home.resolve()
    return resolved.is_relative_to(home) and not resolved.is_relative_to(home / EXAMPLE)


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.is_absolute():
        raise InvalidInput("A file source is written `file:///absolute/folder`.", field="data_sources")
    return path


def legacy_place(uri: str, settings: Settings, store: CustomerStore | None, bucket: str) -> Path | str:
    """The folder that a checked source names; where the bucket is none, the prefix in it.

    Args:
        store: None where the customer has no bucket yet; `bucket` is its name.

    Raises:
        InvalidInput: it is no folder of this machine, or in another bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        place = _place(uri, settings)
    elif store is None:
        raise _no_bucket(bucket)
    else:
        _require_own(parts.netloc, bucket)
        prefix = _prefix(parts.path)
        if prefix.partition("/")[0] == "legacy":
            reason = "The bucket's folder `legacy` takes the copy. Put the legacy deployment into another."
            raise InvalidInput(reason, field="legacy")
        place = store.local(*prefix.split("/"))
        if place is None:
            return prefix
    if not place.is_dir():
        raise InvalidInput(
            "A legacy deployment is a folder. Copy it to one that the platform may read.", field="legacy"
        )
    return place


def _require_own(named: str, bucket: str) -> None:
    if named not in ("", bucket):
        raise InvalidInput(
            f"An S3 source must lie in the customer's own bucket, {bucket}. Copy the files there.", field="data_sources"
        )


def _no_bucket(bucket: str) -> InvalidInput:
    return InvalidInput(
        f"There is no bucket {bucket} yet. The operator makes it; put the files there, then call again.",
        field="data_sources",
    )


def _prefix(path: str) -> str:
    names = [name for name in unquote(path).split("/") if name]
    if any(name in (".", "..") for name in names) or (names and names[0] in _RESERVED) or not names:
        raise InvalidInput(
            "A prefix in the bucket names a folder of your own, and none that the platform uses.", field="data_sources"
        )
    return "/".join(names)


async def _list(uri: str, number: str, settings: Settings, store: CustomerStore) -> list[SourceFile]:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if not _path(uri).exists():
            raise Unavailable("A source is not there any more. Mount it, or register the sources anew.")
        place = _place(uri, settings)
    else:
        _require_own(parts.netloc, store.bucket)
        place = store.local(*_prefix(parts.path).split("/"))
    if place is None:
        found = await _objects(store, _prefix(parts.path), number)
    else:
        found = await asyncio.to_thread(_walked, place, number, settings)
    if not found:
        raise _nothing_there()
    return found


def _nothing_there() -> Unavailable:
    return Unavailable("A source holds no file. Put the files there, or name the sources anew.")


def _walked(place: Path, number: str, settings: Settings) -> list[SourceFile]:
    root = place.resolve()
    if not root.is_dir():
        return [_file(root.parent, root, number)] if root.exists() else []
    return list(_walk(root, number, None if _is_ours(root, settings) else settings.home.resolve()))


async def _objects(store: CustomerStore, prefix: str, number: str) -> list[SourceFile]:
    files = []
    for key, size in sorted(await store.list(prefix + "/")):
        path = key.removeprefix(prefix + "/")
        files.append(SourceFile(path, size, number, *_object_reader(store, key, _too_large(size))))
    return files


def _object_reader(store: CustomerStore, key: str, problem: Unreadable | None) -> _Reader:
    async def read() -> bytes:
        with _opening():
            return await store.get(key, most=STREAM_FROM)

    async def blocks() -> AsyncIterator[bytes]:
        with _opening():
            async for block in store.stream(key):
                yield block

    return read, problem, blocks


@contextlib.contextmanager
def _opening() -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise Unreadable("cannot_open", "The file was there and is gone. Put it there again.") from None
    except Replaced:
        raise Unreadable("changed", "The file was changed while it was read. Run the job again.") from None
    except TooLarge:
        raise _grown() from None
    except InvalidInput:
        reason = (
            "Its key has an empty part, dots alone, a backslash, a control character, `#` and a number at an end, or "
            "too many bytes. Rename it."
        )
        raise Unreadable("cannot_open", reason) from None


def _walk(root: Path, number: str, ours: Path | None) -> Iterator[SourceFile]:
    """Every entry below the folder that is not itself a folder, always in the same order: two names may be shown as
    one, and only the first bears it. Links are not followed out.

    The platform's own home folder, `ours`, is one entry: nothing in it is read.
    """
    stack = [(root, 0)]
    while stack:
        folder, depth = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            reason = "The folder cannot be opened. Give the platform's user the right to read it."
            yield _entry(root, folder, 0, number, Unreadable("folder_unreadable", reason))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if path == ours:
                    reason = "This is the platform's own folder, not the customer's; its files are not read."
                    yield _entry(root, path, 0, number, Unreadable("platform_folder", reason))
                elif depth >= MAX_DEPTH:
                    reason = f"The folder lies deeper than {MAX_DEPTH} levels; its files were not read."
                    yield _entry(root, path, 0, number, Unreadable("too_deep", reason))
                else:
                    stack.append((path, depth + 1))
            else:
                yield _file(root, path, number)


def _file(root: Path, path: Path, number: str) -> SourceFile:
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError):
        reason = "The name leads nowhere: the link's target or the file is gone."
        return _entry(root, path, 0, number, Unreadable("broken_link", reason))
    if not target.is_relative_to(root):
        reason = "The link leads outside the source folder; it is not followed. Copy the file into the folder."
        return _entry(root, path, 0, number, Unreadable("link_outside", reason))
    if stat.S_ISDIR(status.st_mode):
        reason = "The link leads to a folder of this source, whose files are read at their own place."
        return _entry(root, path, 0, number, Unreadable("link_to_folder", reason))
    if not stat.S_ISREG(status.st_mode):
        return _entry(root, path, 0, number, Unreadable("not_a_file", "It is a device, socket or pipe, not a file."))
    return _entry(root, path, status.st_size, number, _too_large(status.st_size), target)


def _entry(
    root: Path, path: Path, size: int, number: str, problem: Unreadable | None, target: Path | None = None
) -> SourceFile:
    shown = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
    return SourceFile(shown or ".", size, number, *_file_reader(root, target or path, problem))


def _file_reader(root: Path, path: Path, problem: Unreadable | None) -> _Reader:
    async def read() -> bytes:
        return b"".join(await asyncio.to_thread(list, _blocks(root, path, STREAM_FROM)))

    async def blocks() -> AsyncIterator[bytes]:
        found = _blocks(root, path)
        try:
            while block := await asyncio.to_thread(next, found, b""):
                yield block
        finally:
            with contextlib.suppress(ValueError):  # a cancelled caller's read still runs: the file closes as it ends
                found.close()

    return read, problem, blocks


def _blocks(root: Path, path: Path, most: int = MAX_FILE_BYTES) -> Generator[bytes, None, None]:
    """The file's bytes, if what was opened lies below the root: a folder may have become a link since it was listed."""
    left = most
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not _opened(handle, path).is_relative_to(root):
                reason = "The file's folder became a link that leads outside the source. Copy the files into it."
                raise Unreadable("link_outside", reason)
            while block := file.read(BLOCK):
                if (left := left - len(block)) < 0:
                    raise _grown()
                yield block
    except OSError:
        reason = "The file cannot be opened. Give the platform's user the right to read it."
        raise Unreadable("cannot_open", reason) from None


def _too_large(size: int) -> Unreadable | None:
    if size <= MAX_FILE_BYTES:
        return None
    return Unreadable("too_large", f"The file has {size >> 20} MiB; {MAX_FILE_BYTES >> 20} MiB is the limit. Split it.")


def _grown() -> Unreadable:
    return Unreadable("changed", "The file has grown since it was listed. Run the job again.")


def _opened(handle: int, path: Path) -> Path:
    """Where an open file really lies: the kernel's word on Linux, elsewhere the path's, asked after opening."""
    proc = Path(f"/proc/self/fd/{handle}")
    try:
        return proc.readlink()
    except OSError:
        return Path(os.path.realpath(path))
