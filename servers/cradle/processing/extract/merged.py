"""Merged cells of a sheet: going down, each row says what it is of; headers of several rows become one. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from servers.cradle.processing.extract.column_names import role_of
from servers.cradle.processing.extract.columns import Row, shown
from servers.cradle.processing.extract.product_table import SEARCHED

HEADER_ROWS = 4


class Merge(NamedTuple):
    """A range of cells that shows as one; rows and columns count from 0, both ends are inside."""

    top: int
    left: int
    bottom: int
    right: int


def unmerged(rows: Iterable[Row], merges: Iterable[Merge]) -> Iterator[Row]:
    """The rows as a reader sees them: one header row, and the text of a cell merged over rows in each of them."""
    held = list(merges)
    stream = iter(rows)
    head = list(islice(stream, SEARCHED))
    top, bottom = _header(head, held)
    if bottom > top:
        for row in range(top, bottom + 1):
            head[row] = _across(head[row], row, held)
        whole = list(_down(enumerate(head), held))
        header = tuple(_joined(column) for column in zip(*_even(whole[top : bottom + 1]), strict=True))
        head[top] = header
    kept = ((index, row) for index, row in enumerate(head) if not top < index <= bottom)
    yield from _down(chain(kept, enumerate(stream, len(head))), [each for each in held if each.top > bottom])


def _header(head: list[Row], merges: list[Merge]) -> tuple[int, int]:
    """First and last row of a header of several rows; (-1, -1) where there is none."""
    for merge in sorted(merges):
        tall = merge.bottom > merge.top and merge.bottom - merge.top < HEADER_ROWS
        if tall and merge.bottom < len(head) and role_of(_at(head[merge.top], merge.left)):
            return merge.top, merge.bottom
        below = head[merge.top + 1] if merge.top + 1 < len(head) else ()
        beside = any(cell for index, cell in enumerate(_at_all(head, merge.top)) if index < merge.left) or (
            sum(bool(cell) for cell in _at_all(head, merge.top)) > 1
        )
        if merge.right > merge.left and beside and sum(bool(role_of(cell)) for cell in below) >= 2:
            return merge.top, merge.top + 1
    return -1, -1


def _across(row: Row, number: int, merges: list[Merge]) -> Row:
    cells = list(row)
    for merge in merges:
        if merge.top == number and merge.left < len(cells):
            for column in range(merge.left, min(merge.right + 1, len(cells))):
                cells[column] = cells[column] or cells[merge.left]
    return tuple(cells)


def _down(rows: Iterable[tuple[int, Row]], merges: list[Merge]) -> Iterator[Row]:
    """Repeats the text of each cell that is merged over rows; what a row says itself stays."""
    starts: dict[int, list[Merge]] = defaultdict(list)
    for merge in merges:
        if merge.bottom > merge.top:
            starts[merge.top].append(merge)
    running: list[tuple[Merge, str]] = []
    for number, row in rows:
        running = [(merge, text) for merge, text in running if merge.bottom >= number]
        running += [(merge, _at(row, merge.left)) for merge in starts.pop(number, ())]
        if not running:
            yield row
            continue
        cells = list(row)
        for merge, text in running:
            if merge.left < len(cells):
                cells[merge.left] = cells[merge.left] or text
        yield tuple(cells)


def _joined(column: tuple[str, ...]) -> str:
    return " ".join(dict.fromkeys(shown(cell) for cell in column if cell))


def _even(rows: list[Row]) -> list[Row]:
    width = max(map(len, rows))
    return [(*row, *[""] * (width - len(row))) for row in rows]


def _at(row: Row, column: int) -> str:
    return row[column] if column < len(row) else ""


def _at_all(head: list[Row], number: int) -> Row:
    return head[number] if number < len(head) else ()
