"""ZIP and TAR archives (plain, gzip, bzip2, xz) and single compressed files: each file inside by its own reader.

Nothing is written anywhere, so an entry's name is a label and never a path. How much may come out of one file, at any
depth, is bounded by `Inner`; a compressed stream is never unpacked beyond that.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from msgspec.structs import replace

from servers.cradle.processing.extract.containers import check_zip, read_part
from servers.cradle.processing.extract.detect import BMECAT, BZIP2, GZIP, TAR, XZ, ZIP, is_tar
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import Exhausted, File, Inner, Unreadable, inner_items
from servers.cradle.processing.extraction import About, Attachment, Item

MAX_ENTRY = 512 * 2**20
MAX_ENTRIES = 20_000
_LONG = f"The file unpacks to over {MAX_ENTRY >> 20} MiB. Split it."
_DAMAGED = "The archive is cut off or damaged. Pack it again."
_SPECIAL = "It is a link, device or pipe inside an archive; it is not followed."
_BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
_OPENERS: dict[str, Callable[[bytes], Any]] = {
    GZIP: lambda data: gzip.GzipFile(fileobj=io.BytesIO(data)),
    BZIP2: lambda data: bz2.BZ2File(io.BytesIO(data)),
    XZ: lambda data: lzma.LZMAFile(io.BytesIO(data)),  # noqa: SIM115  its reader closes it
}


class Archive:
    name = "archive"
    version = "4"
    media_types = frozenset({ZIP, TAR, GZIP, BZIP2, XZ})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The items of each file inside, in the archive's order; one that cannot be read is an `Attachment` with why.
        The archive is as old as the BMEcat catalogue in it, where it holds one.

        Raises:
            Unreadable: `damaged`, `zip_bomb`.
        """
        catalogues, dated = 0, ""
        for item in _items(file, inner):
            if isinstance(item, Attachment) and item.media_type == BMECAT:
                catalogues += 1
            if isinstance(item, About):
                dated = item.dated or dated
                yield replace(item, dated="")
            else:
                yield item
        if catalogues == 1:
            yield About(dated=dated)


def _items(file: File, inner: Inner) -> Iterator[Item]:
    if file.media_type == ZIP:
        yield from _zip(file, inner)
    elif file.media_type == TAR:
        yield from _tar(io.BytesIO(file.data), file.depth, inner)
    else:
        yield from _compressed(file, inner)


def _zip(file: File, inner: Inner) -> Iterator[Item]:
    archive = check_zip(file.data)
    for entry in archive.infolist():
        if entry.filename.endswith("/"):
            continue
        name = label(entry.filename)
        if (entry.external_attr >> 28) == 0xA:  # a symbolic link by its Unix mode
            yield Attachment(name, "", entry.file_size, "not_a_file", _SPECIAL)
            continue
        try:
            inner.require(entry.file_size)
            data = read_part(archive, entry, min(MAX_ENTRY, entry.file_size)) or b""
        except Exhausted:
            raise
        except Unreadable as error:
            yield Attachment(name, "", entry.file_size, error.code, error.reason)
        else:
            yield from inner_items(inner, data, name, file.depth + 1)


def _tar(stream: IO[bytes], depth: int, inner: Inner) -> Iterator[Item]:
    """Reads forward only, so that a compressed archive is unpacked once and never as a whole."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, entry in enumerate(archive):
                if count >= MAX_ENTRIES:
                    raise Unreadable("zip_bomb", f"The archive holds over {MAX_ENTRIES} files. Split it.")
                if not entry.isdir():
                    yield from _tar_entry(archive, entry, depth, inner)
    except _BROKEN:
        raise Unreadable("damaged", _DAMAGED) from None


def _tar_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, depth: int, inner: Inner) -> Iterator[Item]:
    name = label(entry.name)
    if not entry.isfile():
        yield Attachment(name, "", 0, "not_a_file", _SPECIAL)
        return
    if entry.size > MAX_ENTRY:
        yield Attachment(name, "", entry.size, "too_large", _LONG)
        return
    inner.require(entry.size)
    opened = archive.extractfile(entry)
    data = opened.read() if opened is not None else b""
    if len(data) < entry.size:
        raise Unreadable("damaged", _DAMAGED)
    yield from inner_items(inner, data, name, depth + 1)


def _compressed(file: File, inner: Inner) -> Iterator[Item]:
    try:
        with _OPENERS[file.media_type](file.data) as stream:
            head = stream.read(tarfile.BLOCKSIZE)
            rest = _Bounded(stream, head, inner.left)
            if is_tar(head):
                yield from _tar(rest, file.depth, inner)  # pyright: ignore[reportArgumentType]
                return
            data = _whole(rest)
    except _BROKEN:
        raise Unreadable("damaged", _DAMAGED) from None
    name = label(file.name.rpartition("/")[2])
    yield from inner(data, name.rpartition(".")[0] or name, file.depth + 1)


def _whole(stream: _Bounded) -> bytes:
    """All of the stream, held once while it grows."""
    held = bytearray()
    while piece := stream.read(2**20):
        held += piece
        if len(held) > MAX_ENTRY:
            raise Unreadable("too_large", _LONG)
    return bytes(held)


class _Bounded(io.RawIOBase):
    """A stream with its first bytes put back, which ends the reading of the file at `left` bytes."""

    def __init__(self, stream: IO[bytes], head: bytes, left: int) -> None:
        self._stream, self._head, self._left = stream, head, left

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        data, self._head = self._head[:wanted], self._head[wanted:]
        if len(data) < wanted:
            data += self._stream.read(wanted - len(data))
        self._left -= len(data)
        if self._left < 0:
            raise Exhausted
        return data


def label(name: str) -> str:
    """An entry's name as it may be shown and stored."""
    return squeezed(name)[-200:] or "unnamed"
