"""What a cell of an XLSX file shows beside its number, such as `1.20 €` for 1.2, `24 V` for 24 and `19 %` for 0.19.

calamine gives the number alone. Formats and cells: ECMA-376-1, 18.8.30, 18.8.31 and 18.3.1.4.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import reduce
from typing import NamedTuple

from servers.cradle.processing.extract.columns import Figure, Measured
from servers.cradle.processing.extract.containers import read_part, whole_blocks
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.quantities import currency_of
from servers.cradle.processing.extract.xml import parse

BLOCK = 2**20
MAX_UNIT = 12
_BUILT_IN = {"9": "0%", "10": "0.00%"}
_TOKEN = re.compile(r'\[\$([^\]-]*)[^\]]*\]|"([^"]*)"|\\(.)|_.|\*.|\[[^\]]*\]|([€£$°])|(General|[#0?][#0?.,/]*)|(.)')
_UNIT = re.compile(r"[^\W\d_]|[€$£°\"]")
_POSITION = re.compile(rb"""\br=["']([A-Z]{1,3})([0-9]{1,7})["']""")
_TYPE = re.compile(rb"""\bt=["'](?!n["'])""")
_STYLE = re.compile(rb"""\bs=["']([0-9]+)["']""")


class Format(NamedTuple):
    """What stands beside the number, and whether the number counts hundredths."""

    unit: str
    percent: bool = False


class Shown(NamedTuple):
    """What the cell in a row and column (from 0) shows."""

    row: int
    column: int
    format: Format


def cell_formats(archive: zipfile.ZipFile) -> list[str]:
    """The code of each cell style's number format, '' where it is one of Excel's own."""
    path = next((name for name in archive.namelist() if re.search(r"(^|[\\/])styles\.xml$", name, re.IGNORECASE)), None)
    styles = path and read_part(archive, path)
    if not styles:
        return []
    try:
        root = parse(styles)
    except Unreadable:  # calamine judges the file
        return []
    codes = _BUILT_IN | {each.get("numFmtId"): each.get("formatCode", "") for each in root.iter("{*}numFmt")}
    return [codes.get(each.get("numFmtId"), "") for each in next(root.iter("{*}cellXfs"), ())]


def format_of(code: str) -> Format | None:
    """What a format's code puts beside a positive number; None where it adds nothing, or is one of dates or texts."""
    before = after = ""
    digits = percent = False
    for money, quoted, escaped, symbol, number, other in _TOKEN.findall(code):
        if other == ";":
            break
        if other not in ("", " ", "%", "-", "+", "(", ")") or number.endswith(","):  # a comma at the end: thousands
            return None
        percent |= other == "%"
        digits |= bool(number)
        text = money or quoted or escaped or symbol or (" " if other == " " else "")
        before, after = (before, after + text) if digits else (before + text, after)
    unit = after.strip() or (before.strip() if currency_of(before) else "")
    if not digits or not (percent or (_UNIT.search(unit) and len(unit) <= MAX_UNIT)):
        return None
    return Format("%" if percent else unit, percent)


def marks(archive: zipfile.ZipFile, part: str, styles: Mapping[bytes, Format]) -> Iterator[Shown]:
    """The cells of a sheet's part that have one of these styles, in their order; up to where the part breaks."""
    cell = re.compile(rb"""<(?:[\w.-]+:)?c\b([^<>]*\bs=["'](?:%b)["'][^<>]*)>""" % b"|".join(styles))
    held = b""
    for block in whole_blocks(archive, part, BLOCK):
        held += block
        cut = held.rfind(b"<")
        for found in cell.finditer(held, 0, max(cut, 0)):
            place, style = _POSITION.search(found[1]), _STYLE.search(found[1])
            if place and style and not _TYPE.search(found[1]):
                yield Shown(int(place[2]) - 1, _column(place[1]), styles[style[1]])
        held = held[max(cut, 0) :]


def formats(archive: zipfile.ZipFile) -> dict[bytes, Format]:
    """Cell style → what its format adds, for styles whose format adds anything."""
    return {b"%d" % at: found for at, code in enumerate(cell_formats(archive)) if (found := format_of(code))}


def measured(row: list[str], left: int, marks: list[Shown]) -> list[str]:
    """The row, whose first cell stands in column `left`, with what its numbers show."""
    for mark in marks:
        at = mark.column - left
        if 0 <= at < len(row) and isinstance(figure := row[at], Figure):
            amount = f"{(Decimal(figure) * 100).normalize():f}" if mark.format.percent else str(figure)
            row[at] = Measured(amount, mark.format.unit)
    return row


def _column(letters: bytes) -> int:
    return reduce(lambda number, letter: number * 26 + letter - 64, letters, 0) - 1
