"""Drawings of the old Office (MS-ODRAW): records that hold others, the store of pictures, the shapes that show them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.pictures import Picture

_ALL, _STORE, _DRAWING, _GROUP, _SHAPE = range(0xF000, 0xF005)
_ENTRY, _ID, _PROPERTIES = 0xF007, 0xF00A, 0xF00B
_METAFILES = (0xF01A, 0xF01B)
_BITMAPS = (0xF01D, 0xF01E, 0xF01F, 0xF029, 0xF02A)
_ENTRY_SIZE, _NAME_AT, _PLACE_AT = 36, 33, 28
_METAFILE_HEAD, _PACKING_AT, _DEFLATED = 34, 32, 0
_IS_STORED, _PROPERTY, _SHOWN = 0x4000, 0x3FFF, 0x0104  # fBid, opid, and pib
_OVERLAP = "Pictures of the file overlap; it was not read. Save it in the format of today's Office."
NOWHERE = 0xFFFFFFFF


class Record(NamedTuple):
    """A record: its kind, the 12 bits beside it, and where its content begins and ends."""

    kind: int
    instance: int
    start: int
    end: int


def records(data: bytes, at: int, end: int) -> Iterator[Record]:
    """The records that follow one another there; what is in them is their content. The last may be cut off."""
    while at + 8 <= end:
        bits, kind, size = struct.unpack_from("<HHI", data, at)
        yield Record(kind, bits >> 4, at + 8, min(at + 8 + size, end))
        at += 8 + size


def picture(data: bytes, record: Record) -> Picture | None:
    """The picture that a record is (OfficeArtBlip), or an entry of a store (OfficeArtFBSE) holds; None where none."""
    if record.kind == _ENTRY:
        start = record.start + _ENTRY_SIZE + (data[record.start + _NAME_AT] if _is_entry(record) else 0)
        inner = next(records(data, start, record.end), None)
        return picture(data, inner) if inner and inner.kind != _ENTRY else None
    at = record.start + (32 if record.instance % 2 else 16)  # one digest or two
    if record.kind in _BITMAPS:
        return Picture(data[at + 1 : record.end])
    if record.kind in _METAFILES and record.end - at > _METAFILE_HEAD:
        packed = data[at + _PACKING_AT] == _DEFLATED
        size = int.from_bytes(data[at : at + 4], "little")
        return Picture(data[at + _METAFILE_HEAD : record.end], size if packed else 0)
    return None


class Places:
    """A stream, each place of which is taken once: where pictures overlap, a small file holds endless ones."""

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self._taken: set[int] = set()
        self._left = len(stream)

    def take(self, start: int, end: int) -> bool:
        """Whether what stands there has not been taken yet.

        Raises:
            Unreadable: `zip_bomb` where places overlap.
        """
        if start in self._taken:
            return False
        self._taken.add(start)
        self._left -= end - start
        if self._left < 0:
            raise Unreadable("zip_bomb", _OVERLAP)
        return True


class Store:
    """The document's store of pictures (OfficeArtBStoreContainer), which shapes count from 1.

    Args:
        drawings: holds the store, and some of its pictures.
        stream: where the others stand.
    """

    def __init__(self, drawings: bytes, stream: bytes) -> None:
        self._drawings = drawings
        self._entries = _entries(drawings)
        self._places = Places(stream)
        self._given: set[int] = set()

    def picture(self, number: int) -> Picture | None:
        """A picture of the store, the first time that it is asked for."""
        if number in self._given or not 0 < number <= len(self._entries):
            return None
        self._given.add(number)
        entry = self._entries[number - 1]
        if found := picture(self._drawings, entry):
            return found
        at, stream = _place(self._drawings, entry), self._places.stream
        record = next(records(stream, at, len(stream)), None)
        return picture(stream, record) if record and self._places.take(at, record.end) else None


def _place(data: bytes, record: Record) -> int:
    """Where in another stream the picture of a store's entry stands, `NOWHERE` where it is not there."""
    if not _is_entry(record):
        return NOWHERE
    return struct.unpack_from("<I", data, record.start + _PLACE_AT)[0]


def _is_entry(record: Record) -> bool:
    return record.kind == _ENTRY and record.end - record.start >= _ENTRY_SIZE


def _entries(data: bytes) -> list[Record]:
    first = next(records(data, 0, len(data)), None)
    inside = records(data, first.start, first.end) if first and first.kind == _ALL else ()
    return [entry for each in inside if each.kind == _STORE for entry in records(data, each.start, each.end)]


def shapes(data: bytes) -> dict[int, list[int]]:
    """Id of a shape or group that stands in no other → numbers in the store of the pictures that it shows.

    The drawings (OfficeArtWordDrawing of MS-DOC) follow the store, each after a byte.
    """
    found: dict[int, list[int]] = {}
    first = next(records(data, 0, len(data)), None)
    at = first.end if first else len(data)
    while (drawing := next(records(data, at + 1, len(data)), None)) and drawing.kind == _DRAWING:
        for group in records(data, drawing.start, drawing.end):
            if group.kind == _GROUP:
                found |= dict(_shown(data, each) for each in records(data, group.start, group.end))
        at = drawing.end
    return found


def shown_in(drawing: bytes) -> list[int]:
    """The pictures of the store that a drawing (OfficeArtDgContainer) shows, in the order of its shapes."""
    first = next(records(drawing, 0, len(drawing)), None)
    inside = _flat(drawing, first.start, first.end) if first and first.kind == _DRAWING else ()
    return [number for each in inside if each.kind == _PROPERTIES for number in shown(drawing, each)]


def _shown(data: bytes, shape: Record) -> tuple[int, list[int]]:
    """The shape's id, of a group that of the first in it, which stands for the group; and its pictures."""
    ids: list[int] = []
    numbers: list[int] = []
    for each in _flat(data, shape.start, shape.end):
        if each.kind == _ID:
            ids.append(int.from_bytes(data[each.start : each.start + 4], "little"))
        elif each.kind == _PROPERTIES:
            numbers += shown(data, each)
    return (ids[0] if ids else 0), numbers


def _flat(data: bytes, at: int, end: int) -> Iterator[Record]:
    """The records there and in groups and shapes there, at any depth, in their order."""
    while at + 8 <= end:
        bits, kind, size = struct.unpack_from("<HHI", data, at)
        if kind in (_GROUP, _SHAPE):
            at += 8
            continue
        yield Record(kind, bits >> 4, at + 8, min(at + 8 + size, end))
        at += 8 + size


def shown(data: bytes, properties: Record) -> list[int]:
    """The pictures of the store that a shape's properties (OfficeArtFOPT) name."""
    table = data[properties.start : min(properties.end, properties.start + 6 * properties.instance)]
    pairs = struct.iter_unpack("<HI", table[: len(table) // 6 * 6])
    return [value for bits, value in pairs if bits & _IS_STORED and bits & _PROPERTY == _SHOWN]
