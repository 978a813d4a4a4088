"""From characters with boxes to lines, columns, tables, headings and paragraphs. Pure geometry, no PDF library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from servers.cradle.processing.contents import without_leaders
from servers.cradle.processing.extract import right_to_left
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.pdf_raised import indices_joined, raise_signs
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Boxes = Numbers
    Places = NDArray[np.int64]
    Flags = NDArray[np.bool_]

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
TITLE_CHARS = 100
TITLE_BELOW = 50
SAME_SIZE = 0.05

_BULLET = re.compile(r"^[•▪●■–*\-]\s+\S")
_HYPHENATED = re.compile(r"[^\W_][-\u2010]")
_KEEPS_HYPHEN = ("und ", "oder ", "bzw", "and ", "or ", "sowie ", "bis ")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A page's characters and their fonts' boxes (advance width, ascent to descent), in columns: a page has thousands.

    `boxes` is float64 [len(chars), 4]: left, top, right and bottom in points (origin bottom left). `in_order`: where
    they stand is of use; what is written across the page is only read as it was written.
    """

    chars: str
    boxes: Boxes
    in_order: bool = True

    @property
    def written(self) -> int:
        """How many characters are no white space."""
        return sum(map(len, self.chars.split()))


def turned(boxes: Boxes, quarters: int) -> Boxes:
    """The boxes where characters turned clockwise by so many quarters stand upright."""
    import numpy as np

    left, top, right, bottom = boxes.T
    match quarters:
        case 1:
            return np.stack([-top, right, -bottom, left], axis=1)
        case 2:
            return np.stack([-right, -bottom, -left, -top], axis=1)
        case 3:
            return np.stack([bottom, -left, top, -right], axis=1)
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
    """Segments on one baseline, from left to right, and their text together, as it is read."""

    segments: list[Segment]
    middle: float
    size: float
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.text = " ".join(segment.text for segment in self.segments)
        if len(self.segments) > 1 and right_to_left.leads(self.text):
            self.text = " ".join(segment.text for segment in reversed(self.segments))


def lines_of(glyphs: Glyphs) -> list[Line]:
    """Lines from top to bottom: characters whose middles are closer than half a line. Spaces follow their word."""
    import numpy as np

    left, top, right, bottom = glyphs.boxes.T
    middles, sizes = (top + bottom) / 2, np.maximum(top - bottom, 1.0)
    spaces = np.fromiter(map(str.isspace, glyphs.chars), bool, len(glyphs.chars))
    words = np.flatnonzero(~spaces)
    if not len(words):
        return []
    words = words[_order(-middles[words], left[words])]
    begins = indices_joined(_rows(middles[words], sizes[words]), glyphs.boxes[words])
    # Each character's rank among those from top to bottom; a space has that of the word before it, or none.
    ranks = np.full(len(spaces), -1)
    ranks[words] = np.arange(len(words))
    ranks = ranks[np.maximum.accumulate(np.where(spaces, 0, np.arange(len(spaces))))]
    laid = np.flatnonzero(ranks >= 0)
    rows = np.searchsorted(begins, ranks[laid], side="right") - 1
    order = _order(rows, left[laid], right[laid], ranks[laid])
    laid, rows = laid[order], rows[order]
    tops = middles[laid[np.searchsorted(rows, np.arange(len(begins)))]]
    spaced = np.append(False, spaces[laid[:-1]])[~spaces[laid]]
    laid = laid[~spaces[laid]]  # as many in each row as before
    bounds = list(pairwise([*begins, len(laid)]))
    heights = _medians(sizes[laid], bounds)
    segments, firsts = _segments(glyphs, laid, spaced, bounds, heights)
    if right_to_left.stands(glyphs.chars):
        for segment in segments:
            segment.text = right_to_left.logical(segment.text)
    return [
        Line(segments[begin:end], middle, height)
        for (begin, end), middle, height in zip(pairwise(firsts), tops.tolist(), heights, strict=True)
    ]


def _order(*keys: Any) -> Places:
    """The order by these columns, the first one first; most pages are written from top to bottom and left to right,
    which is seen sooner than sorted."""
    import numpy as np

    later, same = np.zeros(len(keys[0]) - 1, bool), np.ones(len(keys[0]) - 1, bool)
    for key in keys:
        later |= same & (key[1:] > key[:-1])
        same &= key[1:] == key[:-1]
    return np.arange(len(keys[0])) if (later | same).all() else np.lexsort(keys[::-1])


