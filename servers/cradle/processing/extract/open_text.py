"""OpenDocument texts, presentations and drawings: what stands on them, straight from the XML.

Elements: OpenDocument 1.3, part 3: 5 and 6 (text), 9 (tables), 10 (shapes), 13 (forms), 16 (styles).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.detect import ODP, ODT
from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Locked, Unreadable
from servers.cradle.processing.extract.open_objects import embedded, is_encrypted, properties
from servers.cradle.processing.extract.open_shapes import (
    DRAW,
    FORM,
    HEADING,
    PARAGRAPH,
    TEXT,
    linked,
    number,
    pictures,
    said,
)
from servers.cradle.processing.extract.open_styles import Styles
from servers.cradle.processing.extract.pictures import chars_of, for_ocr
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import About, Block, Item

MAX_CELLS = 4_000_000
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_CLASS = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}class"
_NOTED = (f"{TEXT}note", f"{_OFFICE}annotation")
_NO_CONTENT = frozenset({"date-time", "footer", "header", "page-number", "page"})
_CELLS = frozenset({"table-cell", "covered-table-cell"})
_TITLE = "Title"  # the style's name in every language of LibreOffice


class OpenText:
    name = "opendocument"
    version = "7"
    media_types = frozenset(
        {
            *(ODT, f"{ODT}-template", f"{ODT}-master", ODP, f"{ODP}-template"),
            "application/vnd.oasis.opendocument.graphics",
            "application/vnd.oasis.opendocument.graphics-template",
        }
    )

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """A text in order, then its notes, comments, headers, footers, charts and what is embedded; each page of a
        presentation or drawing so. Deleted and hidden text is out. Where there is next to no text, pictures go to OCR.

        Raises:
            Unreadable: `damaged`, `encrypted`, or `zip_bomb` where cells are repeated to over `MAX_CELLS`.
        """
        archive = check_zip(file.data)
        if is_encrypted(archive):
            raise Locked
        content = opc.root(archive, "content.xml")
        body = None if content is None else next(content.iterfind(f"{_OFFICE}body/*"), None)
        if content is None or body is None:
            raise Unreadable("damaged", "The file has no content. Save it again in the program that made it.")
        pages = body.findall(f"{DRAW}page")
        title, dated = properties(archive)
        yield About(title=title, pages=len(pages), dated=dated)
        titles, styles = _titles(content), Styles()
        edges = list(opc.read_parts(archive, ["styles.xml"], lambda root: _edges(styles.shown(root))))
        styles.shown(content)
        if not pages:
            yield from _page(archive, body, _Reader(body, 0, titles), edges, file.depth, inner)
        for at, page in enumerate(pages, 1):
            yield from _page(archive, page, _Reader(page, at, titles), (), file.depth, inner)


def _page(
    archive: zipfile.ZipFile, page: Element, reader: _Reader, edges: Iterable[Item], depth: int, inner: Inner
) -> Iterator[Item]:
    charts, files = embedded(archive, linked(page, "object", "object-ole"), reader.page, depth, inner)
    chars = 0
    for item in chain(reader.all(page), reader.notes(), edges, charts):
        chars += chars_of(item)
        yield item
    yield from for_ocr(chars, opc.scans(archive, dict.fromkeys(pictures(page)), reader.page, depth, inner))
    yield from files


def _titles(content: Element) -> frozenset[str]:
    styles = content.iter(f"{_STYLE}style")
    made = (each.get(f"{_STYLE}name") for each in styles if each.get(f"{_STYLE}parent-style-name") == _TITLE)
    return frozenset({_TITLE, *made})


def _edges(styles: Element) -> Iterator[Block]:
    """What headers and footers say, each once."""
    edges = (each for master in styles.iter(f"{_STYLE}master-page") for each in master)
    named = (each for each in edges if local(each).startswith(("header", "footer")))
    yield from dict.fromkeys(block for each in named for block in _Reader(each, 0, frozenset()).all(each))


class _Fall(NamedTuple):
    """The text of a cell and over how many more rows it reaches."""

    text: str
    rows: int


class _Reader:
    """Reads what stands on one page, or in a text; its notes wait until the rest was read.

    Args:
        titles: the styles of paragraphs that are titles.
    """

    def __init__(self, top: Element, page: int, titles: frozenset[str]) -> None:
        self.page = page
        self._titles = titles
        self._controls = {each.get(f"{FORM}id", ""): _control(each) for each in top.iter(f"{FORM}*")}
        self._listed: list[str] = []
        self._lists = 0
        self._noted: list[Element] = []
        self._cells = 0

    def all(self, top: Element) -> Iterator[Block]:
        """The blocks in document order, which is their reading order; a page's title first."""
        yield from self._blocks(sorted(top, key=lambda each: each.get(_CLASS) != "title"))
        yield from self._closed()

    def notes(self) -> Iterator[Block]:
        """Footnotes, endnotes and comments that the blocks had, one block each."""
        for each in self._noted:
            if text := "\n".join(self._lines(each)):
                yield Block("paragraph", text, page=self.page)

    def _blocks(self, elements: Iterable[Element]) -> Iterator[Block]:
        for each in elements:
            if each.tag in _NOTED:
                self._noted.append(each)
            elif each.tag in {PARAGRAPH, HEADING}:
                yield from self._paragraph(each)
            elif each.tag == f"{TEXT}list":
                yield from self._list(each)
            elif each.tag == f"{_TABLE}table":
                yield from self._closed()
                yield from self._table(each)
            elif isinstance(each.tag, str) and each.tag.startswith(DRAW):
                yield from self._shape(each)
            elif each.tag != f"{TEXT}tracked-changes":
                yield from self._blocks(each)

    def _paragraph(self, paragraph: Element) -> Iterator[Block]:
        """The paragraph, then what is drawn in it; one of a list joins that."""
        text = said(paragraph).strip()
        level = int(paragraph.get(f"{TEXT}style-name") in self._titles)
        if paragraph.tag == HEADING:
            level = number(paragraph.get(f"{TEXT}outline-level")) or 1
        if text and self._lists and not level:
            self._listed.append("- " + squeezed(text))
        elif text:
            yield from self._closed()
            heading = Block("heading", squeezed(text), level=level, page=self.page)
            yield heading if level else Block("paragraph", text, page=self.page)
        yield from self._beside(paragraph)

    def _beside(self, paragraph: Element) -> Iterator[Block]:
        for each in paragraph:
            said_already = isinstance(each.tag, str) and each.tag.startswith(TEXT) and each.tag not in _NOTED
            yield from self._beside(each) if said_already else self._blocks([each])

    def _list(self, element: Element) -> Iterator[Block]:
        self._lists += 1
        yield from self._blocks(element)
        self._lists -= 1

    def _closed(self) -> Iterator[Block]:
        if self._listed:
            yield Block("list", "\n".join(self._listed), page=self.page)
            self._listed.clear()

    def _shape(self, shape: Element) -> Iterator[Block]:
        kind = shape.get(_CLASS)
        if kind in _NO_CONTENT:
            return
        yield from self._closed()
        if kind == "title":
            if text := squeezed(" ".join(self._lines(shape))):
                yield Block("heading", text, level=1, page=self.page)
            return
        if text := self._controls.get(shape.get(f"{DRAW}control", "")):
            yield Block("paragraph", text, page=self.page)
        around, self._lists = self._lists, 0
        yield from self._blocks(shape)
        yield from self._closed()
        self._lists = around

    def _table(self, table: Element) -> Iterator[Block]:
        """Cells that a merged cell covers hold its text going down, so that each row says what it is of."""
        rows: list[list[str]] = []
        header_rows = 0
        falling: dict[int, _Fall] = {}
        for is_header, row in _rows(table):
            cells = self._row(row, falling)
            times = number(row.get(f"{_TABLE}number-rows-repeated")) or 1
            self._count(len(cells) * times)
            if any(cells):
                rows += [cells] * times
                header_rows += times if is_header else 0
        if rows:
            yield table_block(rows, min(header_rows or (1 if len(rows) > 1 else 0), len(rows)), self.page)

    def _row(self, row: Element, falling: dict[int, _Fall]) -> list[str]:
        cells: list[str] = []
        for cell in row:
            if local(cell) not in _CELLS:
                continue
            text = squeezed(" ".join(self._lines(cell)))
            rows = number(cell.get(f"{_TABLE}number-rows-spanned")) - 1
            times = number(cell.get(f"{_TABLE}number-columns-repeated")) or 1
            self._count(times)
            for column in range(len(cells), len(cells) + times):
                fall = falling.pop(column, _Fall("", 0))
                if text or local(cell) == "table-cell":
                    fall = _Fall(text, rows)
                if fall.rows > 0:
                    falling[column] = _Fall(fall.text, fall.rows - 1)
                cells.append(fall.text)
        while cells and not cells[-1]:
            cells.pop()
        return cells

    def _count(self, cells: int) -> None:
        self._cells += cells
        if self._cells > MAX_CELLS:
            raise Unreadable("zip_bomb", f"The tables repeat cells to over {MAX_CELLS}; the file was not read.")

    def _lines(self, element: Element) -> Iterator[str]:
        """The paragraphs inside, without those of notes, which wait."""
        for each in element:
            if each.tag in _NOTED:
                self._noted.append(each)
                continue
            if each.tag in {PARAGRAPH, HEADING} and (text := said(each).strip()):
                yield text
            yield from self._lines(each)


def _rows(element: Element, *, header: bool = False) -> Iterator[tuple[bool, Element]]:
    """The rows of a table, and whether they are among its header rows."""
    for each in element:
        name = local(each)
        if name == "table-row":
            yield header, each
        elif name in {"table-rows", "table-header-rows", "table-row-group"}:
            yield from _rows(each, header=header or name == "table-header-rows")


def _control(control: Element) -> str:
    """What a field or button of a form is called and what was filled in."""
    texts = (control.get(f"{FORM}{name}", "") for name in ("label", "current-value"))
    return clean(" ".join(filter(None, texts))).strip()
