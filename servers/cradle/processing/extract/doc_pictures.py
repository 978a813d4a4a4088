"""Where the pictures of a Word file are (MS-DOC: PICFAndOfficeArtData, PlcfSpa): in the line at a mark of their own, or
in a drawing that is anchored at one."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from servers.cradle.processing.extract import office_art
from servers.cradle.processing.extract.doc_file import Word
from servers.cradle.processing.extract.office_art import Places, Store
from servers.cradle.processing.extract.pictures import Picture

_MARK = re.compile("[\x01\x08]")
_IN_LINE = "\x01"
_ANCHOR_SIZE = 26
_BODY, _BOXES = 0, 5
_HEAD, _OLD_HEAD, _NAMED, _SHAPES = 0x44, 0x3A, 0x66, (0x64, 0x66)  # PICF, that of Word 95, its kinds


def pictures(word: Word) -> Iterator[Picture]:
    """The pictures of the body, then of text boxes, in the order of the text. Those of deleted text are out.

    Raises:
        Unreadable: `zip_bomb` where their places overlap.
    """
    drawn = _Drawn(word)
    in_line = Places(word.data)
    stories = list(word.stories())
    for index in (_BODY, _BOXES):
        for mark in _MARK.finditer(word.text, *stories[index]):
            if mark.group() == _IN_LINE:
                yield from _in_line(in_line, word.characters(mark.start()).picture)
            elif index == _BODY:
                yield from drawn.at(mark.start())


def _in_line(places: Places, at: int) -> Iterator[Picture]:
    """The pictures at a place of the data stream (PICFAndOfficeArtData); before Word 97 a metafile stood there."""
    data = places.stream
    if at < 0 or at + _OLD_HEAD > len(data):
        return
    size, head, kind = struct.unpack_from("<IHH", data, at)
    end = min(at + size, len(data))
    if head not in (_HEAD, _OLD_HEAD) or not places.take(at, end):
        return
    start = at + head
    if kind not in _SHAPES:
        yield Picture(data[start:end])
        return
    if kind == _NAMED and start < end:
        start += 1 + data[start]
    for record in office_art.records(data, start, end):
        if found := office_art.picture(data, record):
            yield found


class _Drawn:
    """The drawings that are anchored in the body. Their pictures stand in the store or, mostly, in the main stream."""

    def __init__(self, word: Word) -> None:
        self._store = Store(word.form.drawings, word.stream)
        self._shapes = office_art.shapes(word.form.drawings)
        self._anchors = _anchors(word.form.anchors)

    def at(self, character: int) -> Iterator[Picture]:
        """The pictures of the shape that is anchored at a character; each of the store once."""
        for number in self._shapes.get(self._anchors.get(character, 0), ()):
            if found := self._store.picture(number):
                yield found


def _anchors(table: bytes) -> dict[int, int]:
    """Character of the body → id of the shape that is anchored there (PlcfSpa)."""
    count = max(len(table) - 4, 0) // (4 + _ANCHOR_SIZE)
    characters = struct.unpack_from(f"<{count}I", table) if count else ()
    ids = (struct.unpack_from("<I", table, 4 * (count + 1) + _ANCHOR_SIZE * each)[0] for each in range(count))
    return dict(zip(characters, ids, strict=True))
