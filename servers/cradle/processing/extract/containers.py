"""Zip containers (DOCX, XLSX, ODS) opened within bounds that are checked before a byte is unpacked."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from servers.cradle.processing.extract.extractor import Damaged, Locked, Unreadable

MAX_ENTRIES = 20_000
MAX_UNPACKED = 2 * 2**30
MAX_RATIO = 400
RATIO_FROM = 64 * 2**20
MAX_XML = 512 * 2**20
MAX_HELD = 32 * 2**20
"""Bytes of XML that wait for an end of an element."""
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError, ValueError)


def check_zip(data: bytes) -> zipfile.ZipFile:
    """The archive, after its directory was checked: entries, declared sizes, ratio, overlaps.

    Raises:
        Unreadable: `damaged` or `zip_bomb`.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN:
        raise Damaged from None
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise Unreadable("zip_bomb", f"The file holds {len(entries)} parts; {MAX_ENTRIES} is the limit.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED or (unpacked > RATIO_FROM and unpacked > MAX_RATIO * len(data)):
        raise Unreadable("zip_bomb", "The file unpacks to far more than a document of its size; it was not opened.")
    if sum(entry.compress_size for entry in entries) > len(data):
        raise Unreadable("zip_bomb", "Parts of the file overlap; it was not opened.")
    return archive


def read_part(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo, limit: int = MAX_XML) -> bytes | None:
    """A part of the archive, by name or as it is listed, None where there is none; never more than `limit` bytes.

    Raises:
        Unreadable: `damaged`, `encrypted`, or `zip_bomb` where the part is longer than declared or than the limit.
    """
    try:
        entry = name if isinstance(name, zipfile.ZipInfo) else archive.getinfo(name)
    except KeyError:
        return None
    with _unpacking(entry), archive.open(entry) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Unreadable("zip_bomb", f"A part of the file is longer than {limit >> 20} MiB; it was not read.")
    return content


def part_blocks(archive: zipfile.ZipFile, name: str, size: int) -> Iterator[bytes]:
    """A part of the archive in blocks of `size` bytes, never more of it than its declared length.

    Raises:
        Unreadable: `damaged` or `encrypted`, at the point where the part breaks.
    """
    entry = archive.getinfo(name)
    with _unpacking(entry), archive.open(entry) as file:
        while block := file.read(size):
            yield block


def whole_blocks(archive: zipfile.ZipFile, name: str, size: int) -> Iterator[bytes]:
    """As `part_blocks`, up to where the part breaks: another reader judges the file."""
    with suppress(Unreadable):
        yield from part_blocks(archive, name, size)


def cut_behind(blocks: Iterable[bytes], *ends: bytes) -> Iterator[bytes]:
    """The same bytes in pieces that end behind one of `ends`, but the last; where none comes for long, anywhere."""
    held = b""
    for block in blocks:
        held += block
        cut = max(held.rfind(end) + len(end) if end in held else 0 for end in ends)
        if not cut and len(held) > MAX_HELD:
            cut = len(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    yield held


@contextmanager
def _unpacking(entry: zipfile.ZipInfo) -> Iterator[None]:
    if entry.flag_bits & 0x1:
        raise Locked
    try:
        yield
    except _BROKEN:
        raise Damaged from None
