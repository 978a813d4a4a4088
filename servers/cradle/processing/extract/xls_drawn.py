"""What is drawn on a sheet of an XLS file (BIFF8): texts of boxes and other shapes, notes of cells, values of charts.

Records: MS-XLS 2.4 (Obj, TxO, Continue, Note, SeriesText). A text follows its object, in records that continue it, each
of which says anew whether its signs have one byte or two.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.sheet_notes import place
from servers.cradle.processing.extract.xls_records import BEGIN, CONTINUED, Record, passing, records, signs, text

_OBJECT, _TEXT, _NOTE, _DRAWING = 0x005D, 0x01B6, 0x001C, 0x00EC
_NAME, _NUMBER, _LABEL = 0x100D, 0x0203, 0x0204
_IS_CHART = b"\x20\0"  # what the record says that begins a sheet
_COMMON = 0x15  # the first piece of an object, which has its number
_CELLS = passing(0x00FD, 0x027E, _NUMBER, 0x0006, 0x00BD, 0x00BE, 0x0201, 0x0208)


@dataclass(slots=True)
class Drawn:
    """Texts in the order of their shapes, words and values of each chart, notes with what the sheet calls their cells,
    and the drawing of it all (MS-ODRAW)."""

    boxes: list[str] = field(default_factory=list)
    charts: list[list[str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    drawing: bytes = b""


def drawn(stream: bytes, begin: int) -> Drawn:
    """What is drawn on the sheet that begins there, up to where the stream breaks; a sheet that is a chart has it."""
    reading = _Reading(stream)
    is_chart = begin >= 0 and stream[begin + 6 : begin + 8] == _IS_CHART
    for record in records(stream, begin, None if is_chart else _CELLS):
        if is_chart:
            reading.of_chart(record)
        elif record.depth == 1:
            reading.of_sheet(record)
        elif record.depth == 2:
            reading.of_chart(record)
    return reading.found()


class _Reading:
    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._object = -1
        self._left = 0  # signs of the last text that are still to come
        self._texts: list[tuple[int, list[bytes]]] = []
        self._notes: list[tuple[str, int]] = []
        self._charts: list[list[str]] = []
        self._drawing = bytearray()
        self._last = 0

    def of_sheet(self, record: Record) -> None:
        kind, at, size, _ = record
        if kind == CONTINUED:
            self._go_on(at, size)
            return
        self._left, self._last = 0, kind
        if kind == _OBJECT and size >= 8:
            first, _, _, number = struct.unpack_from("<HHHH", self._stream, at)
            self._object = number if first == _COMMON else -1
        elif kind == _TEXT and size >= 12:
            (self._left,) = struct.unpack_from("<H", self._stream, at + 10)
            self._texts.append((self._object, []))
        elif kind == _DRAWING:
            self._drawing += self._stream[at : at + size]
        elif kind == _NOTE and size >= 8:
            row, column, _, number = struct.unpack_from("<HHHH", self._stream, at)
            self._notes.append((place(row, column), number))

    def _go_on(self, at: int, size: int) -> None:
        if self._last == _DRAWING:
            self._drawing += self._stream[at : at + size]
        if self._left and size:
            wide = self._stream[at] & 1
            length = min(self._left, (size - 1) // (1 + wide))
            self._texts[-1][1].append(signs(self._stream[at + 1 : at + 1 + length * (1 + wide)], wide))
            self._left -= length

    def of_chart(self, record: Record) -> None:
        """Names and cached values, in their order, as XLSX tells them too."""
        kind, at, size, _ = record
        content = self._stream[at : at + size]
        if kind == BEGIN:
            self._charts.append([])
        elif kind == _NAME and size >= 4:
            self._charts[-1].append(squeezed(text(content, 2, "<B")))
        elif kind == _LABEL and size >= 9:
            self._charts[-1].append(squeezed(text(content, 6, "<H")))
        elif kind == _NUMBER and size >= 14:
            (value,) = struct.unpack_from("<d", content, 6)
            self._charts[-1].append(f"{value:.15g}" if math.isfinite(value) else "")

    def found(self) -> Drawn:
        """What was read so far. A text that no note names is one of a shape."""
        texts = [(number, clean(b"".join(raw).decode("utf-16-le", "replace")).strip()) for number, raw in self._texts]
        named, said = {number for _, number in self._notes}, dict(texts)
        return Drawn(
            [text for number, text in texts if text and number not in named],
            [words for each in self._charts if (words := [word for word in each if word])],
            [(cell, said.get(number, "")) for cell, number in self._notes],
            bytes(self._drawing),
        )
