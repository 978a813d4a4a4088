"""Plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from servers.cradle.processing.extract.encoding import decode
from servers.cradle.processing.extract.extractor import File, Inner
from servers.cradle.processing.extraction import About, Block, Item

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_LIST = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_BREAKS = re.compile(r"\n[ \t]*\n+")


class Text:
    name = "text"
    version = "3"
    media_types = frozenset({"text/plain"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Paragraphs, parted at blank lines."""
        del inner
        yield from paragraphs(decode(file.data))


class Markdown:
    name = "markdown"
    version = "6"
    media_types = frozenset({"text/markdown"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Headings, lists, pipe tables and paragraphs; a fenced block stays one paragraph."""
        del inner
        lines = decode(file.data).split("\n")
        first = next((match for line in lines if (match := _HEADING.match(line))), None)
        if first is not None:
            yield About(title=first.group(2))
        yield from _markdown(lines)


def paragraphs(text: str, page: int = 0, source: str = "") -> Iterator[Block]:
    """The text's paragraphs: what blank lines or form feeds part; lines that all look like list items are a list."""
    for piece in _BREAKS.split(text.replace("\f", "\n\n")):
        body = piece.strip("\n").rstrip()
        if not body.strip():
            continue
        lines = body.split("\n")
        kind = "list" if len(lines) > 1 and all(_LIST.match(line) for line in lines) else "paragraph"
        yield Block(kind, body, page=page, source=source)


def table_block(rows: list[list[str]], header_rows: int, page: int = 0) -> Block:
    """A table as a block; its text is one line a row, cells parted by ` | `."""
    cells = tuple(tuple(row) for row in rows)
    return Block("table", "\n".join(row_text(row) for row in cells), 0, page, cells, header_rows)


def row_text(row: tuple[str, ...] | list[str]) -> str:
    """A row as one line. Empty cells keep their place, trailing ones fall away."""
    return " | ".join(cell.replace("\n", " ") for cell in row).rstrip(" |")


def _markdown(lines: list[str]) -> Iterator[Item]:
    held: list[str] = []
    fenced = False
    for line in [*lines, ""]:
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        match = None if fenced else _HEADING.match(line)
        if match is None and (fenced or line.strip()):
            held.append(line)
            continue
        yield from _held(held)
        held = []
        if match is not None and match.group(2):
            yield Block("heading", match.group(2), level=len(match.group(1)))
    yield from _held(held)


def _held(lines: list[str]) -> Iterator[Item]:
    if not lines:
        return
    ruled = len(lines) >= 2 and "|" in lines[0] and _RULE.match(lines[1])
    if ruled:
        rows = [_cells(line) for line in lines[:1] + lines[2:]]
        yield table_block(rows, 1)
    else:
        yield from paragraphs("\n".join(lines))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
