"""From lines of segments to columns, tables, headings and paragraphs. Pure geometry, no PDF library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from math import inf
from statistics import median

from servers.cradle.processing.extract import right_to_left
from servers.cradle.processing.extract.pdf_lines import Gap, Line, Segment
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block

# Parts of the height of a line's box (ascent to descent), found on data sheets with 6 to 14 points.
PARAGRAPH_GAP = 1.45
HEADING_RATIO = 1.12
PROSE_CHARS = 40
BESIDE = 0.8
FAR = 3.2
STAGGERED_LINES = 4
TITLE_CHARS = 100
TITLE_BELOW = 50
SAME_SIZE = 0.05
NEARER = 0.87

_BULLET = re.compile(r"^[•▪●■–*\-]\s+\S")
_HYPHENATED = re.compile(r"[^\W_][-\u2010]")
_KEEPS_HYPHEN = ("und ", "oder ", "bzw", "and ", "or ", "sowie ", "bis ")


def body_size(lines: list[Line]) -> float:
    """The size in which most characters stand."""
    sizes: dict[float, int] = {}
    for line in lines:
        sizes[round(line.size, 1)] = sizes.get(round(line.size, 1), 0) + len(line.text)
    return max(sizes.items(), key=lambda item: (item[1], -item[0]))[0] if sizes else 1.0


Table = list[list[str]]
"""The rows of a table, each of as many cells."""


def blocks_of(lines: list[Line], page: int) -> Iterator[Block]:
    """Blocks of one page in reading order. Lines clearly larger than most characters of the page are headings."""
    body = body_size(lines)
    for table, running in regions_of(lines, body):
        if table:
            words = not any(re.fullmatch(r"[\d.,%+-]+", cell) for cell in table[0]) and all(table[0][1:])
            yield table_block(table, 1 if words and len(table) > 1 else 0, page)
        yield from (_block(group, page, body) for group in paragraphs_of(running, body))


def regions_of(lines: list[Line], body: float) -> Iterator[tuple[Table, list[Line]]]:
    """The page's tables and the running lines between them in reading order, one of both each: columns of prose one
    after the other."""
    held: list[Line] = []
    index = 0
    while index < len(lines):
        end, columns = _staggered(lines, index)
        if columns:
            yield [], held
            held = []
            yield from _side_by_side(lines[index:end], columns)
            index = end
            continue
        end = _run(lines, index, body)
        lines[index:end] = _headed(lines[index:end])
        columns = _columns(_parted(lines[index:end])) if end - index >= 2 else []
        if len(columns) >= 2:
            yield [], held
            held = []
            if _flows(lines[index:end], columns):
                end = _below(lines, end, columns)
                yield from _side_by_side(lines[index:end], columns)
            else:
                yield _columned(lines[index:end], columns), []
        else:
            held += lines[index:end]
        index = end
    yield [], held


def _run(lines: list[Line], start: int, body: float) -> int:
    """The end of the run of lines with columns that begins at `start`; at least one line. The title of a family of
    products between the rows of a table is one of it."""
    if len(lines[start].segments) < 2:
        return start + 1
    end = start + 1
    while end < len(lines):
        line, above = lines[end], lines[end - 1]
        far = above.middle - line.middle > FAR * max(above.size, line.size)
        indented = line.segments[0].left >= lines[start].segments[1].left - line.size
        alone = len(line.segments) < 2 and not indented and not _is_beside(lines, start, end)
        if far or (alone and not _is_title(lines, start, end, body)):
            break
        end += 1
    return end


def _is_beside(lines: list[Line], start: int, at: int) -> bool:
    """Whether a line of the first column stands between two further right, as a cell does in the middle of another's
    lines."""
    if at + 1 == len(lines):
        return False
    above, line, below = lines[at - 1 : at + 2]
    size = BESIDE * line.size
    if above.middle - line.middle >= size or line.middle - below.middle >= size:
        return False
    columns = _columns(_parted(lines[max(start, at - TITLE_BELOW) : at]))
    right = [len(each.segments) == 1 and each.segments[0].left > line.segments[0].right for each in (above, below)]
    return len(columns) > 1 and _within(line.segments[0], columns[0]) and all(right)


def _is_title(lines: list[Line], start: int, at: int, body: float) -> bool:
    """Whether a line stands between rows of a table of three columns and more, in the first one and no heading."""
    line, after = lines[at], lines[at + 1] if at + 1 < len(lines) else None
    columns = _columns(rows := _parted(lines[max(start, at - TITLE_BELOW) : at]))
    if (
        after is None
        or len(after.segments) < 3
        or len(columns) < 3
        or _level(line, body)
        or len(line.text) > TITLE_CHARS
    ):
        return False
    near = line.middle - after.middle <= FAR * max(line.size, after.size)
    return near and _within(line.segments[0], columns[0]) and len(_columns([*rows, after])) == len(columns)


def _parted(lines: list[Line]) -> list[Line]:
    """The lines of a run that show its columns: those in parts, and what goes on further right than the first one."""
    first = min(line.segments[0].left for line in lines)
    return [line for line in lines if len(line.segments) > 1 or line.segments[0].left > first + line.size]


def _headed(table: list[Line]) -> list[Line]:
    """The lines of a table, names of columns in the first one parted that stand closer than the columns below them."""
    if len(table) < 3:
        return table
    columns = _columns(_parted(table[1:]))
    if len(columns) <= len(_columns(_parted(table))):
        return table
    head = table[0]
    parted = Line([part for each in head.segments for part in _cut(each, columns)], head.middle, head.size)
    return [parted, *table[1:]] if len(_columns(_parted([parted, *table[1:]]))) == len(columns) else table


def _cut(segment: Segment, columns: list[tuple[float, float]]) -> list[Segment]:
    """The words of a segment by the columns that it spans: cut at the one gap that lies between two of them."""
    cuts: list[Gap] = []
    for (_, right), (left, _) in pairwise(columns):
        spans = segment.left < right and segment.right > left
        between = [gap for gap in segment.gaps if gap[1] <= left and gap[2] >= right] if spans else []
        cuts += between if len(between) == 1 else []
    if not cuts or right_to_left.stands(segment.text) or any(segment.text[at : at + 1] != " " for at, _, _ in cuts):
        return [segment]
    starts = [(0, segment.left), *((at + 1, right) for at, _, right in cuts)]
    ends = [*((at, left) for at, left, _ in cuts), (len(segment.text), segment.right)]
    return [
        Segment(segment.text[first:last], left, right)
        for (first, left), (last, right) in zip(starts, ends, strict=True)
    ]


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


def _side_by_side(lines: list[Line], columns: list[tuple[float, float]]) -> Iterator[tuple[Table, list[Line]]]:
    """Column by column."""
    for column in _as_read(columns, lines):
        yield (
            [],
            [
                Line([segment], line.middle, line.size)
                for line in lines
                for segment in line.segments
                if columns[_place(segment, columns)] == column
            ],
        )


def _place(segment: Segment, columns: list[tuple[float, float]]) -> int:
    """The column in which a segment begins, else the nearest one."""
    return min(range(len(columns)), key=lambda at: max(columns[at][0] - segment.left, segment.left - columns[at][1]))


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


def _as_read(columns: list[tuple[float, float]], lines: list[Line]) -> list[tuple[float, float]]:
    """The columns in the order in which they are read: Hebrew and Arabic begin on the right."""
    text = " ".join(line.text for line in lines)
    return columns[::-1] if right_to_left.stands(text) and right_to_left.leads(text) else columns


def _flows(lines: list[Line], columns: list[tuple[float, float]]) -> bool:
    """Whether the columns are of prose, to be read one after the other."""
    filled = [len(cell) for line in lines for cell in _cells(line, columns) if cell]
    return len(columns) <= 3 and len(lines) >= 3 and median(filled) >= PROSE_CHARS


def _below(lines: list[Line], end: int, columns: list[tuple[float, float]]) -> int:
    """The end of a column that is longer than those beside it: of lines as wide as it, close below, in its size."""
    while end < len(lines):
        line, above = lines[end], lines[end - 1]
        near = above.middle - line.middle <= PARAGRAPH_GAP * line.size
        alike = len(line.segments) == 1 and abs(line.size - above.size) < SAME_SIZE * above.size
        segment = line.segments[0]
        inside = any(left - line.size <= segment.left and segment.right <= right + line.size for left, right in columns)
        if not (near and alike and inside):
            break
        end += 1
    return end


def _columned(lines: list[Line], columns: list[tuple[float, float]]) -> Table:
    columns = _as_read(columns, lines)
    return _merged([_cells(line, columns) for line in lines], [line.middle for line in lines], lines[0].size)


def _cells(line: Line, columns: list[tuple[float, float]]) -> list[str]:
    cells = [""] * len(columns)
    for segment in line.segments:
        index = _place(segment, columns)
        cells[index] = f"{cells[index]} {segment.text}".strip()
    return cells


def _merged(rows: Table, middles: list[float], size: float) -> Table:
    """Rows with only one cell, and not the first, continue the cell above; that of the next row that has more where
    they stand nearer to what is below them: the row's other cells may stand in the middle of it. Of a column whose
    cells do, as many lines are below the middle of each as above it.

    Args:
        middles: of the rows' lines; `size` is that of a line.
    """
    gaps = [inf, *(above - below for above, below in pairwise(middles)), inf]
    centred = _centred(rows, gaps, BESIDE * size)
    merged: Table = []
    waiting, above, owed = [""] * len(rows[0]), 0, 0  # cells for the row below, and lines above and below a middle
    for at, (row, over, under) in enumerate(zip(rows, gaps, gaps[1:], strict=False)):
        lone = 0 if at in centred else _lone(row)
        if lone in centred.values() and not owed and (under < inf or any(waiting)):
            waiting[lone], above = _glued(waiting[lone], row[lone]), above + 1
        elif lone in centred.values() and merged:
            merged[-1][lone], owed = _glued(merged[-1][lone], row[lone]), max(owed - 1, 0)
        elif lone and under < inf and (any(waiting) or under < NEARER * over):
            waiting[lone] = _glued(waiting[lone], row[lone])
        elif lone and merged and merged[-1][lone] and not any(waiting):
            merged[-1][lone] = _glued(merged[-1][lone], row[lone])
        else:
            merged.append([_glued(more, cell) if cell else more for more, cell in zip(waiting, row, strict=True)])
            waiting, above, owed = [""] * len(row), 0, above
    return [*merged, waiting] if any(waiting) else merged


def _lone(row: list[str]) -> int:
    """The column of a row's only cell, 0 where it has others or that is the first."""
    filled = [index for index, cell in enumerate(row) if cell]
    return filled[0] if len(filled) == 1 else 0


def _centred(rows: Table, gaps: list[float], near: float) -> dict[int, int]:
    """Rows that surely stand in the middle of a cell's lines, one close above and one close below them → its column."""
    return {
        at: lone
        for at in range(1, len(rows) - 1)
        if (lone := _lone(rows[at - 1])) and lone == _lone(rows[at + 1]) and not rows[at][lone]
        if gaps[at] < near and gaps[at + 1] < near
    }


def paragraphs_of(lines: list[Line], body: float) -> Iterator[list[Line]]:
    """The lines of each paragraph, heading and list."""
    group: list[Line] = []
    for line in lines:
        if group and _parts(group[-1], line, body):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


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
