"""DOCX: headings, paragraphs, lists, tables, notes, headers and footers, straight from the XML."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from itertools import chain, takewhile

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.detect import DOCX
from servers.cradle.processing.extract.encoding import clean, raised, squeezed, whole
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.pictures import chars_of, for_ocr
from servers.cradle.processing.extract.story import MAX_COLUMNS, NEAR, Story
from servers.cradle.processing.extract.symbol_font import is_symbol, signs
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import About, Block, Item

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = frozenset({"delText", "instrText", "Fallback", "pPr", "rPr", "del", "moveFrom", "pict", "tbl"})
_EXTRA = ("footnotes", "endnotes", "header", "footer", "comments")
_USUAL = re.compile(r"^word/(footnotes|endnotes|header\d*|footer\d*|comments)\.xml$")
_LISTED = -1
_MAX_BASES = 20
_GONE = frozenset({"del", "moveFrom", "Fallback"})


class Docx:
    name = "docx"
    version = "11"
    media_types = frozenset({DOCX})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The body in order, then notes, headers, footers, comments, charts and what is embedded. Deleted text is out,
        inserted text is in. A document with next to no text gives its pictures to OCR."""
        archive = check_zip(file.data)
        main = opc.main(archive, "word/document.xml")
        body = opc.root(archive, main)
        if body is None:
            raise Unreadable("damaged", "The document has no text part. Save it again as DOCX.")
        title, dated = opc.properties(archive)
        yield About(title=title, dated=dated)
        parts = opc.related(archive, main)
        styles = _styles(archive, parts)
        chars = 0
        for item in chain(_blocks(body, styles), _beside(archive, parts, styles)):
            chars += chars_of(item)
            yield item
        yield from for_ocr(chars, opc.scans(archive, opc.of_kind(parts, "image"), 0, file.depth, inner))
        yield from opc.files(archive, parts, file.depth, inner, {main})


def _beside(archive: zipfile.ZipFile, parts: opc.Related, styles: dict[str, int]) -> Iterator[Item]:
    extra = opc.of_kind(parts, *_EXTRA) or sorted(filter(_USUAL.match, archive.namelist()))
    yield from opc.read_parts(archive, extra, lambda root: _blocks(root, styles))
    yield from opc.read_parts(archive, opc.of_kind(parts, *opc.SAYING), opc.values)


def _styles(archive: zipfile.ZipFile, parts: opc.Related) -> dict[str, int]:
    """Style id → heading level (1 is a title or the first level), `_LISTED`, or 0; a style has what the one has that it
    is based on. Names are the same in every language of Word."""
    named = next(iter(opc.of_kind(parts, "styles")), "word/styles.xml")
    root = opc.root(archive, named, 64 * 2**20)
    own: dict[str, int] = {}
    above: dict[str, str] = {}
    for style in () if root is None else root.iter(_W + "style"):
        name = style.get(_W + "styleId") or ""
        above[name] = _said(style.find(_W + "basedOn"))
        if (level := _own_level(style)) is not None:
            own[name] = level
    return {name: next((own[each] for each in _chain(name, above) if each in own), 0) for name in above}


def _own_level(style: Element) -> int | None:
    """What a style says itself, None where nothing."""
    label = _said(style.find(_W + "name")).lower()
    if match := re.fullmatch(r"heading (\d)", label):
        return int(match.group(1))
    if label == "title":
        return 1
    outline = style.find(f"{_W}pPr/{_W}outlineLvl")
    if outline is not None and (value := _number(outline)) is not None:
        return value + 1 if value < 9 else 0
    number = style.find(f"{_W}pPr/{_W}numPr")
    return None if number is None else _LISTED * _is_listed(number)


def _chain(name: str, above: dict[str, str]) -> Iterator[str]:
    """A style and those that it is based on."""
    for _ in range(_MAX_BASES):
        yield name
        name = above.get(name, "")


