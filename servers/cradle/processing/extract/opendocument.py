"""What calamine leaves out of an OpenDocument spreadsheet, read from its XML: the merged cells of each table, what its
numbers show beside them, text boxes, charts, notes and embedded files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import read_part
from servers.cradle.processing.extract.detect import ODS
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import MAX_COLUMNS, Cell, Shown, beside, padded
from servers.cradle.processing.extract.open_objects import embedded, properties
from servers.cradle.processing.extract.open_shapes import (
    ANNOTATION,
    PARAGRAPH,
    boxes,
    inside,
    labelled,
    objects,
    paragraphs,
    pictures,
    shapes,
)
from servers.cradle.processing.extract.open_styles import STYLE, Styles
from servers.cradle.processing.extract.sheet_notes import notes, place
from servers.cradle.processing.extract.xml import Element, drop, events, local
from servers.cradle.processing.extraction import Block, Item

MAX_CELLS = 32_000_000
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_CELLS = ("table-cell", "covered-table-cell")
_NUMBERS = frozenset({"float", "currency", "percentage"})
_SHOWN = re.compile(r"[-+−(\s]*(\D{0,12}?)[-+−\s]*([0-9](?:[0-9.,'’\s]*[0-9])?)\s*(\D{0,14}?)[)\s]*")
MAX_TEXT, MAX_DECIMALS = 64, 12


class OpenSheets:
    """What a file's sheets hold beside what calamine reads.

    Args:
        depth: of the file; `inner` reads files that are embedded in it.

    Raises:
        Unreadable: as `tables_of`.
    """

    def __init__(self, archive: zipfile.ZipFile, depth: int, inner: Inner) -> None:
        self._archive, self._depth, self._inner = archive, depth, inner
        self.dated = properties(archive)[1]
        self._tables = {clean(name): table for name, table in tables_of(archive).items()}

    def readable(self, data: bytes) -> bytes:
        """The file as it came."""
        return data

    def merges(self, sheet: str) -> list[Merge]:
        """The merged cells of a sheet."""
        return self._tables[sheet].merges if sheet in self._tables else []

    def marks(self, sheet: str) -> Iterator[Shown] | None:
        """The rows with cells that show something else than their value."""
        return self._tables[sheet].marks() if sheet in self._tables else None

    def items(self, sheet: str, page: int) -> Iterator[Item]:
        """Text boxes and other shapes with text, charts, notes and embedded files."""
        if table := self._tables.get(sheet):
            yield from (Block("paragraph", each, page=page) for each in table.boxes)
            charts, files = embedded(self._archive, table.objects, page, self._depth, self._inner)
            yield from charts
            yield from notes(table.notes, page)
            yield from files

    def pictures(self, sheet: str, page: int) -> Iterator[Item]:
        """Scans of the pictures on a sheet."""
        if table := self._tables.get(sheet):
            yield from opc.scans(self._archive, dict.fromkeys(table.pictures), page, self._depth, self._inner)


def tables_of(archive: zipfile.ZipFile) -> dict[str, OpenTable]:
    """The tables by their names; the first of a name. A table inside a cell is no table of its own.

    Raises:
        Unreadable: `damaged`, or `zip_bomb` where rows and columns are repeated to over `MAX_CELLS`; seen before the
            sheet is opened.
    """
    found: dict[str, OpenTable] = {}
    content = read_part(archive, "content.xml") or b""
    tables: list[OpenTable] = []
    styles = Styles()
    for event, element in events(File(content, "content.xml", ODS)):
        name = local(element)
        if event == "start" and name == "table":
            tables.append(OpenTable(element.get(f"{_TABLE}name") or "", styles))
        elif event == "end" and element.tag == STYLE:
            styles.learn(element)
        elif event == "end" and name == "table" and tables:
            table = tables.pop()
            if not tables:
                found.setdefault(table.name, table)
        elif event == "end" and len(tables) == 1:
            if name in _CELLS:
                tables[0].cell(element)
            elif name == "shapes":
                tables[0].draw(element)
            elif name == "forms":
                tables[0].labels |= labelled(element)
            elif name == "table-row":
                tables[0].end_row(element)
                drop(element)
    return found


class OpenTable:
    """A table as far as it is read; rows and columns count from 0. `objects` are the names of what is embedded,
    `pictures` those of pictures."""

    def __init__(self, name: str, styles: Styles) -> None:
        self.name, self._styles = name, styles
        self.merges: list[Merge] = []
        self.boxes: list[str] = []
        self.objects: list[str] = []
        self.pictures: list[str] = []
        self.labels: dict[str, str] = {}
        self.notes: list[tuple[str, str]] = []
        self._marked: list[tuple[int, int, dict[int, Cell]]] = []
        self._cells: dict[int, Cell] = {}
        self._row = self._column = self._width = self._used = 0

    def marks(self) -> Iterator[Shown]:
        """The rows with cells that show something else than their value."""
        for first, rows, cells in self._marked:
            for row in range(first, first + rows):
                yield Shown(row, cells)

    def draw(self, element: Element) -> None:
        """Adds what is drawn on the table or in one of its cells."""
        self.boxes += boxes(element, self.labels)
        self.objects += objects(element)
        self.pictures += pictures(element)

    def cell(self, element: Element) -> None:
        rows, columns = _count(element, "number-rows-spanned"), _count(element, "number-columns-spanned")
        if rows > 1 or columns > 1:
            self.merges.append(Merge(self._row, self._column, self._row + rows - 1, self._column + columns - 1))
        repeated = _count(element, "number-columns-repeated")
        if len(element) and (shown := self._shown(element)) is not None:
            for column in range(self._column, min(self._column + repeated, MAX_COLUMNS)):
                self._cells[column] = shown
        self._column += repeated
        if len(element):
            self._used = self._column

    def _shown(self, element: Element) -> Cell | None:
        """What a cell shows that calamine does not read; what else the cell holds is added to the table."""
        kind, text = element.get(f"{_OFFICE}value-type"), None
        if len(element) > 1 or element[0].tag != PARAGRAPH:
            for note in element.iterchildren(ANNOTATION):
                self.notes.append((place(self._row, self._column), inside(note)))
            if shapes(element):
                self.draw(element)
                text = clean(paragraphs(element)).strip()  # calamine takes the shape's text for the cell's
        if kind in _NUMBERS:
            return _format_of(element, kind)
        if self._styles.show(element):
            text = clean(paragraphs(element)).strip()
        return text if kind == "string" and element.get(f"{_OFFICE}string-value") is None else None

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


def _format_of(element: Element, kind: str) -> Cell | None:
    """What a number's cell shows: the number with leading zeros, or one thing beside it; None where it is neither."""
    found = element.findall(PARAGRAPH)
    if len(found) != 1:
        return None
    text, value = "".join(map(str, found[0].itertext())), element.get(f"{_OFFICE}value") or ""
    if text.startswith("0") and kind == "float" and padded(value, len(text)) == text != value:
        return text
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
