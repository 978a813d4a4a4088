"""Large sheets of an XLSX file, read a piece at a time, so that memory does not grow with their rows.

calamine holds the sheet that it reads. A large one is therefore cut into pieces, and calamine reads each as the sheet
of a small workbook with the styles and the shared strings of the file: a cell is what calamine makes of it, dates,
escapes and faults too, and no rule of the format is written here a second time. A first pass finds the used columns
and the merged cells, which a sheet tells only behind its rows; the second gives the rows.

Held are the file as it came, one piece, and the shared strings: packed, and once in each of two open workbooks.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import repeat

import python_calamine as calamine

from servers.cradle.processing.extract.containers import part_blocks, read_part
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.sheet_pieces import Unusual, pieces

LARGE = 16 * 2**20  # bytes of XML, of which calamine makes 1.8 times as many in memory
PIECE = 2**20
_COMMON = (".rels", "workbook.xml", "workbook.xml.rels", "styles.xml", "sharedstrings.xml")
_STUB = b'<worksheet><sheetData><row r="%d"><c><v>1</v></c></row></sheetData></worksheet>'

_Range = tuple[tuple[int, int], tuple[int, int]]


def sizes(common: int) -> tuple[int, int]:
    """Bytes of a piece, and of how many on a sheet is large, for `common` bytes that are read again with each piece.

    Pieces of half of them keep the time in bounds; with eight pieces to a sheet memory is saved.
    """
    piece = max(PIECE, common // 2)
    return piece, max(LARGE, 8 * piece)


class LargeSheets:
    """Those of a workbook's sheets that are large; calamine was able to open it. `names`: of all of its sheets.

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`.
    """

    def __init__(self, archive: zipfile.ZipFile, names: Iterable[str]) -> None:
        self._archive = archive
        self._common = b""
        self._path_of: dict[str, str] = {}
        entries = archive.infolist()
        common = {entry.filename: entry.file_size for entry in entries if _name(entry) in _COMMON}
        self._piece, large = sizes(sum(common.values()))
        paths = [each.filename for each in entries if each.file_size > large and each.filename not in common]
        if paths:
            self._common = _packed({path: read_part(archive, path) or b"" for path in common}, zipfile.ZIP_DEFLATED)
            self._find(paths, names)

    def _find(self, paths: list[str], names: Iterable[str]) -> None:
        """Which sheet is which part. calamine tells it: it finds a name's stub, and where no part is, none."""
        stubs = self._book({path: _STUB % row for row, path in enumerate(paths, 1)})
        for name in names:
            with suppress(calamine.CalamineError):
                start = stubs.get_sheet_by_name(name).start
                self._path_of |= {name: paths[start[0]]} if start else {}

    def get(self, name: str) -> LargeSheet | None:
        """The sheet where it is large; None too where it is unusual or damaged: calamine then judges it as a whole."""
        path = self._path_of.get(name)
        if path is None:
            return None
        try:
            return LargeSheet(lambda: self._pieces(path, name))
        except (Unusual, Unreadable, calamine.CalamineError):
            return None

    def _pieces(self, path: str, name: str) -> Iterator[calamine.CalamineSheet]:
        for piece in pieces(part_blocks(self._archive, path, self._piece)):
            yield self._book({path: piece}).get_sheet_by_name(name)

    def _book(self, sheets: dict[str, bytes]) -> calamine.CalamineWorkbook:
        return calamine.CalamineWorkbook.from_filelike(io.BytesIO(_packed(sheets, base=self._common)))


class LargeSheet:
    """A sheet that is read twice in pieces and shows what calamine's shows: merged cells, where it starts, its rows.

    Raises:
        Unusual: it has no cells, or its pieces are not in the order of their rows.
    """

    def __init__(self, read: Callable[[], Iterator[calamine.CalamineSheet]]) -> None:
        self._read = read
        self.merged_cell_ranges: list[_Range] | None = None
        used: list[_Range] = []
        for piece in read():
            self.merged_cell_ranges = piece.merged_cell_ranges  # the last piece has them
            if piece.start and piece.end:
                if used and piece.start[0] <= used[-1][1][0]:
                    raise Unusual
                used.append((piece.start, piece.end))
        if not used:
            raise Unusual
        self.start = (used[0][0][0], min(left for (_, left), _ in used))
        self._right = max(right for _, (_, right) in used)

    def iter_rows(self) -> Iterator[list]:
        """Rows from the sheet's first one on, empty ones too; columns from the first used one to the last."""
        row, left = 0, self.start[1]
        for piece in self._read():
            if piece.start and piece.end:
                yield from repeat([""] * (self._right - left + 1), piece.start[0] - row)
                before, after = [""] * (piece.start[1] - left), [""] * (self._right - piece.end[1])
                yield from (before + cells + after for cells in piece.to_python())
                row = piece.end[0] + 1


def _name(entry: zipfile.ZipInfo) -> str:
    return re.split(r"[\\/]", entry.filename)[-1].lower()


def _packed(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED, base: bytes = b"") -> bytes:
    """The archive `base` with more parts."""
    out = io.BytesIO(base)
    with zipfile.ZipFile(out, "a", method, compresslevel=1) as archive:
        for path, content in parts.items():
            archive.writestr(path, content)
    return out.getvalue()