def _is_listed(number: Element) -> bool:
    """Whether a paragraph's numbering (numPr) is one; 0 takes away that of its style."""
    return _said(number.find(_W + "numId")) != "0"


def _said(element: Element | None) -> str:
    return "" if element is None else element.get(_W + "val") or ""


def _blocks(root: Element, styles: dict[str, int]) -> Iterator[Item]:
    blocks: list[Item] = []
    story = Story(blocks)
    for element in _outermost(root, "p", "tbl"):
        if local(element) == "tbl":
            story.close()
            blocks += _framed(element, styles) if _is_frame(element) else _table(element)
        else:
            level = _level(element, styles)
            story.paragraph(_text(element), max(level, 0), listed=level == _LISTED)
            for box in _boxes(element):
                story.close()
                blocks += _blocks(box, styles)
        yield from blocks
        blocks.clear()
    story.close()
    yield from blocks


def _framed(table: Element, styles: dict[str, int]) -> Iterator[Item]:
    for row in _outermost(table, "tr"):
        for cell in _outermost(row, "tc"):
            yield from _blocks(cell, styles)


def _boxes(paragraph: Element) -> Iterator[Element]:
    """The outermost text boxes that are anchored in a paragraph, each once."""
    for box in paragraph.iter(_W + "txbxContent"):
        if not _above(box, paragraph) & {*_GONE, "txbxContent"}:
            yield box


