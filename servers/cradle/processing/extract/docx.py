"""DOCX: headings, paragraphs, lists, tables, notes, headers and footers, straight from the XML."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

from servers.cradle.processing.extract.containers import check_zip, read_part
from servers.cradle.processing.extract.detect import DOCX
from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extract.xml import Element, local, parse
from servers.cradle.processing.extraction import About, Block, Item

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = frozenset({"delText", "instrText", "Fallback", "pPr", "rPr", "del", "moveFrom", "pict", "tbl"})
_EXTRA = re.compile(r"^word/(footnotes|endnotes|header\d*|footer\d*|comments)\.xml$")


class Docx:
    name = "docx"
    version = "1"
    media_types = frozenset({DOCX})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The body in order, then notes, headers, footers and comments. Deleted text is out, inserted text is in."""
        del inner
        archive = check_zip(file.data)
        body = read_part(archive, "word/document.xml")
        if body is None:
            raise Unreadable("damaged", "The document has no text part. Save it again as DOCX.")
        yield About(title=title_of(archive))
        styles = _styles(archive)
        yield from _blocks(parse(body), styles)
        for name in sorted(filter(_EXTRA.match, archive.namelist())):
            if part := read_part(archive, name):
                yield from _blocks(parse(part), styles)


def title_of(archive: zipfile.ZipFile) -> str:
    core = read_part(archive, "docProps/core.xml", 2**20)
    if core is None:
        return ""
    try:
        root = parse(core)
    except Unreadable:
        return ""
    return next((squeezed(child.text or "") for child in root if local(child) == "title"), "")


def _styles(archive: zipfile.ZipFile) -> dict[str, int]:
    """Style id → heading level (1 is a title or the first level); names are the same in every language of Word."""
    content = read_part(archive, "word/styles.xml", 64 * 2**20)
    if content is None:
        return {}
    levels = {}
    for style in parse(content).iter(_W + "style"):
        name = style.find(_W + "name")
        label = (name.get(_W + "val") or "").lower() if name is not None else ""
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        match = re.fullmatch(r"heading (\d)", label)
        if match or label == "title":
            levels[style.get(_W + "styleId") or ""] = int(match.group(1)) if match else 1
        elif outline is not None and (value := outline.get(_W + "val") or "").isdigit() and int(value) < 9:
            levels[style.get(_W + "styleId") or ""] = int(value) + 1
    return levels


def _blocks(root: Element, styles: dict[str, int]) -> Iterator[Block]:
    listed: list[str] = []
    for element in _outermost(root):
        if local(element) == "tbl":
            yield from _closed(listed)
            yield from _table(element)
            continue
        text = _text(element)
        if not text.strip():
            continue
        level = _level(element, styles)
        if level == 0 and element.find(f"{_W}pPr/{_W}numPr") is not None:
            listed.append("- " + squeezed(text))
            continue
        yield from _closed(listed)
        if level:
            yield Block("heading", squeezed(text), level=level)
        else:
            yield Block("paragraph", text.strip("\n"))
        for box in element.iter(_W + "txbxContent"):
            if not any(local(above) == "Fallback" for above in box.iterancestors()):
                yield from _blocks(box, styles)
    yield from _closed(listed)


def _outermost(root: Element) -> Iterator[Element]:
    """Paragraphs and tables that stand in no other one, through content controls and the like."""
    stack = [iter(root)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif local(child) in ("p", "tbl"):
            yield child
        elif local(child) not in _LEFT_OUT:
            stack.append(iter(child))


def _closed(listed: list[str]) -> Iterator[Block]:
    if listed:
        yield Block("list", "\n".join(listed))
        listed.clear()


def _level(paragraph: Element, styles: dict[str, int]) -> int:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    outline = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
    if outline is not None and (value := outline.get(_W + "val") or "").isdigit() and int(value) < 9:
        return int(value) + 1
    return styles.get(style.get(_W + "val") or "", 0) if style is not None else 0


def _text(paragraph: Element) -> str:
    """The paragraph's own text, without that of text boxes anchored in it (they follow as blocks of their own)."""
    pieces: list[str] = []
    stack = [iter(paragraph)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        name = local(node)
        if name == "t":
            pieces.append(node.text or "")
        elif name == "tab":
            pieces.append("\t")
        elif name in ("br", "cr"):
            pieces.append("\n")
        elif name == "noBreakHyphen":
            pieces.append("-")
        elif name not in _LEFT_OUT and name != "txbxContent":
            stack.append(iter(node))
    return clean("".join(pieces))


def _table(table: Element) -> Iterator[Block]:
    rows, header_rows = [], 0
    for row in table.findall(_W + "tr"):
        cells = [text for cell in _cells(row) for text in _cell(cell)]
        if row.find(f"{_W}trPr/{_W}tblHeader") is not None and header_rows == len(rows):
            header_rows += 1
        if any(cells):
            rows.append(cells)
    if rows:
        yield table_block(rows, min(header_rows or (1 if len(rows) > 1 else 0), len(rows)))


def _cells(row: Element) -> Iterator[Element]:
    for child in row:
        if local(child) == "tc":
            yield child
        elif local(child) == "sdt":
            yield from child.iter(_W + "tc")


def _cell(cell: Element) -> list[str]:
    """The cell's text, and empty cells for the columns it spans; nested tables are part of the text."""
    text = " ".join(filter(None, (squeezed(_text(paragraph)) for paragraph in cell.iter(_W + "p"))))
    span = cell.find(f"{_W}tcPr/{_W}gridSpan")
    width = (span.get(_W + "val") or "1") if span is not None else "1"
    return [text, *[""] * (min(int(width), 100) - 1 if width.isdigit() else 0)]
