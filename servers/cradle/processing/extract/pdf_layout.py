"""From characters with boxes to lines, columns, tables, headings and paragraphs. Pure geometry, no PDF library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from servers.cradle.processing.contents import without_leaders
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block

# Parts of the height of a line's box (ascent to descent), found on data sheets with 6 to 14 points.
WORD_GAP = 0.16
CELL_GAP = 0.85
SAME_LINE = 0.45
PARAGRAPH_GAP = 1.45
HEADING_RATIO = 1.12
PROSE_CHARS = 40

_BULLET = re.compile(r"^[•▪●■–*\-]\s+\S")
_HYPHENATED = re.compile(r"[a-zäöüß]-$")
_KEEPS_HYPHEN = ("und ", "oder ", "bzw", "and ", "or ", "sowie ")


class Glyph(NamedTuple):
    """A character and its font's box in points (origin bottom left): advance width, ascent to descent."""

    char: str
    left: float
    right: float
    bottom: float
    top: float

    @property
    def size(self) -> float:
        return max(self.top - self.bottom, 1.0)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(slots=True)
class Segment:
    """A run of characters on one line without a gap as wide as between columns."""

    text: str
    left: float
    right: float


@dataclass(slots=True)
class Line:
    """Segments on one baseline, from left to right."""

    segments: list[Segment]
    middle: float
    size: float

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


def lines_of(glyphs: list[Glyph]) -> list[Line]:
    """Lines from top to bottom: characters whose middles are closer than half a line. Spaces follow their word."""
    words: list[tuple[Glyph, list[Glyph]]] = []
    for glyph in glyphs:
        if not glyph.char.isspace():
            words.append((glyph, []))
        elif words:
            words[-1][1].append(glyph)
    rows: list[list[tuple[Glyph, list[Glyph]]]] = []
    for word in sorted(words, key=lambda w: (-w[0].middle, w[0].left)):
        first = rows[-1][0][0] if rows else None
        if first and first.middle - word[0].middle < SAME_LINE * max(first.size, word[0].size):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [_line([glyph for word, spaces in row for glyph in (word, *spaces)]) for row in rows]


def body_size(lines: list[Line]) -> float:
    """The size in which most characters stand."""
    sizes: dict[float, int] = {}
    for line in lines:
        sizes[round(line.size, 1)] = sizes.get(round(line.size, 1), 0) + len(line.text)
    return max(sizes.items(), key=lambda item: (item[1], -item[0]))[0] if sizes else 1.0


def blocks_of(lines: list[Line], page: int) -> Iterator[Block]:
    """Blocks of one page in reading order. Lines clearly larger than most characters of the page are headings."""
    body = body_size(lines)
    held: list[Line] = []
    index = 0
    while index < len(lines):
        end = _run(lines, index)
        columns = _columns(lines[index:end]) if end - index >= 2 else []
        if len(columns) >= 2:
            yield from _paragraphs(held, page, body)
            held = []
            yield from _columned(lines[index:end], columns, page, body)
        else:
            held += lines[index:end]
        index = end
    yield from _paragraphs(held, page, body)


def _line(row: list[Glyph]) -> Line:
    row = sorted(row, key=lambda glyph: (glyph.left, glyph.right))
    size = median(glyph.size for glyph in row if not glyph.char.isspace())
    segments: list[Segment] = []
    spaced = False
    for glyph in row:
        if glyph.char.isspace():
            spaced = True
            continue
        gap = glyph.left - segments[-1].right if segments else 0.0
        if segments and gap <= CELL_GAP * size:
            last = segments[-1]
            last.text += (" " if spaced or gap > WORD_GAP * size else "") + glyph.char
            last.right = max(last.right, glyph.right)
        else:
            segments.append(Segment(glyph.char, glyph.left, glyph.right))
        spaced = False
    for segment in segments:
        segment.text = without_leaders(clean(segment.text))
    return Line(segments, row[0].middle, size)


