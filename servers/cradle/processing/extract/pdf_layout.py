"""From characters with boxes to lines, columns, tables, headings and paragraphs. Pure geometry, no PDF library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from statistics import median

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
BESIDE = 0.8
FAR = 3.2
STAGGERED_LINES = 4

_BULLET = re.compile(r"^[•▪●■–*\-]\s+\S")
_HYPHENATED = re.compile(r"[^\W_][-\u2010]")
_KEEPS_HYPHEN = ("und ", "oder ", "bzw", "and ", "or ", "sowie ", "bis ")


Box = tuple[float, float, float, float]
"""Left, top, right and bottom in points (origin bottom left)."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A page's characters and their fonts' boxes (advance width, ascent to descent), in columns: a page has thousands.

    `spans` are (left, right), `spaces` says which characters are white space.
    """

    chars: list[str]
    spaces: list[bool]
    spans: list[tuple[float, float]]
    middles: list[float]
    sizes: list[float]

    @classmethod
    def of(cls, chars: list[str], boxes: list[Box]) -> Glyphs:
        return cls(
            chars,
            list(map(str.isspace, chars)),
            [(left, right) for left, _, right, _ in boxes],
            [(top + bottom) / 2 for _, top, _, bottom in boxes],
            [1.0 if top - bottom < 1.0 else top - bottom for _, top, _, bottom in boxes],
        )


def turned(boxes: list[Box], quarters: int) -> list[Box]:
    """The boxes where characters turned clockwise by so many quarters stand upright."""
    match quarters:
        case 1:
            return [(-top, right, -bottom, left) for left, top, right, bottom in boxes]
        case 2:
            return [(-right, -bottom, -left, -top) for left, top, right, bottom in boxes]
        case 3:
            return [(bottom, -left, top, -right) for left, top, right, bottom in boxes]
        case _:
            return boxes


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


def lines_of(glyphs: Glyphs) -> list[Line]:
    """Lines from top to bottom: characters whose middles are closer than half a line. Spaces follow their word."""
    middles, sizes = glyphs.middles, glyphs.sizes
    words = [at for at, space in enumerate(glyphs.spaces) if not space]
    ends = dict(zip(words, [*words[1:], len(glyphs.chars)], strict=False))  # the spaces behind it go with it
    keys = [(-middle, left) for middle, (left, _) in zip(middles, glyphs.spans, strict=True)]
    rows: list[list[int]] = []
    middle = size = 0.0  # of the row's first
    for at in sorted(words, key=keys.__getitem__):
        larger = sizes[at] if sizes[at] > size else size
        if rows and middle - middles[at] < SAME_LINE * larger:
            rows[-1].append(at)
        else:
            rows.append([at])
            middle, size = middles[at], sizes[at]
    return [_line(glyphs, row, [each for at in row for each in range(at, ends[at])]) for row in rows]


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
        end, columns = _staggered(lines, index)
        if columns:
            yield from _paragraphs(held, page, body)
            held = []
            yield from _side_by_side(lines[index:end], columns, page, body)
            index = end
            continue
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


def _line(glyphs: Glyphs, words: list[int], row: list[int]) -> Line:
    """The line of these characters; `words` are those of `row` that are no spaces."""
    chars, spaces, spans = glyphs.chars, glyphs.spaces, glyphs.spans
    row = sorted(row, key=spans.__getitem__)
    size = median([glyphs.sizes[at] for at in words])
    cell, word = CELL_GAP * size, WORD_GAP * size
    segments: list[Segment] = []
    text: list[str] = []
    first = last = 0.0
    spaced = False
    for at in row:
        if spaces[at]:
            spaced = True
            continue
        left, right = spans[at]
        gap = left - last
        if not text or gap > cell:
            if text:
                segments.append(_segment(text, first, last))
            text, first, last = [chars[at]], left, right
        else:
            text.append(f" {chars[at]}" if spaced or gap > word else chars[at])
            last = right if right > last else last
        spaced = False
    segments.append(_segment(text, first, last))
    return Line(segments, glyphs.middles[row[0]], size)


def _segment(text: list[str], left: float, right: float) -> Segment:
    return Segment(without_leaders(clean("".join(text))), left, right)


def _run(lines: list[Line], start: int) -> int:
    """The end of the run of lines with columns that begins at `start`; at least one line."""
    if len(lines[start].segments) < 2:
        return start + 1
    end = start + 1
    while end < len(lines):
        line, above = lines[end], lines[end - 1]
        far = above.middle - line.middle > FAR * max(above.size, line.size)
        indented = line.segments[0].left >= lines[start].segments[1].left - line.size
        if far or (len(line.segments) < 2 and not indented):
            break
        end += 1
    return end


def _staggered(lines: list[Line], start: int) -> tuple[int, list[tuple[float, float]]]:
    """The end of a run of prose in two columns on different levels from `start` on, and its columns; none: no run."""
    head = lines[start : start + STAGGERED_LINES]
    if len(head) < STAGGERED_LINES or head[0].middle - head[1].middle > BESIDE * max(head[0].size, head[1].size):
        return start, []
    columns = _columns(head)
    if len(columns) != 2 or not all(_is_prose(head, column) for column in columns):
        return start, []
    end = start + len(head)
    while end < len(lines) and _goes_on(lines[end - 1], lines[end], columns):
        columns = _columns([*_edges(columns), lines[end]])
        end += 1
    return end, columns


def _goes_on(above: Line, line: Line, columns: list[tuple[float, float]]) -> bool:
    """Whether a line is one of either column. Two on one level may be a table's: the run ends before them."""
    near = above.middle - line.middle <= FAR * max(above.size, line.size)
    return near and len(line.segments) == 1 and len(_columns([*_edges(columns), line])) == len(columns)


def _edges(columns: list[tuple[float, float]]) -> list[Line]:
    return [Line([Segment("", left, right)], 0.0, 0.0) for left, right in columns]


def _is_prose(lines: list[Line], column: tuple[float, float]) -> bool:
    lengths = [len(segment.text) for line in lines for segment in line.segments if _within(segment, column)]
    return median(lengths) >= PROSE_CHARS


def _within(segment: Segment, column: tuple[float, float]) -> bool:
    return column[0] <= segment.left <= column[1]


def _side_by_side(lines: list[Line], columns: list[tuple[float, float]], page: int, body: float) -> Iterator[Block]:
    """Column by column."""
    for column in columns:
        inside = [
            Line([segment], line.middle, line.size)
            for line in lines
            for segment in line.segments
            if _within(segment, column)
        ]
        yield from _paragraphs(inside, page, body)


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
        yield from _side_by_side(lines, columns, page, body)
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
        return Block("heading", reduce(_glued, (line.text for line in lines)), level=level, page=page)
    text = ""
    for line in lines:
        bullet = text and _BULLET.match(line.text)
        text = f"{text}\n{line.text}" if bullet else _glued(text, line.text)
    return Block("list" if _BULLET.match(text) else "paragraph", text, page=page)


def _glued(text: str, more: str) -> str:
    """Two lines of one paragraph; a word that was hyphenated between them becomes whole again.

    Between small letters the hyphen goes; elsewhere it belongs to the word (`KL-4711`, `LED-Anzeige`).
    """
    if not text:
        return more
    if _HYPHENATED.fullmatch(text[-2:]) and more[:1].isalnum() and not more.startswith(_KEEPS_HYPHEN):
        split = text[-2].islower() and more[0].islower()
        return (text[:-1] if split else text) + more
    return f"{text} {more}"