def _outermost(root: Element, *names: str) -> Iterator[Element]:
    """The elements of these names that stand in no other one, through content controls and the like."""
    stack = [iter(root)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif local(child) in names:
            yield child
        elif local(child) not in _LEFT_OUT:
            stack.append(iter(child))


def _above(element: Element, top: Element) -> set[str]:
    """The names of what stands around an element, below `top`."""
    return {local(each) for each in takewhile(lambda each: each is not top, element.iterancestors())}


def _number(element: Element) -> int | None:
    """What an element's `val` says, at most four digits."""
    value = _said(element)
    return int(value) if re.fullmatch("[0-9]{1,4}", value) else None


def _level(paragraph: Element, styles: dict[str, int]) -> int:
    """As a style's (`_styles`): what the paragraph says itself, else its style."""
    outline = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
    if outline is not None and (value := _number(outline)) is not None and value < 9:
        return value + 1
    level = styles.get(_said(paragraph.find(f"{_W}pPr/{_W}pStyle")), 0)
    number = paragraph.find(f"{_W}pPr/{_W}numPr")
    return level if number is None or level > 0 else _LISTED * _is_listed(number)


def _text(paragraph: Element) -> str:
    """The paragraph's own text, without what is hidden and without that of text boxes anchored in it (they follow as
    blocks of their own)."""
    pieces: list[str] = []
    stack = [iter(paragraph)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        name = local(node)
        if name == "t":
            pieces.append(_shown(node))
        elif name in ("tab", "ptab"):
            pieces.append("\t")
        elif name in ("den", "sup"):  # of a formula: below its line, and above
            pieces.append("/" if name == "den" else "^")
            stack.append(iter(node))
        elif name == "ffData":
            pieces.append(_chosen(node))
        elif name in ("br", "cr"):
            pieces.append("\n")
        elif name == "noBreakHyphen":
            pieces.append("-")
        elif name == "sym":
            pieces.append(_sign(node))
        elif name not in _LEFT_OUT and name != "txbxContent":
            stack.append(iter(node))
    return clean(whole("".join(pieces)))


def _shown(text: Element) -> str:
    """A text as its run shows it: nothing where it is hidden (w:vanish), above the line where it is superscript."""
    said, run = text.text or "", text.getparent().find(_W + "rPr")
    if run is None:
        return said
    if _is_on(run.find(_W + "vanish")):
        return ""
    return raised(said) if _said(run.find(_W + "vertAlign")) == "superscript" else said


def _sign(symbol: Element) -> str:
    """A character of a font of signs, which stands at U+F020 and up; what it looks like where the font is Symbol."""
    code = symbol.get(_W + "char") or ""
    sign = chr(int(code, 16)) if re.fullmatch("[0-9A-Fa-f]{4}", code) else ""
    return signs(sign) if is_symbol(symbol.get(_W + "font") or "") else sign


def _chosen(field: Element) -> str:
    """What is chosen in a field of Word's older forms: no text of its paragraph says it."""
    if (box := field.find(_W + "checkBox")) is not None:
        state = box.find(_W + "checked")
        return "☒" if _is_on(box.find(_W + "default") if state is None else state) else "☐"
    chosen = field.find(f"{_W}ddList/{_W}result")
    if chosen is None:
        chosen = field.find(f"{_W}ddList/{_W}default")
    entries = field.findall(f"{_W}ddList/{_W}listEntry")
    place = 0 if chosen is None else _number(chosen) or 0
    return _said(entries[place]) if place < len(entries) else ""


def _is_on(switch: Element | None) -> bool:
    """Whether a property is there and not switched off."""
    return switch is not None and _said(switch) not in ("0", "false", "off")


def _is_frame(table: Element) -> bool:
    """Whether a table of one column only stands around others: what is in it is no cell."""
    rows = [list(_outermost(row, "tc")) for row in _outermost(table, "tr")]
    return all(len(row) <= 1 for row in rows) and any(
        next(cell.iter(_W + "tbl"), None) is not None for row in rows for cell in row
    )


def _before(row: Element) -> tuple[int, bool]:
    """How many columns the row leaves out before its first cell, and whether they are wide enough to be seen."""
    before, width = (row.find(f"{_W}trPr/{_W}{name}") for name in ("gridBefore", "wBefore"))
    count = 0 if before is None else min(_number(before) or 0, MAX_COLUMNS)
    told = "" if width is None or width.get(_W + "type") not in (None, "dxa") else width.get(_W + "w") or ""
    return count, not (re.fullmatch("[0-9]{1,4}", told) and int(told) <= NEAR)


def _table(table: Element) -> Iterator[Block]:
    """Cells that a merged cell covers hold its text going down, so that each row says what it is of."""
    rows: list[list[str]] = []
    header_rows = 0
    above: list[str] = []
    outermost = list(_outermost(table, "tr"))
    before = list(map(_before, outermost))
    least = min((count if seen else 0 for count, seen in before), default=0)
    for row, (count, seen) in zip(outermost, before, strict=True):
        cells, hidden = [""] * (count - least if seen else 0), 0 if seen else count
        for cell in _outermost(row, "tc"):
            text, *spanned = _cell(cell)
            covered = not text and _is_covered(cell) and len(cells) < len(above)
            cells += [above[len(cells)] if covered else text, *spanned]
            cells += [""] * hidden  # the first cell's edge was dragged by hand: it is in the column below the others
            hidden = 0
        above = cells
        if _is_on(row.find(f"{_W}trPr/{_W}tblHeader")) and header_rows == len(rows):
            header_rows += 1
        if any(cells):
            rows.append(cells)
    if rows:
        yield table_block(rows, min(header_rows or (1 if len(rows) > 1 else 0), len(rows)))


def _is_covered(cell: Element) -> bool:
    """Whether the cell belongs to the one above it."""
    merge = cell.find(f"{_W}tcPr/{_W}vMerge")
    return merge is not None and _said(merge) != "restart"


def _cell(cell: Element) -> list[str]:
    """The cell's text, and empty cells for the columns it spans; nested tables are part of the text."""
    paragraphs = (each for each in cell.iter(_W + "p") if not _above(each, cell) & _GONE)
    text = " ".join(filter(None, (squeezed(_text(each)) for each in paragraphs)))
    span = cell.find(f"{_W}tcPr/{_W}gridSpan")
    width = (_number(span) or 1) if span is not None else 1
    return [text, *[""] * (min(width, 100) - 1)]
