"""The XML of a worksheet cut before rows: worksheets with some of its rows each. Pure.

It is cut as bytes. A parser would cost more than the reading of the cells, and here it would know nothing more: in XML
without comments, CDATA and instructions, `<row` is the start of a row and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_HEAD = 2 * 2**20  # bytes of XML before the rows: sixteen thousand columns; each piece has them
MAX_HELD = 32 * 2**20  # bytes of XML of one row, and behind the rows
_ROWS_OPEN = re.compile(rb"<((?:[\w.-]+:)?)sheetData\s*>")
_ROW_NUMBER = re.compile(rb"""\sr\s*=\s*["']([^"']*)""")


class Unusual(Exception):
    """A worksheet that cannot be cut safely. It may still be read as a whole."""


def pieces(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Worksheets with about a block of rows each, then one without rows and with what follows them.

    Each row keeps its number: one that does not say its own follows the row before it, in another piece or not.

    Raises:
        Unusual: the XML has comments, CDATA, instructions or a DOCTYPE, is in UTF-16, or is cut off; a row's number is
            none; or more than `MAX_HEAD` or `MAX_HELD` bytes come without the start of a row.
    """
    held = b""
    while not (opened := _ROWS_OPEN.search(held)):
        held = _longer(held, next(blocks, b""), MAX_HEAD)
    head, prefix, held = held[: opened.start()], opened[1], held[opened.end() :]
    _refuse_markup(head[4:])  # behind the start of the XML declaration
    # With the merged cells before the rows, none, calamine does not search each piece for them.
    before = b"%b<%bmergeCells/><%bsheetData>" % (head, prefix, prefix)
    start, end = b"<%brow" % prefix, b"</%bsheetData" % prefix
    row, ended = 0, -1
    while ended < 0:
        ended = held.find(end)
        cut = held.rfind(start) if ended < 0 else ended
        if cut > 0:
            rows, held = held[:cut], held[cut:]
            _refuse_markup(rows)
            last = b'%b r="%d"/>' % (start, row) if row else b""
            yield b"%b%b%b%b></%bworksheet>" % (before, last, rows, end, prefix)
            row = _last_row(rows, start, row)
        if ended < 0:
            held = _longer(held, next(blocks, b""))
    for block in blocks:
        held = _longer(held, block)
    _refuse_markup(held)
    yield head + opened[0] + held


def _longer(held: bytes, block: bytes, most: int = MAX_HELD) -> bytes:
    if not block or len(held) > most:
        raise Unusual
    return held + block


def _refuse_markup(xml: bytes) -> None:
    if b"<!" in xml or b"<?" in xml:
        raise Unusual


def _last_row(rows: bytes, start: bytes, row: int) -> int:
    """The number of the last row, from 1, where that of the row before the first is `row`."""
    for tag in re.finditer(re.escape(start) + rb"\b[^>]*>", rows):
        number = _ROW_NUMBER.search(tag[0])
        if number and not re.fullmatch(rb"[0-9]{1,7}", number[1]):
            raise Unusual
        row = int(number[1]) if number else row + 1
    return row
