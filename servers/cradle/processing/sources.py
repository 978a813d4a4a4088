"""Where a customer's files are, and every file there: nothing outside the allowed folders, nothing skipped silently.

file:///srv/customers/acme     a folder (or one file) below one of the operator's `P0711_SOURCE_ROOTS`
s3://customer-acme/inbox       a prefix in the customer's own bucket
bucket:inbox                   the same, without naming the bucket
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from servers.cradle.processing.extract.extractor import Unreadable
from shared.errors import InvalidInput, NotFound, TooLarge, Unavailable
from shared.settings import Settings

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 512 * 2**20
MAX_DEPTH = 64
_RESERVED = frozenset({"sources.json", "ledger", "dataset", "images", "scratch"})


class Store(Protocol):
    """What is needed of the customer's bucket."""

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        """(key, size) of every object below the prefix."""
        ...

    async def get(self, key: str) -> bytes: ...


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


async def find_files(sources: SourceList, settings: Settings, store: Store, bucket: str) -> list[SourceFile]:
    """Every file of every source, sorted by path. The same path in a later source is told apart by `source-N/`.

    Raises:
        InvalidInput: a source is no longer allowed, or there are over `MAX_FILES`.
        Unavailable: a source is not there any more. Nothing is concluded about its files.
    """
    found: dict[str, SourceFile] = {}
    for number, uri in enumerate(sources.uris, 1):
        for file in await _list(uri, str(number), settings, store, bucket):
            path = file.path if file.path not in found else f"source-{number}/{file.path}"
            found[path] = SourceFile(path, file.size, file.source, file.read, file.problem)
            if len(found) > MAX_FILES:
                raise TooLarge(f"The sources hold more than {MAX_FILES} files. Split them.", field="data_sources")
    return [found[path] for path in sorted(found)]


def _checked(source: str, settings: Settings) -> str:
    if "\x00" in source:
        raise InvalidInput("A data source holds a NUL character. Send it without.", field="data_sources")
    if source.startswith("/"):
        source = "file://" + quote(source)
    parts = urlsplit(source)
    if parts.scheme == "file":
        return "file://" + quote(str(_place(source, settings)))
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
    if not (resolved.is_dir() or resolved.is_file()):
        raise InvalidInput(
            "A data source is not a folder or file on the machine that processes. Check its path.",
            field="data_sources",
        )
    return resolved


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.is_absolute():
        raise InvalidInput("A file source is written `file:///absolute/folder`.", field="data_sources")
    return path


def _prefix(path: str) -> str:
    names = [name for name in unquote(path).split("/") if name]
    if any(name in (".", "..") for name in names) or (names and names[0] in _RESERVED) or not names:
        raise InvalidInput(
            "A prefix in the bucket names a folder of your own, and none that the platform uses.", field="data_sources"
        )
    return "/".join(names)


async def _list(uri: str, number: str, settings: Settings, store: Store, bucket: str) -> list[SourceFile]:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if not _path(uri).exists():
            raise Unavailable("A source is not there any more. Mount it, or register the sources anew.")
        return await asyncio.to_thread(_found_at, _place(uri, settings), number)
    if parts.scheme == "s3" and parts.netloc != bucket:
        raise InvalidInput(
            f"An S3 source must lie in the customer's own bucket, {bucket}. Copy the files there.", field="data_sources"
        )
    return await _objects(store, _prefix(parts.path), number)


def _found_at(place: Path, number: str) -> list[SourceFile]:
    return list(_walk(place, number)) if place.is_dir() else [_file(place.parent, place, number)]


async def _objects(store: Store, prefix: str, number: str) -> list[SourceFile]:
    files = []
    for key, size in sorted(await store.list(prefix + "/")):
        path = key.removeprefix(prefix + "/")
        files.append(SourceFile(path, size, number, _object_reader(store, key), _too_large(size)))
    return files


def _object_reader(store: Store, key: str) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        try:
            return await store.get(key)
        except NotFound:
            raise Unreadable("cannot_open", "The file was there and is gone. Put it there again.") from None

    return read


def _walk(root: Path, number: str) -> Iterator[SourceFile]:
    """Every entry below the folder that is not itself a folder, in no particular order; links are not followed out."""
    stack = [(root, 0)]
    while stack:
        folder, depth = stack.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            reason = "The folder cannot be opened. Give the platform's user the right to read it."
            yield _entry(root, folder, 0, number, Unreadable("folder_unreadable", reason))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if depth >= MAX_DEPTH:
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
    return SourceFile(shown or ".", size, number, _file_reader(target or path), problem)


def _file_reader(path: Path) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return await asyncio.to_thread(_read, path)

    return read


def _read(path: Path) -> bytes:
    """The file's bytes. The last name is not followed, so that a link put there since cannot lead elsewhere."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        reason = "The file cannot be opened. Give the platform's user the right to read it."
        raise Unreadable("cannot_open", reason) from None
    if problem := _too_large(len(data)):
        raise problem
    return data


def _too_large(size: int) -> Unreadable | None:
    if size <= MAX_FILE_BYTES:
        return None
    return Unreadable("too_large", f"The file has {size >> 20} MiB; {MAX_FILE_BYTES >> 20} MiB is the limit. Split it.")
