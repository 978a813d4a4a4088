"""How tables lie on a sheet: lists beside one another, and data sheets on their side, with a column for each article.

Only a sheet that is small is looked at so. A list of thousands of rows is one, and is read as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise, zip_longest

from servers.cradle.processing.extract.column_names import role_of
from servers.cradle.processing.extract.columns import Figure, Row, shown
from servers.cradle.processing.extract.listed import turned
from servers.cradle.processing.extract.product_table import products_below, read_rows
from servers.cradle.processing.extract.text import row_text
from servers.cradle.processing.extraction import Block, Item

MAX_ROWS = 2000


def read_sheet(rows: Iterable[Row], page: int = 0, name: str = "") -> Iterator[Item]:
    """Blocks and products of a sheet's rows: each table from top to bottom, those beside one another from the left."""
    stream = iter(rows)
    held = list(islice(stream, MAX_ROWS + 1))
    if len(held) > MAX_ROWS:
        yield from read_rows(chain(held, stream), page, name)
        return
    for part in _beside(held):
        yield from _on_its_side(part, page, name) or read_rows(part, page, name)


def _beside(rows: list[Row]) -> list[list[Row]]:
    """The rows of each list: parted at empty columns before a further article number in one header."""
    used = [any(cells) for cells in zip_longest(*rows, fillvalue="")]
    starts = [at for at, here in enumerate(used) if here and (at == 0 or not used[at - 1])]
    for row in rows:
        articles = [at for at, cell in enumerate(row) if cell and role_of(cell) == "article"]
        begins = sorted({max(start for start in starts if start <= at) for at in articles})
        if len(begins) > 1:
            return [[row[first:last] for row in rows] for first, last in pairwise([0, *begins[1:], len(used)])]
    return [rows]


def _on_its_side(rows: list[Row], page: int, name: str) -> list[Item]:
    """What a data sheet with names in its first column says of its articles; nothing where it is none."""
    filled = [tuple(cell) for cell in zip(*_padded(rows), strict=True) if any(cell)]
    table = [row for row in zip(*filled, strict=True) if sum(map(bool, row)) > 1]
    names = [row[0] for row in table]
    if not names or any(isinstance(each, Figure) for each in names) or 2 * sum(map(_counts, names)) > len(names):
        return []
    stands = turned(table)
    if stands is None or any(role_of(cell) for row in table if role_of(row[0]) == "article" for cell in row[1:]):
        return []
    lines = [row_text([shown(cell) for cell in row if cell]) for row in rows if sum(map(bool, row)) == 1]
    said = [Block("paragraph", "\n".join(lines), page=page)] if lines else []
    return [*said, *products_below(stands, lines, page, name)]


def _padded(rows: list[Row]) -> list[Row]:
    width = max(map(len, rows), default=0)
    return [(*row, *[""] * (width - len(row))) for row in rows]


def _counts(name: str) -> bool:
    return any(map(str.isdigit, name))