def _rows(middles: Numbers, sizes: Numbers) -> list[int]:
    """Where rows begin among characters from top to bottom; a row is as high as its first."""
    import numpy as np

    begins: list[int] = []
    first = first_size = 0.0
    changes = np.flatnonzero((np.diff(middles, prepend=np.inf) != 0) | (np.diff(sizes, prepend=np.inf) != 0))
    for at, middle, size in zip(changes.tolist(), middles[changes].tolist(), sizes[changes].tolist(), strict=True):
        if not begins or first - middle >= SAME_LINE * max(size, first_size):
            begins.append(at)
            first, first_size = middle, size
    return begins


def _medians(numbers: Numbers, bounds: list[tuple[int, int]]) -> list[float]:
    """The median of each row; most are of one size."""
    import numpy as np

    begins = [begin for begin, _ in bounds]
    least, most = (each.reduceat(numbers, begins).tolist() for each in (np.minimum, np.maximum))
    return [
        low if low == high else median(numbers[begin:end].tolist())
        for low, high, (begin, end) in zip(least, most, bounds, strict=True)
    ]


def _segments(
    glyphs: Glyphs, laid: Places, spaced: Flags, bounds: list[tuple[int, int]], heights: list[float]
) -> tuple[list[Segment], list[int]]:
    """The segments of all rows, and where those of each row begin and the last one ends.

    Args:
        laid: the characters row by row, each from left to right. A character's right is not left of its left.
        spaced: before which of them a space stands.
        bounds: of the rows in `laid`.
    """
    import numpy as np

    boxes = glyphs.boxes[laid]
    left, _, right, _ = boxes.T
    begins = [begin for begin, _ in bounds]
    reached = np.concatenate([np.maximum.accumulate(right[begin:end]) for begin, end in bounds])
    gaps = left - np.append(0.0, reached[:-1])
    size = np.repeat(heights, [end - begin for begin, end in bounds])
    apart = gaps > CELL_GAP * size
    apart[begins] = True
    parted = ~apart & (spaced | (gaps > WORD_GAP * size))
    signs = np.frombuffer(glyphs.chars.encode("utf-32-le"), np.uint32)[laid]
    raise_signs(signs, boxes, begins, np.flatnonzero(apart).tolist(), np.asarray(heights))
    text = np.insert(signs, np.flatnonzero(parted), ord(" ")).tobytes().decode("utf-32-le")
    places = np.arange(len(laid)) + np.cumsum(parted)  # of the characters in the text
    starts = np.flatnonzero(apart)
    ends = np.append(starts[1:], len(laid)) - 1
    segments = [
        Segment(without_leaders(clean(text[first : last + 1])), *edges)
        for first, last, *edges in zip(
            places[starts].tolist(), places[ends].tolist(), left[starts].tolist(), reached[ends].tolist(), strict=True
        )
    ]
    return segments, [*np.searchsorted(starts, begins).tolist(), len(segments)]


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
        end = _run(lines, index, body)
        columns = _columns(_parted(lines[index:end])) if end - index >= 2 else []
        if len(columns) >= 2:
            yield from _paragraphs(held, page, body)
            held = []
            if _flows(lines[index:end], columns):
                end = _below(lines, end, columns)
                yield from _side_by_side(lines[index:end], columns, page, body)
            else:
                yield _columned(lines[index:end], columns, page)
        else:
            held += lines[index:end]
        index = end
    yield from _paragraphs(held, page, body)


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
        alone = len(line.segments) < 2 and not indented
        if far or (alone and not _is_title(lines, start, end, body)):
            break
        end += 1
    return end


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
    for column in _as_read(columns, lines):
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


def _columned(lines: list[Line], columns: list[tuple[float, float]], page: int) -> Block:
    columns = _as_read(columns, lines)
    merged = _merged([_cells(line, columns) for line in lines])
    words = not any(re.fullmatch(r"[\d.,%+-]+", cell) for cell in merged[0]) and all(merged[0][1:])
    return table_block(merged, 1 if words and len(merged) > 1 else 0, page)


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
