"""What a cell of an XLS file shows beside its number, as `number_formats` reads it of XLSX.

Records and cells of BIFF8: MS-XLS 2.1.4 and 2.4; older files have none of it read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from servers.cradle.processing.extract.compound import BROKEN, opened
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.number_formats import BUILT_IN, Format, Shown, format_of

BIFF8 = 0x0600
_BEGIN, _END, _SHEET, _FORMAT, _STYLE, _PASSWORD = 0x0809, 0x000A, 0x0085, 0x041E, 0x00E0, 0x002F
_CELLS = frozenset({0x0203, 0x027E, 0x0006})  # number, number in four bytes, formula
_MANY = 0x00BD  # numbers side by side
_HEAD, _CELL, _PLACE = struct.Struct("<HH"), struct.Struct("<HHH"), struct.Struct("<HH")
_NUMBER_BYTES = 6


class XlsFormats:
    """The formats of a workbook.

    Args:
        stream: of the compound file, `Workbook`.
    """

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._sheets: dict[str, int] = {}
        codes, styles = dict(BUILT_IN), list[str]()
        for kind, at, size in self._records(0):
            if kind == _PASSWORD:
                break
            if kind == _SHEET:
                self._sheets.setdefault(self._text(at + 6, "<B"), struct.unpack_from("<I", stream, at)[0])
            elif kind == _FORMAT:
                codes[str(struct.unpack_from("<H", stream, at)[0])] = self._text(at + 2, "<H")
            elif kind == _STYLE and size >= 4:
                styles.append(str(struct.unpack_from("<H", stream, at + 2)[0]))
        adds = {each: format_of(codes.get(each, "")) for each in set(styles)}
        self._formats: dict[int, Format] = {at: found for at, each in enumerate(styles) if (found := adds[each])}

    def marks(self, sheet: str) -> Iterator[Shown]:
        """The rows with cells that show more than their number, in the file's order; up to where it breaks."""
        found = Shown(-1, {})
        for row, column, style in self._cells(self._sheets.get(sheet, -1)) if self._formats else ():
            if format := self._formats.get(style):
                if row != found.row:
                    yield found
                    found = Shown(row, {})
                found.cells[column] = format
        yield found

    def _cells(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Row, column and style of each number."""
        for kind, place, size in self._records(at):
            if kind in _CELLS and size >= _CELL.size:
                yield _CELL.unpack_from(self._stream, place)
            elif kind == _MANY and size >= _PLACE.size:
                row, column = _PLACE.unpack_from(self._stream, place)
                for each in range((size - _PLACE.size - 2) // _NUMBER_BYTES):
                    (style,) = struct.unpack_from("<H", self._stream, place + _PLACE.size + each * _NUMBER_BYTES)
                    yield row, column + each, style

    def _records(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Kind, place and size of each record from a beginning to its end, those of what is drawn on it left out."""
        depth = 0
        while 0 <= at <= len(self._stream) - _HEAD.size:
            kind, size = _HEAD.unpack_from(self._stream, at)
            at += _HEAD.size
            if at + size > len(self._stream):
                return
            if kind == _BEGIN:
                depth += 1
            elif kind == _END:
                depth -= 1
            if depth <= 0:
                return
            if depth == 1:
                yield kind, at, size
            at += size

    def _text(self, at: int, count: str) -> str:
        (length,) = struct.unpack_from(count, self._stream, at)
        at += struct.calcsize(count)
        wide = self._stream[at] & 1
        raw = self._stream[at + 1 : at + 1 + length * (1 + wide)]
        return clean(raw.decode("utf-16-le" if wide else "latin-1", "replace"))


def xls_formats(data: bytes) -> XlsFormats | None:
    """Those of a file; None where it is older than BIFF8 or damaged, which calamine judges."""
    try:
        with opened(data) as container:
            stream = container.read("Workbook")
        kind, _, version = struct.unpack_from("<HHH", stream)
        return XlsFormats(stream) if (kind, version) == (_BEGIN, BIFF8) else None
    except BROKEN:
        return None
