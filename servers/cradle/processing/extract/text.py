"""Plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from msgspec.structs import replace

from servers.cradle.processing.extract.encoding import decode
from servers.cradle.processing.extract.extractor import File, Inner
from servers.cradle.processing.extraction import About, Block, Item

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_LIST = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_BREAKS = re.compile(r"\n[ \t]*\n+")


class Text:
    name = "text"
    version = "4"
    media_types = frozenset({"text/plain"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Paragraphs, parted at blank lines, and tables of lines with cells."""
        del inner
        yield from paragraphs(decode(file.data))


class Markdown:
    name = "markdown"
    version = "8"
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
    """The text's paragraphs: what blank lines or form feeds part; lines that all look like list items are a list, and
    lines of cells with `|` between them a table."""
    for piece in _BREAKS.split(text.replace("\f", "\n\n")):
        held: list[str] = []
        for celled, group in groupby(piece.strip("\n").rstrip().split("\n"), lambda line: "|" in line):
            lines = list(group)
            rows = _rows(lines) if celled else []
            if not rows:
                held += lines
                continue
            yield from _running(held, page, source)
            held = []
            yield replace(table_block(rows, 1 if all(rows[0]) else 0, page), source=source)
        yield from _running(held, page, source)


def _running(lines: list[str], page: int, source: str) -> Iterator[Block]:
    if any(map(str.strip, lines)):
        kind = "list" if len(lines) > 1 and all(_LIST.match(line) for line in lines) else "paragraph"
        yield Block(kind, "\n".join(lines), page=page, source=source)


def _rows(lines: list[str]) -> list[list[str]]:
    """Two rows and more of one width whose cells stand between `|`; none where these lines are anything else."""
    framed = all(line.lstrip().startswith("|") for line in lines)
    rows = [_cells(line) if framed else _parts(line) for line in lines if not _RULE.match(line)]
    return rows if len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1 else []


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
    return _parts(line.strip().removeprefix("|").removesuffix("|"))


def _parts(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]
