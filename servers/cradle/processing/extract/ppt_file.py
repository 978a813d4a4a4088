"""What a PowerPoint 97-2003 file holds (MS-PPT): its slides in order, their shapes and texts, and embedded objects.

The stream is a log of edits. Each names the directory of the records that it wrote anew (2.3.2); the newest one of a
record holds. Sections of MS-PPT are named where something is read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from servers.cradle.processing.extract import office_art
from servers.cradle.processing.extract.compound import Compound
from servers.cradle.processing.extract.extractor import Locked, Unreadable
from servers.cradle.processing.extract.office_art import Record, Store, records

DAMAGED = "The presentation is cut off or damaged. Open it in PowerPoint and save it as PPTX."
_LONG = "An object inside the presentation is far longer than the file; it was not read."
_DOCUMENT, _SLIDE, _NOTES, _SLIDE_ATOM = 0x3E8, 0x3EE, 0x3F0, 0x3EF
_DRAWINGS, _DRAWING, _PERSIST, _LIST, _DIRECTORY, _EDIT = 0x40B, 0x40C, 0x3F3, 0xFF0, 0x1772, 0xFF5
_HEADER, _CHARS, _BYTES, _OUTLINE, _PLACEHOLDER = 0xF9F, 0xFA0, 0xFA8, 0xF9E, 0xBC3
_FIELDS = frozenset({0xFD8, *range(0xFF7, 0xFFB)})  # number, date, header and footer of the slide, a * in the text
_OBJECTS, _EMBEDDED, _OBJECT, _STORAGE = 0x409, 0xFCC, 0xFC3, 0x1011
_TAGS = (0x1388, 0x138A, 0x138B, 0x2EE0)  # from a slide's programmable tags down to a comment (2.5.17, 2.5.24)
_STRING, _COMMENT = 0xFBA, 1
_ALL, _GROUP, _SHAPE = 0xF002, 0xF003, 0xF004
_PROPERTIES, _MORE, _ANCHOR, _TEXT_BOX, _DATA = 0xF00B, 0xF122, 0xF00F, 0xF00D, 0xF011
_TABLE = 0x39F
_TOKEN_ENCRYPTED = 0xF3D1C4DF


class Text(NamedTuple):
    """A text as it is stored, paragraphs ending with a carriage return and fields a zero; and its kind (TextTypeEnum,
    2.13.33): 0 and 6 are titles."""

    kind: int
    text: str


class Shape(NamedTuple):
    """A shape that is no group: `box` is left, top, right and bottom in its group, `placeholder` what the layout says
    that it is (PlaceholderEnum, 2.13.22), `pictures` count in the store."""

    texts: tuple[Text, ...] = ()
    placeholder: int = 0
    box: tuple[int, ...] = ()
    pictures: tuple[int, ...] = ()


class Slide(NamedTuple):
    """A slide's shapes in their order, those of a table together; its comments, and the shapes of its notes."""

    shapes: list[Shape | list[Shape]]
    comments: list[str]
    notes: list[Shape | list[Shape]]


