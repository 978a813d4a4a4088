"""CSV and TSV: encoding and dialect found in the content, all rows."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

from servers.cradle.processing.extract.arranged import read_sheet
from servers.cradle.processing.extract.encoding import decode
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.product_table import SEARCHED, names_columns
from servers.cradle.processing.extraction import Item

_DELIMITERS = ";,\t|"
MAX_CELL = 1_000_000


class Delimited:
    name = "csv"
    version = "10"
    media_types = frozenset({"text/csv"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Tables and products; cells as written, white space around them removed."""
        del inner
        text = decode(file.data)
        yield from read_sheet(rows(text))


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The rows of delimited text.

    Raises:
        Unreadable: `too_large` for a cell beyond `MAX_CELL`, which is mostly a quote that is never closed.
    """
    mark, text = _declared(text)
    csv.field_size_limit(MAX_CELL)
    mark = mark or delimiter(text)
    try:
        for row in _read(io.StringIO(text, newline=""), mark) if _is_sound(text, mark) else _mended(text, mark):
            yield tuple(cell.strip() for cell in row)
    except csv.Error:
        raise Unreadable("too_large", "A cell of the table is never closed or longer than a million signs.") from None


def _read(lines: Iterable[str], mark: str, **how: Any) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=mark, skipinitialspace=True, **how)


def _is_sound(text: str, mark: str) -> bool:
    """Whether each quote opens or closes a cell, or is doubled in one."""
    try:
        deque(_read(io.StringIO(text, newline=""), mark, strict=True) if '"' in text else (), 0)
    except csv.Error:
        return False
    return True


def _mended(text: str, mark: str) -> Iterator[list[str]]:
    """The rows of a text with stray quotes. One that is never closed in its line does not take the rows below into its
    cell where that line and the next are rows of one width."""
    lines = text.split("\n")
    at = 0

    def left() -> Iterator[str]:
        nonlocal at
        while at < len(lines):
            at += 1
            yield lines[at - 1] + "\n"

    while at < len(lines):
        row, closed = _alone(lines[at], mark)
        if closed or (at + 1 < len(lines) and 3 <= len(row) == len(_alone(lines[at + 1], mark)[0])):
            at += 1
            yield row
        else:
            yield next(_read(left(), mark))


def _alone(line: str, mark: str) -> tuple[list[str], bool]:
    """The cells of one line by itself, and whether its quotes are closed; else they are signs as any other."""
    found = list(_read((line, "."), mark))
    if len(found) == 2:
        return found[0], True
    return next(_read((line,), mark, quoting=csv.QUOTE_NONE)), False


def delimiter(text: str) -> str:
    """The sign that parts the columns: by it, a line names columns, or else most of the first lines have the same
    number of cells, over 1."""
    sample = "\n".join(text[:65536].split("\n")[:100])
    best, score = ",", (False, 0.0)
    for sign in _DELIMITERS:
        lines = list(csv.reader(io.StringIO(sample, newline=""), delimiter=sign))
        widths = Counter(len(row) for row in lines if row)
        if not widths:
            continue
        width, like = max(widths.items(), key=lambda item: (item[1] * (item[0] > 1), item[0]))
        even = like / sum(widths.values()) * (2 if width > 2 else 1) if width > 1 else 0.0
        found = any(map(names_columns, lines[:SEARCHED])), even
        if found > score:
            best, score = sign, found
    return best


def _declared(text: str) -> tuple[str, str]:
    """Excel's own first line `sep=;`, and the text after it."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first) == 5:
        return first[4], rest
    return "", text
