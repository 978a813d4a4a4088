"""What calamine leaves out of an OpenDocument spreadsheet, read from its XML: the merged cells of each table, and what
its numbers show beside them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache

from servers.cradle.processing.extract.containers import read_part
from servers.cradle.processing.extract.detect import ODS
from servers.cradle.processing.extract.extractor import File, Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import MAX_COLUMNS, Format, Shown, beside
from servers.cradle.processing.extract.xml import Element, drop, events, local

MAX_CELLS = 32_000_000
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_PARAGRAPH = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}p"
_CELLS = ("table-cell", "covered-table-cell")
_SHOWN = re.compile(r"[-+−(\s]*(\D{0,12}?)[-+−\s]*([0-9](?:[0-9.,'’\s]*[0-9])?)\s*(\D{0,14}?)[)\s]*")
MAX_TEXT, MAX_DECIMALS = 64, 12


def tables_of(archive: zipfile.ZipFile) -> dict[str, OpenTable]:
    """The tables by their names; the first of a name. A table inside a cell is no table of its own.

    Raises:
        Unreadable: `damaged`, or `zip_bomb` where rows and columns are repeated to over `MAX_CELLS`; seen before the
            sheet is opened.
    """
    found: dict[str, OpenTable] = {}
    content = read_part(archive, "content.xml") or b""
    tables: list[OpenTable] = []
    for event, element in events(File(content, "content.xml", ODS)):
        name = local(element)
        if event == "start" and name == "table":
            tables.append(OpenTable(element.get(f"{_TABLE}name") or ""))
        elif event == "end" and name == "table" and tables:
            table = tables.pop()
            if not tables:
                found.setdefault(table.name, table)
        elif event == "end" and len(tables) == 1:
            if name in _CELLS:
                tables[0].cell(element)
            elif name == "table-row":
                tables[0].end_row(element)
                drop(element)
    return found


class OpenTable:
    """A table as far as it is read; rows and columns count from 0."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.merges: list[Merge] = []
        self._marked: list[tuple[int, int, dict[int, Format]]] = []
        self._cells: dict[int, Format] = {}
        self._row = self._column = self._width = self._used = 0

    def marks(self) -> Iterator[Shown]:
        """The rows with cells that show more than their number."""
        for first, rows, cells in self._marked:
            for row in range(first, first + rows):
                yield Shown(row, cells)

    def cell(self, element: Element) -> None:
        rows, columns = _count(element, "number-rows-spanned"), _count(element, "number-columns-spanned")
        if rows > 1 or columns > 1:
            self.merges.append(Merge(self._row, self._column, self._row + rows - 1, self._column + columns - 1))
        repeated = _count(element, "number-columns-repeated")
        if len(element) and (format := _format_of(element)):
            for column in range(self._column, min(self._column + repeated, MAX_COLUMNS)):
                self._cells[column] = format
        self._column += repeated
        if len(element):
            self._used = self._column

    def end_row(self, element: Element) -> None:
        rows = _count(element, "number-rows-repeated")
        if self._cells:
            self._marked.append((self._row, rows, self._cells))
            self._cells = {}
        self._row += rows
        self._width = max(self._width, self._used)
        if self._used and self._row * self._width > MAX_CELLS:
            reason = f"A table of the file repeats rows and columns to over {MAX_CELLS // 10**6} million cells."
            raise Unreadable("zip_bomb", f"{reason} Delete what is below and right of its content and save it again.")
        self._column = self._used = 0


def _format_of(element: Element) -> Format | None:
    """What a cell's text has beside the cell's number; None where it is not that number and one thing beside it."""
    kind, value = element.get(f"{_OFFICE}value-type"), element.get(f"{_OFFICE}value") or ""
    paragraphs = element.findall(_PARAGRAPH)
    if kind not in {"float", "currency", "percentage"} or len(paragraphs) != 1:
        return None
    text = "".join(map(str, paragraphs[0].itertext()))
    parts = _SHOWN.fullmatch(text) if len(text) <= MAX_TEXT else None
    if parts is None or not (parts[1] or parts[3]):
        return None
    digits = re.sub(r"\D", "", parts[2])
    format = beside(parts[1], parts[3], percent=kind == "percentage")
    return format if format and _shows(digits, value, 100 if format.percent else 1) else None


@lru_cache(maxsize=1024)
def _shows(digits: str, value: str, times: int) -> bool:
    """Whether these are the number's digits, rounded somewhere: 12 is not what 12,000 shows in thousands."""
    try:
        number = abs(float(value)) * times
    except ValueError:
        return False
    bare = digits.lstrip("0")
    return any(f"{number:.{places}f}".replace(".", "").lstrip("0") == bare for places in range(MAX_DECIMALS))


def _count(element: Element, name: str) -> int:
    text = element.get(_TABLE + name) or "1"
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 10 else 1