def _run(lines: list[Line], start: int) -> int:
    """The end of the run of lines with columns that begins at `start`; at least one line."""
    if len(lines[start].segments) < 2:
        return start + 1
    end = start + 1
    while end < len(lines):
        line, above = lines[end], lines[end - 1]
        far = above.middle - line.middle > 3.2 * max(above.size, line.size)
        indented = line.segments[0].left >= lines[start].segments[1].left - line.size
        if far or (len(line.segments) < 2 and not indented):
            break
        end += 1
    return end


def _columns(lines: list[Line]) -> list[tuple[float, float]]:
    """The columns' left and right edges: what the segments of all lines cover, joined where they overlap."""
    spans = sorted((segment.left, segment.right) for line in lines for segment in line.segments)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns


def _columned(lines: list[Line], columns: list[tuple[float, float]], page: int, body: float) -> Iterator[Block]:
    rows = [_cells(line, columns) for line in lines]
    filled = [len(cell) for row in rows for cell in row if cell]
    if len(columns) <= 3 and len(rows) >= 3 and median(filled) >= PROSE_CHARS:
        for left, right in columns:
            inside = [
                Line([segment], line.middle, line.size)
                for line in lines
                for segment in line.segments
                if left <= segment.left <= right
            ]
            yield from _paragraphs(inside, page, body)
        return
    merged = _merged(rows)
    words = not any(re.fullmatch(r"[\d.,%+-]+", cell) for cell in merged[0]) and all(merged[0][1:])
    yield table_block(merged, 1 if words and len(merged) > 1 else 0, page)


def _cells(line: Line, columns: list[tuple[float, float]]) -> list[str]:
    cells = [""] * len(columns)
    for segment in line.segments:
        index = next(i for i, (left, right) in enumerate(columns) if left <= segment.left <= right)
        cells[index] = f"{cells[index]} {segment.text}".strip()
    return cells


def _merged(rows: list[list[str]]) -> list[list[str]]:
    """Rows with only one cell, and not the first, continue the cell above."""
    merged: list[list[str]] = []
    for row in rows:
        filled = [index for index, cell in enumerate(row) if cell]
        if merged and len(filled) == 1 and filled[0] > 0 and merged[-1][filled[0]]:
            merged[-1][filled[0]] = _glued(merged[-1][filled[0]], row[filled[0]])
        else:
            merged.append(row)
    return merged


def _paragraphs(lines: list[Line], page: int, body: float) -> Iterator[Block]:
    group: list[Line] = []
    for line in lines:
        if group and _parts(group[-1], line, body):
            yield _block(group, page, body)
            group = []
        group.append(line)
    if group:
        yield _block(group, page, body)


def _parts(above: Line, line: Line, body: float) -> bool:
    """Whether a new block begins with `line`."""
    if _level(above, body) != _level(line, body):
        return True
    far = above.middle - line.middle > PARAGRAPH_GAP * max(above.size, line.size)
    bullets = bool(_BULLET.match(above.text)), bool(_BULLET.match(line.text))
    return (far and bullets != (True, True)) or (bullets == (False, True) and not above.text.endswith("-"))


def _level(line: Line, body: float) -> int:
    ratio = line.size / body
    if ratio < HEADING_RATIO or len(line.text) > 200:
        return 0
    return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3


def _block(lines: list[Line], page: int, body: float) -> Block:
    level = _level(lines[0], body)
    if level:
        return Block("heading", " ".join(line.text for line in lines), level=level, page=page)
    text = ""
    for line in lines:
        bullet = text and _BULLET.match(line.text)
        text = f"{text}\n{line.text}" if bullet else _glued(text, line.text)
    return Block("list" if _BULLET.match(text) else "paragraph", text, page=page)


def _glued(text: str, more: str) -> str:
    """Two lines of one paragraph; a word that was hyphenated between them becomes whole again."""
    if not text:
        return more
    if _HYPHENATED.search(text) and more[:1].islower() and not more.startswith(_KEEPS_HYPHEN):
        return text[:-1] + more
    return f"{text} {more}"
