"""Objects that other programmes put into a document (OLE, MS-OLEDS): a file as it was, such as a PDF or a drawing in a
sheet, or a document of the old Office in streams of its own."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from servers.cradle.processing.extract.archive import label
from servers.cradle.processing.extract.compound import BROKEN, Compound, opened
from servers.cradle.processing.extract.compound_file import Tree, compound
from servers.cradle.processing.extract.detect import OLE, unsupported
from servers.cradle.processing.extract.encoding import decode
from servers.cradle.processing.extract.extractor import Exhausted, File, Inner, Unreadable, inner_items
from servers.cradle.processing.extraction import Attachment, Item

NATIVE = "\x01Ole10Native"
_FILES = ("Package", "EmbeddedOdf", "package_stream", "CONTENTS")
"""Streams that are the file: of Office since 2007, of OpenDocument in Office, of LibreOffice, of Acrobat."""
_DOCUMENTS = frozenset({"worddocument", "workbook", "book", "powerpoint document"})
_EQUATION = "Equation Native"
_PACKED = re.compile(rb"\x02\0([^\0]{1,260})\0[^\0]{0,1024}\0..(..)", re.DOTALL)
_IS_EMBEDDED = b"\x03\0"
_UNREAD = "It is an object of another programme inside the file, which is not read. Send it as a file of its own."
_DAMAGED = "The object inside the file is damaged. Send it as a file of its own."


class Held(NamedTuple):
    """A file in an object, and its name where it has one."""

    data: bytes
    name: str = ""


class Ole:
    name = "ole"
    version = "1"
    media_types = frozenset({OLE})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The items of the file that the object holds.

        Raises:
            Unreadable: `damaged`, or `unsupported_format` where it holds none.
        """
        try:
            with opened(file.data) as container:
                held = _held(container, inner)
        except BROKEN:
            raise Unreadable("damaged", _DAMAGED) from None
        if held is None:
            raise unsupported(OLE)
        yield from inner_items(inner, held.data, held.name or file.name, file.depth + 1)


def embedded(container: Compound, place: Sequence[str], name: str, depth: int, inner: Inner) -> Iterator[Item]:
    """The items of the object in this storage of a file; where it cannot be read, an `Attachment` with why. Equations
    are none.

    Args:
        name: of the object, for one that has none of its own.
        depth: of the file.

    Raises:
        Exhausted: it is too much for the outermost file.
    """
    try:
        if container.has(*place, _EQUATION):
            return
        if (held := _held(container, inner, *place)) is None:
            raise Unreadable("unsupported_format", _UNREAD)
    except Exhausted:
        raise
    except Unreadable as error:
        yield Attachment(name, OLE, 0, error.code, error.reason)
    except BROKEN:
        yield Attachment(name, OLE, 0, "damaged", _DAMAGED)
    else:
        yield from inner_items(inner, held.data, held.name or name, depth + 1)


def _held(container: Compound, inner: Inner, *place: str) -> Held | None:
    """The file in the object that this storage is; none in the outermost one's own streams."""
    for stream in _FILES:
        if data := container.read(*place, stream):
            return Held(data)
    if native := container.read(*place, NATIVE):
        return unpacked(native[4:])
    names = {path[len(place)].lower() for path in container.below(*place)}
    if not place or not names & _DOCUMENTS:
        return None
    inner.require(container.size(*place))
    return Held(compound(_tree(container, *place)))


def _tree(container: Compound, *place: str) -> Tree:
    """What is in a storage."""
    tree: dict[str, Any] = {}
    for path in container.below(*place):
        if data := container.read(*path):
            folder = tree
            for name in path[len(place) : -1]:
                folder = folder.setdefault(name, {})
            folder[path[-1]] = data
    return tree


def unpacked(native: bytes) -> Held | None:
    """The file in what Windows' packager wrote; None where it only links to one. What it did not write is the file.

    Label, path, kind, a second path and the file, then the three names again in UTF-16.
    """
    names = _PACKED.match(native)
    if names is None:
        return Held(native)
    if names[2] != _IS_EMBEDDED:
        return None
    try:
        (length,) = struct.unpack_from("<I", native, names.end())
        at = names.end() + 4 + length
        (size,) = struct.unpack_from("<I", native, at)
    except struct.error:
        return Held(native)
    end = at + 4 + size
    return Held(native[at + 4 : end], _name(names[1], native[end:]))


def _name(short: bytes, names: bytes) -> str:
    """The file's name: the second of those in UTF-16, else the label."""
    try:
        (first,) = struct.unpack_from("<I", names)
        at = 4 + 2 * first
        (count,) = struct.unpack_from("<I", names, at)
        long = names[at + 4 : at + 4 + 2 * min(count, 260)].decode("utf-16-le", "replace")
    except struct.error:
        long = ""
    return label(re.split(r"[\\/]", long or decode(short))[-1])
