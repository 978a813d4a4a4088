"""HTML: headings, paragraphs, lists and tables; scripts, styles and hidden parts are left out.

Of a page with scripts hidden parts are read: people see them once a tab or a question is opened. In mail none runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from servers.cradle.processing.extract.encoding import decode, encoding_of, raised, squeezed, whole
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.html_styles import Sheets
from servers.cradle.processing.extract.product_table import names_columns
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import About, Block, Item

_SKIPPED = frozenset({"script", "style", "template", "noscript", "svg", "head", "iframe", "object", "canvas"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "center", "dd", "details", "dialog", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol",
    "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_APART = frozenset({"button", "legend", "optgroup", "option", "select", "textarea"})
_LATIN = frozenset({"iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1", "us-ascii", "ascii"})
_MARKED = frozenset({"utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"})
_WINDOWS = {code: bytes((code,)).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
_HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|mso-hide\s*:\s*all)", re.IGNORECASE)
_Spans = dict[int, tuple[int, str]]  # column → how many rows below the cell still covers, and what they are of
MAX_DEPTH = 200
MAX_ROWSPAN, MAX_COLSPAN = 1000, 100
MAX_CARRIED = 200  # columns, and characters of a cell, that are repeated in the rows which the cell covers


class Html:
    name = "html"
    version = "9"
    media_types = frozenset({"text/html"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Title and language, then blocks in document order."""
        del inner
        yield from read_html(file.data)


def read_html(data: bytes | str) -> Iterator[Item]:
    """The items of an HTML document given as bytes (encoding found from BOM, meta or content) or text.

    Raises:
        Unreadable: `too_deep` where elements nest beyond `MAX_DEPTH`.
    """
    from bs4 import BeautifulSoup
    from bs4.element import Comment, Doctype, Tag

    soup = BeautifulSoup(_text(data) if isinstance(data, bytes) else data, "lxml")
    root = soup.find("html")
    title = squeezed(whole(soup.title.get_text())) if soup.title else ""
    language = str(root.get("lang") or "")[:35] if root is not None else ""
    yield About(title=title, language=language.split("-")[0].lower())
    opens = soup.find(lambda tag: tag.name == "script" or any(name.startswith("on") for name in tag.attrs)) is not None
    sheets = Sheets(soup)
    unseen = [
        each
        for each in soup.descendants
        if isinstance(each, Comment | Doctype)
        or (isinstance(each, Tag) and (each.name in _SKIPPED or (not opens and _is_hidden(each, sheets))))
    ]
    for each in unseen:
        each.extract()
    for each in soup.find_all("sup"):
        if (up := raised(text := each.get_text())) != text:
            each.replace_with(up)
    yield from _Walk().blocks(soup.body or soup)


def _is_hidden(tag, sheets: Sheets) -> bool:
    return "hidden" in tag.attrs or _HIDDEN.search(str(tag.get("style") or "")) is not None or sheets.hide(tag)


def _text(data: bytes) -> str:
    """The page in the encoding that it declares; where it declares none, or another than it is in, as any text is read:
    left to itself, the parser would ask whichever guesser is installed."""
    from bs4.dammit import EncodingDetector

    declared = (EncodingDetector.find_declared_encoding(data, is_html=True) or "").lower()
    if encoding_of(data) in _MARKED or declared.startswith(("utf-16", "utf-32")):  # what ASCII can declare is neither
        return decode(data)
    if declared in _LATIN:  # WHATWG: they mean Windows' page
        return data.decode("latin-1").translate(_WINDOWS)
    try:
        return data.decode(declared).removeprefix("\ufeff")
    except (LookupError, ValueError):
        return decode(data)


