"""What stands above or below a line of a PDF in smaller letters: exponents, charges, indices, the numbers of notes.

The file says only where each character stands and how large it is. Pure geometry.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from servers.cradle.processing.extract.encoding import raised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Signs = NDArray[np.uint32]

SMALLER = 0.9
"""Of the size beside it: a browser makes superscripts 83 % as large, TeX 70 %, Word 65 %, LibreOffice 58 %."""
RISE = 0.28
"""Of the size beside it, between the lower edges of the boxes: all of these come to 0.35 and more. Where a font has no
ascent, boxes are what is drawn, and a digit behind a bracket stands 0.24 above its lower edge."""
NEAR = 0.55
"""Of the larger row: lines of text lie 0.65 apart and more, where one begins with the number of a note."""
TOUCHES = 0.2


EVEN = 0.05


class _Run(NamedTuple):
    """Characters `first` to before `end`, on one baseline in one size."""

    first: int
    end: int
    size: float
    bottom: float


_FIRST = itemgetter(0)


def indices_joined(begins: list[int], boxes: Numbers) -> list[int]:
    """Where rows begin, without those that are only indices of the row above or exponents of the row below: in smaller
    letters, each close behind a character of it.

    Args:
        boxes: of the characters, row by row from top to bottom.
    """
    import numpy as np

    if len(begins) < 2:
        return begins
    _, top, _, bottom = boxes.T
    sizes = np.maximum.reduceat(top - bottom, begins)
    large = top - bottom >= SMALLER * np.repeat(sizes, np.diff([*begins, len(boxes)]))
    middles = np.maximum.reduceat(np.where(large, (top + bottom) / 2, -np.inf), begins)
    close = middles[:-1] - middles[1:] < NEAR * np.maximum(sizes[:-1], sizes[1:])
    uneven = np.minimum(sizes[:-1], sizes[1:]) < SMALLER * np.maximum(sizes[:-1], sizes[1:])
    ends = [*begins[1:], len(boxes)]
    joined = {
        at + 1
        for at in np.flatnonzero(close & uneven).tolist()
        if _touches(boxes[begins[at] : ends[at]], boxes[begins[at + 1] : ends[at + 1]])
    }
    return [begin for at, begin in enumerate(begins) if at not in joined]


def _touches(one: Numbers, other: Numbers) -> bool:
    """Whether each piece of the smaller of two rows stands behind a character of the larger one, and below none."""
    import numpy as np

    small, large = sorted((one, other), key=lambda row: np.max(row[:, 1] - row[:, 3]))
    small = small[np.argsort(small[:, 0])]
    size, most = (TOUCHES * float(np.max(row[:, 1] - row[:, 3])) for row in (small, large))
    full = large[large[:, 1] - large[:, 3] > size / TOUCHES / SMALLER]
    begins = np.append(True, small[1:, 0] - small[:-1, 2] > size)
    left, right = small[begins, 0], small[np.append(begins[1:], True), 2]
    ends, middles = np.sort(full[:, 2]), np.sort((full[:, 0] + full[:, 2]) / 2)
    near = np.searchsorted(ends, left + most) > np.searchsorted(ends, left - most)
    free = np.searchsorted(middles, left) == np.searchsorted(middles, right)
    return bool((near & free).all())


def raise_signs(signs: Signs, boxes: Numbers, rows: list[int], segments: list[int], heights: Numbers) -> None:
    """Puts the characters that stand above the line in the place of those that are raised on it (`raised`).

    Args:
        signs: code points, row by row and from left to right, changed in place; `boxes` are theirs.
        rows: where rows begin; `heights`: their sizes.
        segments: where segments begin, rows among them.
    """
    import numpy as np

    bottoms, sizes = boxes[:, 3], boxes[:, 1] - boxes[:, 3]
    uneven = np.maximum.reduceat(bottoms, rows) - np.minimum.reduceat(bottoms, rows) > RISE / 2 * heights
    uneven &= np.minimum.reduceat(sizes, rows) < SMALLER * np.maximum.reduceat(sizes, rows)
    if not uneven.any():
        return
    edges, segments = [*rows, len(signs)], [*segments, len(signs)]
    moved = (np.abs(np.diff(bottoms)) > EVEN * sizes[1:]) | (np.abs(np.diff(sizes)) > EVEN * sizes[1:])
    moved[np.asarray(segments[1:-1], int) - 1] = True
    starts = np.append(0, np.flatnonzero(moved) + 1)
    ends = [*starts[1:].tolist(), len(signs)]
    runs = list(map(_Run, starts.tolist(), ends, sizes[starts].tolist(), bottoms[starts].tolist()))
    for row in np.flatnonzero(uneven).tolist():
        inside = segments[bisect_left(segments, edges[row]) : bisect_left(segments, edges[row + 1]) + 1]
        places = [bisect_left(runs, at, key=_FIRST) for at in inside]
        for run in (run for first, end in pairwise(places) for run in _above(runs[first:end])):
            text = "".join(map(chr, signs[run.first : run.end].tolist()))
            before = chr(signs[run.first - 1]) if run.first else ""
            if any(map(str.isdigit, text)) or before.isalnum():  # a sign alone is a charge, of an ion and of no arrow
                signs[run.first : run.end] = list(map(ord, raised(text)))


def _above(runs: list[_Run]) -> Iterator[_Run]:
    """The runs that stand above what is before them: the last one on the line, or the last larger one; the first run
    above what follows it."""
    before: list[_Run] = []
    for run, after in zip(runs, [*runs[1:], None], strict=True):
        if any(_stands_above(run, base) for base in before or ([after] if after else [])):
            yield run
        else:
            before = [*(base for base in before[:1] if run.size < SMALLER * base.size), run]


def _stands_above(run: _Run, base: _Run) -> bool:
    return run.size < SMALLER * base.size and run.bottom - base.bottom > RISE * base.size
