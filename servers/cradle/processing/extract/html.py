"""HTML: headings, paragraphs, lists and tables; scripts, styles and hidden parts are left out."""

from __future__ import annotations

from collections.abc import Iterator

from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import About, Block, Item

_SKIPPED = frozenset({"script", "style", "template", "noscript", "svg", "head", "iframe", "object", "canvas"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "br",
    ]
)
MAX_DEPTH = 200


class Html:
    name = "html"
    version = "1"
    media_types = frozenset({"text/html"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Title and language, then blocks in document order."""
        del inner
        yield from read_html(file.data)


def read_html(data: bytes | str, source: str = "") -> Iterator[Item]:
    """The items of an HTML document given as bytes (encoding found from BOM, meta or content) or text.

    Raises:
        Unreadable: `too_deep` where elements nest beyond `MAX_DEPTH`.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(data, "lxml")
    root = soup.find("html")
    title = squeezed(soup.title.get_text()) if soup.title else ""
    language = str(root.get("lang") or "")[:35] if root is not None else ""
    yield About(title=title, language=language.split("-")[0].lower())
    yield from _Walk(source).blocks(soup.body or soup)


class _Walk:
    """Goes through the tree once, gathers inline text and closes a paragraph at each block's edge."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._inline: list[str] = []

    def blocks(self, node, depth: int = 0) -> Iterator[Block]:
        from bs4.element import Comment, Doctype, NavigableString, Tag

        if depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"The page nests elements deeper than {MAX_DEPTH}; it was not read.")
        for child in node.children:
            if isinstance(child, NavigableString):
                if not isinstance(child, Comment | Doctype):
                    self._inline.append(str(child))
            elif isinstance(child, Tag) and child.name not in _SKIPPED and not child.has_attr("hidden"):
                yield from self._tag(child, depth)
        if depth == 0:
            yield from self._close()

    def _tag(self, tag, depth: int) -> Iterator[Block]:
        name = tag.name
        if name in _HEADINGS:
            yield from self._close()
            if text := squeezed(tag.get_text(" ")):
                yield Block("heading", text, level=_HEADINGS[name], source=self._source)
        elif name == "table" and tag.find("table") is None:
            yield from self._close()
            yield from self._table(tag)
        elif name in ("ul", "ol") and not tag.find(["table", *_HEADINGS]):
            yield from self._close()
            yield from self._list(tag)
        elif name == "pre":
            yield from self._close()
            if text := tag.get_text().strip("\n"):
                yield Block("paragraph", text, source=self._source)
        elif name in _BLOCKS:
            yield from self._close()
            yield from self.blocks(tag, depth + 1)
            yield from self._close()
        else:
            yield from self.blocks(tag, depth + 1)

    def _close(self) -> Iterator[Block]:
        text, self._inline = squeezed("".join(self._inline)), []
        if text:
            yield Block("paragraph", text, source=self._source)

    def _list(self, tag) -> Iterator[Block]:
        entries = tag.find_all("li")
        lines = ["- " + text for entry in entries if (text := squeezed(" ".join(_own_texts(entry, "li"))))]
        if loose := squeezed(" ".join(_own_texts(tag, "li"))):
            yield Block("paragraph", loose, source=self._source)
        if lines:
            yield Block("list", "\n".join(lines), source=self._source)

    def _table(self, tag) -> Iterator[Block]:
        rows, header_rows = [], 0
        for row in tag.find_all("tr"):
            cells = row.find_all(["th", "td"])
            texts = [text for cell in cells for text in _spanned(cell)]
            if not any(texts):
                continue
            if header_rows == len(rows) and cells and (row.find_parent("thead") or all(c.name == "th" for c in cells)):
                header_rows += 1
            rows.append(texts)
        if caption := tag.find("caption"):
            yield Block("paragraph", squeezed(caption.get_text(" ")), source=self._source)
        if rows:
            yield table_block(rows, header_rows, source=self._source)


def _own_texts(tag, inner: str) -> list[str]:
    """The strings inside `tag` that no `inner` element nested in it, and nothing skipped, claims."""
    found = []
    for string in tag.find_all(string=True):
        around = string.find_parent([inner, tag.name, *_SKIPPED])
        if around is tag:
            found.append(str(string))
    return found


def _spanned(cell) -> list[str]:
    span = str(cell.get("colspan") or "1")
    width = min(int(span), 100) if span.isascii() and span.isdigit() and int(span) > 0 else 1
    return [squeezed(cell.get_text(" ")), *[""] * (width - 1)]