class Presentation:
    """The file's slides.

    Raises:
        Unreadable: `damaged` or `encrypted`; struct.error and IndexError where it is cut off.
    """

    def __init__(self, container: Compound) -> None:
        self._stream = container.read("PowerPoint Document")
        self._places, document = _places(self._stream, container.read("Current User"))
        self._document = self._at(document, _DOCUMENT)
        drawings = next(self._inside(self._document, _DRAWINGS), None)
        held = self._stream[drawings.start : drawings.end] if drawings else b""
        self.store = Store(held, container.read("Pictures"))
        self._listed = {each.instance: each for each in self._inside(self._document, _LIST)}

    def slides(self) -> Iterator[Slide]:
        """The slides in their order; each record of the file is read once."""
        notes = {number: place for place, number, _ in self._list(2)}
        for place, _, texts in self._list(0):
            record = self._at(place, _SLIDE)
            number = self._word(record, _SLIDE_ATOM, 16)
            noted = [self._at(notes.pop(number), _NOTES)] if number in notes else []
            shapes = list(self._shapes(record, texts))
            yield Slide(
                [*shapes, *(Shape((each,)) for each in texts if each.text)],
                list(self._comments(record)),
                [shape for each in noted for shape in self._shapes(each, [])],
            )

    def objects(self) -> Iterator[tuple[int, Record]]:
        """The embedded objects: the length of each, unpacked, and where it is stored (2.10.34)."""
        for held in self._inside(self._document, _OBJECTS):
            for embedded in self._inside(held, _EMBEDDED):
                record = self._at(self._word(embedded, _OBJECT, 16), _STORAGE)
                size = struct.unpack_from("<I", self._stream, record.start)[0] if record.instance else 0
                yield size or record.end - record.start, record

    def unpacked(self, size: int, record: Record) -> bytes:
        """An object's own compound file.

        Raises:
            Unreadable: `damaged`, or `zip_bomb` where it is longer than it says.
        """
        if not record.instance:
            return self._stream[record.start : record.end]
        packing = zlib.decompressobj()
        try:
            data = packing.decompress(self._stream[record.start + 4 : record.end], size)
        except zlib.error:
            raise Unreadable("damaged", DAMAGED) from None
        if packing.unconsumed_tail:
            raise Unreadable("zip_bomb", _LONG)
        return data

    def _at(self, number: int, kind: int) -> Record:
        """The record that stands under a number of the directory, once."""
        record = next(records(self._stream, self._places.pop(number, len(self._stream)), len(self._stream)), None)
        if record is None or record.kind != kind:
            raise Unreadable("damaged", DAMAGED)
        return record

    def _word(self, record: Record, kind: int, at: int) -> int:
        """A number in the first record of a kind inside another one."""
        atom = next(self._inside(record, kind), None)
        if atom is None:
            raise Unreadable("damaged", DAMAGED)
        return struct.unpack_from("<I", self._stream, atom.start + at)[0]

    def _inside(self, record: Record, *kinds: int) -> Iterator[Record]:
        return (each for each in records(self._stream, record.start, record.end) if each.kind in kinds)

    def _list(self, kind: int) -> Iterator[tuple[int, int, list[Text]]]:
        """The slides or notes that the document lists (2.4.14.3): number in the directory, own number, texts."""
        if kind not in self._listed:
            return
        place, number, texts = -1, 0, list[Text]()
        for each in records(self._stream, self._listed[kind].start, self._listed[kind].end):
            if each.kind == _PERSIST:
                if place >= 0:
                    yield place, number, texts
                place, texts = struct.unpack_from("<I", self._stream, each.start)[0], []
                number = struct.unpack_from("<I", self._stream, each.start + 12)[0]
            else:
                self._take(each, texts)
        if place >= 0:
            yield place, number, texts

    def _take(self, record: Record, texts: list[Text]) -> None:
        """A header begins a text, its characters follow (2.9.41 to 2.9.43)."""
        if record.kind == _HEADER:
            texts.append(Text(struct.unpack_from("<I", self._stream, record.start)[0], ""))
        elif record.kind in (_CHARS, _BYTES) and texts:
            data = self._stream[record.start : record.end]
            text = data.decode("latin-1") if record.kind == _BYTES else data.decode("utf-16-le", "replace")
            texts[-1] = Text(texts[-1].kind, text)
        elif record.kind in _FIELDS and texts:
            at = struct.unpack_from("<I", self._stream, record.start)[0]
            before, after = texts[-1].text[:at], texts[-1].text[at + 1 :]
            texts[-1] = Text(texts[-1].kind, f"{before}\0{after}")

    def _shapes(self, record: Record, texts: list[Text]) -> Iterator[Shape | list[Shape]]:
        """What a slide's drawing holds (2.5.13). `texts` are those of its placeholders, which are taken out of it."""
        for drawing in self._inside(record, _DRAWING):
            for every in self._inside(drawing, _ALL):
                for group in self._inside(every, _GROUP):
                    yield from self._group(group, texts)

    def _group(self, group: Record, texts: list[Text]) -> Iterator[Shape | list[Shape]]:
        members = list(self._inside(group, _GROUP, _SHAPE))
        shapes = (
            found
            for each in members
            for found in (self._group(each, texts) if each.kind == _GROUP else [self._shape(each, texts)])
        )
        if members and members[0].kind == _SHAPE and self._is_table(members[0]):
            yield [each for each in shapes if isinstance(each, Shape)]
        else:
            yield from shapes

    def _is_table(self, shape: Record) -> bool:
        tables = (self._stream[each.start : each.start + 6 * each.instance] for each in self._inside(shape, _MORE))
        pairs = (pair for table in tables for pair in struct.iter_unpack("<HI", table[: len(table) // 6 * 6]))
        return any(kind & 0x3FFF == _TABLE and value & 1 for kind, value in pairs)

    def _shape(self, shape: Record, texts: list[Text]) -> Shape:
        found, placeholder, box, pictures = list[Text](), 0, (), list[int]()
        for each in records(self._stream, shape.start, shape.end):
            if each.kind == _ANCHOR:
                box = struct.unpack_from("<4i", self._stream, each.start)
            elif each.kind == _PROPERTIES:
                pictures += office_art.shown(self._stream, each)
            elif each.kind == _DATA:
                for atom in self._inside(each, _PLACEHOLDER):
                    placeholder = self._stream[atom.start + 4]
            elif each.kind == _TEXT_BOX:
                found += self._texts(each, texts)
        return Shape(tuple(found), placeholder, box, tuple(pictures))

    def _texts(self, box: Record, texts: list[Text]) -> list[Text]:
        """The texts of a shape (2.9.76): its own, or one of those that the document lists for the slide."""
        found: list[Text] = []
        for each in records(self._stream, box.start, box.end):
            if each.kind == _OUTLINE:
                index = struct.unpack_from("<I", self._stream, each.start)[0]
                found.append(texts[index])
                texts[index] = Text(found[-1].kind, "")
            else:
                self._take(each, found)
        return found

    def _comments(self, record: Record) -> Iterator[str]:
        for each in self._inside(record, *_TAGS):
            yield from self._comments(each)
        for each in self._inside(record, _STRING):
            if each.instance == _COMMENT:
                yield self._stream[each.start : each.end].decode("utf-16-le", "replace")


def _places(stream: bytes, user: bytes) -> tuple[dict[int, int], int]:
    """Number of a record → its place in the stream, by the newest edit; and the document's number (2.3.3, 2.3.4).

    Raises:
        Unreadable: `damaged` or `encrypted`.
    """
    token, at = struct.unpack_from("<II", user, 12)
    places: dict[int, int] = {}
    document = -1
    while True:
        edit = next(records(stream, at, len(stream)), None)
        if edit is None or edit.kind != _EDIT:
            raise Unreadable("damaged", DAMAGED)
        if token == _TOKEN_ENCRYPTED or edit.end - edit.start >= 32:
            raise Locked
        earlier, directory, number = struct.unpack_from("<III", stream, edit.start + 8)
        document = number if document < 0 else document
        _fill(places, stream, directory)
        if not 0 < earlier < at:
            return places, document
        at = earlier


def _fill(places: dict[int, int], stream: bytes, directory: int) -> None:
    record = next(records(stream, directory, len(stream)), None)
    at, end = (record.start, record.end) if record and record.kind == _DIRECTORY else (0, 0)
    while at + 4 <= end:
        entry = struct.unpack_from("<I", stream, at)[0]
        first, count = entry & 0xFFFFF, min(entry >> 20, (end - at - 4) // 4)
        for index, place in enumerate(struct.unpack_from(f"<{count}I", stream, at + 4)):
            places.setdefault(first + index, place)
        at += 4 + 4 * count
