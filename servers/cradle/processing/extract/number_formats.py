"""What a cell of an XLSX file shows beside its number, such as `1.20 €` for 1.2, `24 V` for 24 and `19 %` for 0.19.

calamine gives the number alone. Formats and cells: ECMA-376-1, 18.8.30, 18.8.31 and 18.3.1.4.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, reduce
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from servers.cradle.processing.extract.columns import Figure, measured_in
from servers.cradle.processing.extract.containers import read_part, whole_blocks
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.quantities import is_currency
from servers.cradle.processing.extract.xml import parse

BLOCK = 2**20
MAX_UNIT = 12
MAX_CODE = 255  # of Excel
MAX_TAG = 1024
MAX_COLUMNS = 2**14
BUILT_IN = {"9": "0%", "10": "0.00%"}
_TOKEN = re.compile(r'\[\$([^\]-]*)[^\]]*\]|"([^"]*)"|\\(.)|_.|\*.|\[[^\]]*\]|([€£$°])|(General|[#0?][#0?.,/]*)|(.)')
_CONDITION = re.compile(r"\[\s*[<>=]")
_UNIT = re.compile(r"[^\W\d_]|[€$£°\"%‰]")
_SIGNS, _AROUND = " -+()", "-+()"
_PADDED = re.compile(r"(?:\[\$-[0-9A-Fa-f]+\])?(0{2,20})")
_TAG = re.compile(
    rb"""<(?:[\w.-]{1,64}:)?(c|row)(?:\sr="([A-Z]{0,3})([0-9]{1,7})")?((?:[\s/][^<>]{0,%d})?)>""" % MAX_TAG
)
_POSITION = re.compile(rb"""\sr\s*=\s*["']([A-Z]{0,3})([0-9]{1,7})["']""")
_TYPE = re.compile(rb"""\st\s*=\s*["'](?!n["'])""")
_STYLE = re.compile(rb"""\ss\s*=\s*["']([0-9]+)["']""")
_DIGITS = itemgetter(2)

_Tag = tuple[bytes, bytes, bytes, bytes]
"""Whether a row or a cell starts, the letters and digits of its place, '' for none, and its other attributes."""


class Format(NamedTuple):
    """What stands beside the number, and whether the number counts hundredths."""

    unit: str
    percent: bool = False


class Padded(NamedTuple):
    """How many digits are shown at least, with leading zeros."""

    digits: int


Cell = Format | Padded | str
"""What a cell shows: something beside its number, the number in more digits, or another text than its value."""


class Shown(NamedTuple):
    """What the cells of a row (from 0) show, by their columns (from 0)."""

    row: int
    cells: dict[int, Cell]


def cell_formats(archive: zipfile.ZipFile) -> list[str]:
    """The code of each cell style's number format, '' where it is one of Excel's own that the file does not write: of
    those, which one shows a currency is for the reader's machine to say (7 and 44: dollars here, euros there)."""
    path = next((name for name in archive.namelist() if re.search(r"(^|[\\/])styles\.xml$", name, re.IGNORECASE)), None)
    styles = path and read_part(archive, path)
    if not styles:
        return []
    try:
        root = parse(styles)
    except Unreadable:  # calamine judges the file
        return []
    named = root.iterfind("{*}numFmts/{*}numFmt")  # conditional formats have numbers of their own
    written = {each.get("numFmtId"): code for each in named if (code := each.get("formatCode")) is not None}
    codes = BUILT_IN | written
    return [codes.get(each.get("numFmtId"), "") for each in next(root.iter("{*}cellXfs"), ())]


def format_of(code: str) -> Format | None:
    """What a format's code puts beside a number; None where it adds nothing, not the same to every number, or is one of
    dates or texts."""
    if len(code) > MAX_CODE or _CONDITION.search(code):
        return None
    sections = _sections(code)
    found = _added(sections[0])
    others = (each for place, each in enumerate(sections) if place and _shows_number(each, place))
    return found if found and all(_added(each) == found for each in others) else None


_Token = tuple[str, ...]


def _sections(code: str) -> list[list[_Token]]:
    """The tokens for positive numbers, negative ones, zero and texts, as far as the code has them."""
    found: list[list[_Token]] = [[]]
    for token in _TOKEN.findall(code):
        if token[-1] == ";":
            found.append([])
        else:
            found[-1].append(token)
    return found


def _shows_number(section: list[_Token], place: int) -> bool:
    """Whether a section after the first shows digits: that of accounting for zero shows a dash and blanks."""
    digits = "".join(number for *_, number, _ in section)
    texts = any(other == "@" for *_, other in section)
    return not texts and any(sign in digits for sign in ("0#?G" if place == 1 else "0G"))


def _added(section: list[_Token]) -> Format | None:
    before = after = ""
    digits = percent = parted = False
    for money, quoted, escaped, symbol, number, other in section:
        literal = other if not other.isascii() else " " if other == " " else ""
        if (other and not literal and other not in "%-+()") or number.endswith(","):  # a comma at the end: thousands
            return None
        if number and parted:
            return None
        percent |= other == "%"
        digits |= bool(number)
        text = money or quoted or (escaped not in _AROUND and escaped) or symbol or literal
        parted |= digits and bool((text or escaped or other).strip())
        before, after = (before, after + text) if digits else (before + text, after)
    return beside(before, after, percent=percent) if digits else None


def beside(before: str, after: str, *, percent: bool) -> Format | None:
    """What these make of a number that stands between them: a currency, a unit, or nothing."""
    money = before.strip(_SIGNS)
    unit = after.strip() or (money if is_currency(money) else "")
    if not percent and not ((_UNIT.search(unit) or is_currency(unit)) and len(unit) <= MAX_UNIT):
        return None
    return Format("%" if percent else unit, percent)


def marks(archive: zipfile.ZipFile, part: str, styles: Mapping[bytes, Format]) -> Iterator[Shown]:
    """The rows of a sheet's part with cells of these styles, in their order; up to where the part breaks."""

    @lru_cache(maxsize=1024)
    def format_by(attributes: bytes) -> Format | None:
        style = _STYLE.search(attributes)
        return styles.get(style[1]) if style and not _TYPE.search(attributes) else None

    row, column, found = -1, 0, Shown(-1, {})
    for kind, letters, digits, attributes in chain.from_iterable(_tags(archive, part)):
        if kind == b"row":
            row, column = int(digits) - 1 if digits else row + 1, 0
            continue
        if letters:
            column = _column(letters)
        if (format := format_by(attributes)) and column < MAX_COLUMNS:
            at = int(digits) - 1 if digits else row
            if at != found.row:
                yield found
                found = Shown(at, {})
            found.cells[column] = format
        column += 1
    yield found


def shown_in_rows(cells: Iterable[tuple[int, int, int]], formats: Mapping[int, Cell]) -> Iterator[Shown]:
    """The rows of cells that are given as row, column and style, as far as their styles show anything."""
    found = Shown(-1, {})
    for row, column, style in cells:
        if format := formats.get(style):
            if row != found.row:
                yield found
                found = Shown(row, {})
            found.cells[column] = format
    yield found


def _tags(archive: zipfile.ZipFile, part: str) -> Iterator[list[_Tag]]:
    """The starts of rows and cells, in their order."""
    held = b""
    for block in whole_blocks(archive, part, BLOCK):
        held += block
        tags = _TAG.findall(held)
        yield tags if all(map(_DIGITS, tags)) else list(map(_placed, tags))
        cut = held.rfind(b"<")
        held = held[cut:] if cut > held.rfind(b">") and len(held) - cut <= 2 * MAX_TAG else b""


def _placed(tag: _Tag) -> _Tag:
    """The tag with its place, which may stand behind other attributes."""
    kind, letters, digits, attributes = tag
    if not digits and (place := _POSITION.search(attributes)):
        letters, digits = place[1], place[2]
    return kind, letters, digits, attributes


def formats(codes: Sequence[str]) -> dict[bytes, Format]:
    """Cell style → what its format adds, for styles whose format adds anything."""
    adds = {code: format_of(code) for code in set(codes)}
    return {b"%d" % at: found for at, code in enumerate(codes) if (found := adds[code])}


def padded_of(code: str) -> Padded | None:
    """How many digits a format's code shows at least, where it shows nothing else: two or more."""
    zeros = _PADDED.fullmatch(code)
    return Padded(len(zeros[1])) if zeros else None


def shows(codes: Sequence[str]) -> dict[int, Cell]:
    """Cell style → what its format shows, for styles whose format shows more than a number. In XLSX, whose numbers with
    leading zeros come as texts, `formats` does."""
    found = {code: padded_of(code) or format_of(code) for code in set(codes)}
    return {at: shown for at, code in enumerate(codes) if (shown := found[code])}


def measured(row: list[str], left: int, shown: Shown) -> list[str]:
    """The row, whose first cell stands in column `left`, with what its cells show."""
    for column, cell in shown.cells.items():
        at = column - left
        if 0 <= at < len(row):
            if isinstance(cell, str):
                row[at] = cell
            elif isinstance(figure := row[at], Figure):
                row[at] = _in_format(figure, cell)
    return row


def _in_format(figure: Figure, cell: Format | Padded) -> str:
    if isinstance(cell, Padded):
        return padded(figure, cell.digits)
    number = f"{(Decimal(figure) * 100).normalize():f}" if cell.percent else figure
    return measured_in(cell.unit)(number)


def padded(number: str, digits: int) -> str:
    """A whole number in so many digits at least."""
    return number.zfill(digits) if number.isascii() and number.isdigit() and len(number) < digits else number


@lru_cache(maxsize=MAX_COLUMNS)
def _column(letters: bytes) -> int:
    return reduce(lambda number, letter: number * 26 + letter - 64, letters, 0) - 1
