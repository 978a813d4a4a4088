"""The cells of an XLSB sheet as far as calamine does not read them: those written in short or with fonts, merged ones,
and which number has which style.

Records: MS-XLSB 2.4. A short cell says no column, it is right of the one before it; no specification has them (kinds
12 to 18, each that of the whole cell and 11), but Excel reads them, and Aspose and SheetJS write them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator
from itertools import islice, starmap
from typing import NamedTuple

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.xlsb_records import Record, packed, records
from servers.cradle.processing.extract.xlsb_strings import raised_text

MAX_MERGES = 2**20
JOINED = 4096  # records of a block
_ROW, _TEXT, _RICH, _MERGE = 0, 6, 62, 176  # BrtRowHdr, BrtCellSt, BrtCellRString, BrtMergeCell
_NUMBERS = frozenset({2, 5, 9})  # BrtCellRk, BrtCellReal, BrtFmlaNum
_WHOLE, _SHORT, _APART = frozenset({*range(1, 12), _RICH}), frozenset(range(12, 19)), 11
_COLUMN, _CELL, _CORNERS = struct.Struct("<I"), struct.Struct("<II"), struct.Struct("<IIII")
_STYLE = 0xFFFFFF
# Records of one byte's length, the usual ones first. Many are passed at a time: a large sheet is little else.
_SHORT_RECORD = b"|".join(rb"\x%02x.{%d}" % (size, size) for size in (12, 16, 8, 9, 25, *range(10, 128)))
_ROWS_AND_CELLS = re.compile(rb"(?:[\x00-\x0b](?:%b))*+" % _SHORT_RECORD, re.DOTALL)


class Survey(NamedTuple):
    """What a sheet has of what calamine does not read. `short`: whether it has cells that are written in short, or with
    fonts."""

    merges: list[Merge]
    short: bool


NOTHING = Survey([], False)


def survey(blocks: Iterable[bytes]) -> Survey:
    """What the sheet's part has, up to where it breaks.

    Raises:
        Unreadable: `zip_bomb` where over `MAX_MERGES` ranges are merged.
    """
    merges, short = list[Merge](), False
    for kind, content in records(blocks, _ROWS_AND_CELLS):
        short |= kind in _SHORT or kind == _RICH
        if kind == _MERGE and len(content) >= _CORNERS.size:
            top, bottom, left, right = _CORNERS.unpack_from(content)
            merges.append(Merge(top, left, bottom, right))
            if len(merges) > MAX_MERGES:
                raise Unreadable("zip_bomb", f"A sheet of the file merges over {MAX_MERGES} ranges; it was not read.")
    return Survey(merges, short)


def in_full(blocks: Iterable[bytes], above: Collection[int] = ()) -> Iterator[bytes]:
    """The sheet's part with its short cells written as whole ones, and no fonts in cells; up to where it breaks.

    Args:
        above: fonts whose pieces are raised.
    """
    whole = starmap(packed, _whole(records(blocks), above))
    while block := b"".join(islice(whole, JOINED)):
        yield block


def _whole(read: Iterable[Record], above: Collection[int]) -> Iterator[Record]:
    column = -1
    for kind, content in read:
        if kind == _ROW:
            column = -1
        elif kind in _SHORT:
            column = (column + 1) & 0xFFFFFFFF
            yield kind - _APART, _COLUMN.pack(column) + content
            continue
        elif kind in _WHOLE and len(content) >= _COLUMN.size:
            (column,) = _COLUMN.unpack_from(content)
        yield _plain(content, above) if kind == _RICH else (kind, content)


def styled(blocks: Iterable[bytes], styles: Collection[int]) -> Iterator[tuple[int, int, int]]:
    """Row, column and style of each number that may have one of these styles, others among them."""
    row = -1
    for kind, content in records(blocks, _others(styles)):
        if kind == _ROW and len(content) >= _COLUMN.size:
            (row,) = _COLUMN.unpack_from(content)
        elif kind in _NUMBERS and len(content) >= _CELL.size:
            column, style = _CELL.unpack_from(content)
            yield row, column, style & _STYLE


def _plain(content: bytes, above: Collection[int]) -> Record:
    """A cell of a text with fonts as one of the text alone; nothing reads what is behind the text."""
    rich = content[_CELL.size :]
    return _TEXT, content[: _CELL.size] + (raised_text(rich, above) if above else rich)[1:]


def _others(styles: Collection[int]) -> re.Pattern[bytes]:
    """Cells that are no numbers, and numbers whose style's lowest byte is none of these styles'."""
    lows = b"".join(rb"\x%02x" % low for low in sorted({style & 0xFF for style in styles}))
    texts = rb"[\x01\x03\x04\x06-\x08\x0a\x0b](?:%b)" % _SHORT_RECORD
    numbers = rb"\x02\x0c.{4}[^%b].{7}|\x05\x10.{4}[^%b].{11}" % (lows, lows)
    return re.compile(rb"(?:%b|%b)*+" % (texts, numbers), re.DOTALL)
