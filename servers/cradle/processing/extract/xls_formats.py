"""What a cell of an XLS file shows beside its number, as `number_formats` reads it of XLSX, and of its text above the
line.

Records and cells of BIFF8: MS-XLS 2.4; older files have none of it read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from servers.cradle.processing.extract.compound import BROKEN, opened
from servers.cradle.processing.extract.number_formats import BUILT_IN, Shown, shown_in_rows, shows
from servers.cradle.processing.extract.xls_records import BEGIN, BIFF8, CONTINUED, passing, records, text
from servers.cradle.processing.extract.xls_strings import is_superscript, raised_strings

_SHEET, _FORMAT, _STYLE, _PASSWORD, _PICTURES = 0x0085, 0x041E, 0x00E0, 0x002F, 0x00EB
_FONT, _STRINGS = 0x0031, 0x00FC
_CELLS = frozenset({0x0203, 0x027E, 0x0006})  # number, number in four bytes, formula
_MANY = 0x00BD  # numbers side by side
_TEXT = 0x00FD  # one that sheets share
_NO_CELLS = (0x0201, 0x00BE, 0x0208)  # empty cells, rows
_NO_NUMBERS, _NO_NUMBERS_OR_TEXTS = passing(_TEXT, *_NO_CELLS), passing(*_NO_CELLS)
_CELL, _PLACE, _TEXT_CELL = struct.Struct("<HHH"), struct.Struct("<HH"), struct.Struct("<HHHI")
_NUMBER_BYTES = 6


class XlsFormats:
    """The formats of a workbook, where its sheets begin, and its store of pictures as it is drawn (MS-ODRAW).

    Args:
        stream: of the compound file, `Workbook`.
    """

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self._sheets: dict[str, int] = {}
        pictures, last = bytearray(), 0
        codes, styles = dict(BUILT_IN), list[str]()
        fonts, strings = list[bool](), list[bytes]()
        for kind, at, size, depth in records(stream, 0):
            if kind == _PASSWORD:
                break
            if depth > 1:
                continue
            last = last if kind == CONTINUED else kind
            if last == _PICTURES:
                pictures += stream[at : at + size]
            elif last == _STRINGS:
                strings.append(stream[at : at + size])
            if kind == _SHEET:
                self._sheets.setdefault(text(stream, at + 6, "<B"), struct.unpack_from("<I", stream, at)[0])
            elif kind == _FORMAT:
                codes[str(struct.unpack_from("<H", stream, at)[0])] = text(stream, at + 2, "<H")
            elif kind == _STYLE and size >= 4:
                styles.append(str(struct.unpack_from("<H", stream, at + 2)[0]))
            elif kind == _FONT:
                fonts.append(is_superscript(stream[at : at + size]))
        self.pictures = bytes(pictures)
        self._raised = raised_strings(strings, {place for place, above in enumerate(fonts) if above})
        self._formats = shows([codes.get(each, "") for each in styles]) | {
            ~number: string for number, string in self._raised.items()
        }

    def begins(self, sheet: str) -> int:
        """Where a sheet begins in the stream; -1 where it is not known."""
        return self._sheets.get(sheet, -1)

    def marks(self, sheet: str) -> Iterator[Shown]:
        """The rows with cells that show more than their value, in the file's order; up to where it breaks."""
        return shown_in_rows(self._cells(self.begins(sheet)) if self._formats else (), self._formats)

    def _cells(self, begin: int) -> Iterator[tuple[int, int, int]]:
        """Row, column and style of each number; where texts have pieces above the line, of those too, and for a style
        the text's number, below 0."""
        passed = _NO_NUMBERS_OR_TEXTS if self._raised else _NO_NUMBERS
        for kind, at, size, depth in records(self.stream, begin, passed):
            if depth > 1:
                continue
            if kind == _TEXT and size >= _TEXT_CELL.size:
                row, column, _, number = _TEXT_CELL.unpack_from(self.stream, at)
                yield row, column, ~number
            elif kind in _CELLS and size >= _CELL.size:
                yield _CELL.unpack_from(self.stream, at)
            elif kind == _MANY and size >= _PLACE.size:
                row, column = _PLACE.unpack_from(self.stream, at)
                for each in range((size - _PLACE.size - 2) // _NUMBER_BYTES):
                    (style,) = struct.unpack_from("<H", self.stream, at + _PLACE.size + each * _NUMBER_BYTES)
                    yield row, column + each, style


def xls_formats(data: bytes) -> XlsFormats | None:
    """Those of a file; None where it is older than BIFF8 or damaged, which calamine judges."""
    try:
        with opened(data) as container:
            stream = container.read("Workbook")
        kind, _, version = struct.unpack_from("<HHH", stream)
        return XlsFormats(stream) if (kind, version) == (BEGIN, BIFF8) else None
    except BROKEN:
        return None
