"""What calamine leaves out of an OpenDocument spreadsheet: the merged cells of each table, read from its XML."""

from __future__ import annotations

import zipfile
from collections import defaultdict

from servers.cradle.processing.extract.containers import read_part
from servers.cradle.processing.extract.detect import ODS
from servers.cradle.processing.extract.extractor import File, Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.xml import Element, drop, events, local

MAX_CELLS = 32_000_000
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_CELLS = ("table-cell", "covered-table-cell")


def merges_of(archive: zipfile.ZipFile) -> dict[str, list[Merge]]:
    """Table name → its merged cells. A table inside a cell is no table of its own.

    Raises:
        Unreadable: `damaged`, or `zip_bomb` where rows and columns are repeated to over `MAX_CELLS`; seen before the
            sheet is opened.
    """
    found: dict[str, list[Merge]] = defaultdict(list)
    content = read_part(archive, "content.xml") or b""
    tables: list[_Table] = []
    for event, element in events(File(content, "content.xml", ODS)):
        name = local(element)
        if event == "start" and name == "table":
            tables.append(_Table(element.get(f"{_TABLE}name") or ""))
        elif event == "end" and name == "table" and tables:
            table = tables.pop()
            if not tables:
                found[table.name] = table.merges
        elif event == "end" and len(tables) == 1:
            if name in _CELLS:
                tables[0].cell(element)
            elif name == "table-row":
                tables[0].end_row(element)
                drop(element)
    return found


class _Table:
    """Where the reading of a table is; rows and columns count from 0."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.merges: list[Merge] = []
        self._row = self._column = self._width = self._used = 0

    def cell(self, element: Element) -> None:
        rows, columns = _count(element, "number-rows-spanned"), _count(element, "number-columns-spanned")
        if rows > 1 or columns > 1:
            self.merges.append(Merge(self._row, self._column, self._row + rows - 1, self._column + columns - 1))
        self._column += _count(element, "number-columns-repeated")
        if len(element):
            self._used = self._column

    def end_row(self, element: Element) -> None:
        self._row += _count(element, "number-rows-repeated")
        self._width = max(self._width, self._used)
        if self._used and self._row * self._width > MAX_CELLS:
            reason = f"A table of the file repeats rows and columns to over {MAX_CELLS // 10**6} million cells."
            raise Unreadable("zip_bomb", f"{reason} Delete what is below and right of its content and save it again.")
        self._column = self._used = 0


def _count(element: Element, name: str) -> int:
    text = element.get(_TABLE + name) or "1"
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 10 else 1
