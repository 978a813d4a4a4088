"""From characters with boxes to lines of segments. Pure geometry, no PDF library."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from servers.cradle.processing.contents import without_leaders
from servers.cradle.processing.extract import right_to_left
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.pdf_raised import indices_joined, raise_signs

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


Gap = tuple[int, float, float]


@dataclass(slots=True)
class Segment:
    """A run of characters on one line without a gap as wide as between columns. `gaps`: between its words where
    others stand beside it, each as the place of its space in the text, its left and its right edge."""

    text: str
    left: float
    right: float
    gaps: list[Gap] = field(default_factory=list)


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
    firsts = np.searchsorted(starts, begins)
    beside = np.repeat(np.diff(np.append(firsts, len(starts))) > 1, np.diff(np.append(begins, len(laid))))
    after = np.flatnonzero(parted & beside)  # lines of prose need no gaps
    owners = np.searchsorted(starts, after, "right") - 1
    spaces = places[after] - 1 - places[starts[owners]]
    for owner, *gap in zip(
        owners.tolist(), spaces.tolist(), reached[after - 1].tolist(), left[after].tolist(), strict=True
    ):
        segments[owner].gaps.append((gap[0], gap[1], gap[2]))
    return segments, [*firsts.tolist(), len(segments)]