class _Walk:
    """Goes through the tree once, gathers inline text and closes a paragraph at each block's edge."""

    def __init__(self) -> None:
        self._inline: list[str] = []

    def blocks(self, node, depth: int = 0) -> Iterator[Block]:
        from bs4.element import NavigableString, Tag

        if depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"The page nests elements deeper than {MAX_DEPTH}; it was not read.")
        for child in node.children:
            if isinstance(child, NavigableString):
                self._inline.append(str(child))
            elif isinstance(child, Tag):
                yield from self._tag(child, depth)
        if depth == 0:
            yield from self._close()

    def _tag(self, tag, depth: int) -> Iterator[Block]:
        name = tag.name
        if name in _HEADINGS:
            yield from self._close()
            if text := _text_of(tag):
                yield Block("heading", text, level=_HEADINGS[name])
        elif name == "table" and (next(_inside(tag, "table"), None) is None or _has_header(tag)):
            yield from self._close()
            yield from self._table(tag)
        elif name in ("ul", "ol") and next(_inside(tag, "table", *_HEADINGS), None) is None:
            yield from self._close()
            yield from self._list(tag)
        elif name == "pre":
            yield from self._close()
            if text := whole(tag.get_text()).strip("\n"):
                yield Block("paragraph", text)
        elif name in _BLOCKS:
            yield from self._close()
            yield from self.blocks(tag, depth + 1)
            yield from self._close()
        else:
            edge = _edge(tag)
            self._inline.append(edge)
            yield from self.blocks(tag, depth + 1)
            self._inline.append(edge)

    def _close(self) -> Iterator[Block]:
        text, self._inline = squeezed(whole("".join(self._inline))), []
        if text:
            yield Block("paragraph", text)

    def _list(self, tag) -> Iterator[Block]:
        entries = _inside(tag, "li")
        lines = ["- " + text for entry in entries if (text := _text_of(entry, without="li"))]
        if loose := _text_of(tag, without="li"):
            yield Block("paragraph", loose)
        if lines:
            yield Block("list", "\n".join(lines))

    def _table(self, tag) -> Iterator[Block]:
        rows, header_rows = [], 0
        group, covered = None, {}
        for row in _rows(tag):
            cells = _cells(row)
            covered = covered if row.parent is group else {}  # no cell reaches out of its part of the table
            group = row.parent
            texts, covered = _row_texts(cells, covered)
            if not any(map(_text_of, cells)):
                continue
            if header_rows == len(rows) and cells and (row.find_parent("thead") or all(c.name == "th" for c in cells)):
                header_rows += 1
            rows.append(texts)
        if (caption := tag.find("caption", recursive=False)) is not None:
            yield Block("paragraph", _text_of(caption))
        if rows:
            yield table_block(rows, header_rows)


def _rows(table) -> Iterator[Any]:
    """The rows of a table itself, and not of tables in its cells."""
    return (row for row in _inside(table, "tr") if row.find_parent("table") is table)


def _cells(row) -> list[Any]:
    return row.find_all(["th", "td"], recursive=False)


def _has_header(table) -> bool:
    """Whether a table around others has a header, so that what stands in a cell belongs to its row: pages are laid out
    in tables, too."""
    cells = next((found for row in _rows(table) if (found := _cells(row))), [])
    if len(cells) < 2 or any(cell.find("table") for cell in cells):
        return False
    return all(cell.name == "th" for cell in cells) or names_columns([_text_of(cell) for cell in cells])


def _inside(tag, *names: str) -> Iterator[Any]:
    """The elements of these names inside `tag`, in their order. For a few, `find_all` takes ten times as long."""
    return (each for each in tag.descendants if each.name in names)


def _edge(tag) -> str:
    """What parts a tag from the text around it: `<b>47</b>11` is one word, and two lines are not."""
    return " " if tag.name in _BLOCKS or tag.name in _APART else ""


def _text_of(tag, without: str = "") -> str:
    """The text inside `tag` on one line, but for what tags named `without` hold in it."""
    if tag.string is not None and not without:
        return squeezed(whole(tag.string))
    pieces: list[str] = []
    stack = [(iter(tag.children), "")]
    while stack:
        children, edge = stack[-1]
        node = next(children, None)
        if node is None:
            pieces.append(edge)
            stack.pop()
        elif node.name is None:
            pieces.append(str(node))
        elif node.name != without:
            pieces.append(_edge(node))
            stack.append((iter(node.children), _edge(node)))
    return squeezed(whole("".join(pieces)))


def _row_texts(cells, covered: _Spans) -> tuple[list[str], _Spans]:
    """A row's texts, those of cells that reach down into it in their places, and what covers the row below."""
    texts: list[str] = []
    below = {column: (left - 1, text) for column, (left, text) in covered.items() if left > 1}
    for cell in cells:
        while len(texts) in covered:
            texts.append(covered[len(texts)][1])
        text, left = _text_of(cell), _span(cell, "rowspan", MAX_ROWSPAN) - 1
        for shown in (text, *[""] * (_span(cell, "colspan", MAX_COLSPAN) - 1)):
            if left and len(texts) < MAX_CARRIED:
                below[len(texts)] = (left, shown if len(shown) <= MAX_CARRIED else "")
            texts.append(shown)
    for column in range(len(texts), max(covered, default=-1) + 1):
        texts.append(covered[column][1] if column in covered else "")
    return texts, below


def _span(cell, name: str, most: int) -> int:
    """How many rows or columns a cell covers. A `rowspan` of 0 reaches to the end of its part of the table."""
    text = str(cell.get(name) or "1")
    span = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
    return min(span, most) or (most if name == "rowspan" else 1)
