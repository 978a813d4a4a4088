"""What a Word 97-2003 file says of its paragraphs and characters (MS-DOC 2.6, 2.9): formatted disk pages of runs, each
with a list of single property modifiers (sprm)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

PAGE = 512
_OPERANDS = (1, 1, 2, 4, 2, 2, -1, 3)  # by the highest three bits of a sprm; -1: its own length comes first
_TABLE, _TABS = 0xD608, 0xC615
_IN_TABLE, _ROW_END, _LIST, _LEVEL = 0x2416, 0x2417, 0x460B, 0x2640
_HEADER, _ELSEWHERE = 0x3404, (0x6645, 0x6646)
_DELETED, _SYMBOL, _FONT = 0x0800, 0x6A09, 0x4A4F
_HIDDEN, _SCRIPT, _STYLE = 0x083C, 0x2A48, 0x4A30  # sprmCFVanish, sprmCIss, sprmCIstd
_ON = (b"\x01", b"\x81")  # and the contrary of its style, which hides nothing
_PICTURE, _NO_PICTURES = 0x6A03, (0x0806, 0x080A)  # sprmCPicLocation; sprmCFData, sprmCFOle2 give it another meaning


class Run(NamedTuple):
    """Bytes of the main stream from `start` to `end`, and their properties as the file holds them."""

    start: int
    end: int
    style: int
    sprms: bytes


class Paragraph(NamedTuple):
    """`level` 1 to 9 is a heading; `edges` are the right edges of a row's cells in twips, at its end."""

    level: int = 0
    listed: bool = False
    in_table: bool = False
    row_end: bool = False
    header: bool = False
    edges: Sequence[int] = ()


class Characters(NamedTuple):
    """`above`: superscript. `font` is a number in the table of fonts, -1 where the run names none; `symbol` a character
    set by its code; `picture` a place in the data stream, -1 where the run is none."""

    deleted: bool = False
    hidden: bool = False
    above: bool = False
    font: int = -1
    symbol: int = 0
    picture: int = -1


def paragraph_runs(stream: bytes, table: bytes) -> list[Run]:
    """The runs of paragraphs (PlcBtePapx), by their start."""
    found: dict[int, Run] = {}
    for page, start, end, at in entries(stream, table, 13):
        content = _paragraph_content(page[at:])
        found[start] = Run(start, end, int.from_bytes(content[:2], "little"), content[2:])
    return sorted(found.values())


def character_runs(stream: bytes, table: bytes) -> list[Run]:
    """The runs of characters (PlcBteChpx), by their start."""
    found: dict[int, Run] = {}
    for page, start, end, at in entries(stream, table, 1):
        found[start] = Run(start, end, 0, page[at + 1 : at + 1 + page[at]] if at else b"")
    return sorted(found.values())


def run_at(runs: list[Run], place: int) -> Run | None:
    index = bisect_right(runs, place, key=lambda run: run.start) - 1
    return runs[index] if index >= 0 and place < runs[index].end else None


def paragraph(run: Run, levels: dict[int, int], data: bytes) -> Paragraph:
    """A paragraph's properties. `levels` are those of styles; `data` is the stream for what is too long for a page."""
    found = Paragraph(level=levels.get(run.style, 0))
    for code, operand in _all_sprms(run.sprms, data):
        value = int.from_bytes(operand[:2], "little")
        if code == _LEVEL:
            found = found._replace(level=_level(value))
        elif code == _LIST:
            found = found._replace(listed=0 < value < 0x7FF)
        elif code == _IN_TABLE:
            found = found._replace(in_table=bool(value))
        elif code == _ROW_END:
            found = found._replace(row_end=bool(value))
        elif code == _HEADER:
            found = found._replace(header=bool(value))
        elif code == _TABLE:
            found = found._replace(edges=_edges(operand))
    return found


def outline(sprms: bytes) -> int:
    """The level of heading that a style's modifiers set, 0 where none."""
    return next((_level(operand[0]) for code, operand in _sprms(sprms) if code == _LEVEL and operand), 0)


def above(sprms: bytes) -> bool | None:
    """Whether a style's modifiers put characters above the line; None: they leave that to the style below it."""
    return next((operand == b"\x01" for code, operand in _sprms(sprms) if code == _SCRIPT), None)


def characters(run: Run, raising: Collection[int] = ()) -> Characters:
    """The run's characters. `raising`: numbers of styles that put them above the line."""
    found, elsewhere = Characters(), False
    for code, operand in _sprms(run.sprms):
        if code == _DELETED:
            found = found._replace(deleted=operand == b"\x01")
        elif code == _HIDDEN:
            found = found._replace(hidden=operand in _ON)
        elif code == _STYLE:
            found = found._replace(above=int.from_bytes(operand, "little") in raising)
        elif code == _SCRIPT:
            found = found._replace(above=operand == b"\x01")
        elif code == _FONT:
            found = found._replace(font=int.from_bytes(operand, "little"))
        elif code == _SYMBOL and len(operand) == 4:
            font, symbol = struct.unpack("<HH", operand)
            found = found._replace(font=font, symbol=symbol)
        elif code == _PICTURE:
            found = found._replace(picture=int.from_bytes(operand, "little"))
        elif code in _NO_PICTURES:
            elsewhere = elsewhere or operand == b"\x01"
    return found._replace(picture=-1) if elsewhere else found


def entries(stream: bytes, table: bytes, width: int, size: int = 4) -> Iterator[tuple[bytes, int, int, int]]:
    """Of each page that a bin table names: the page, start and end of each run, and where its properties are in it.

    Args:
        width: bytes of what a page holds for each run.
        size: bytes of a page's number in the table.
    """
    count = max(len(table) - 4, 0) // (4 + size)
    numbers = struct.unpack_from(f"<{count}{'I' if size == 4 else 'H'}", table, 4 * (count + 1)) if count else ()
    for number in dict.fromkeys(each & 0x3FFFFF for each in numbers):
        page = stream[number * PAGE : (number + 1) * PAGE]
        runs = page[-1] if len(page) == PAGE else 0
        if 4 * (runs + 1) + width * runs >= PAGE:
            continue
        places = struct.unpack_from(f"<{runs + 1}I", page)
        for index in range(runs):
            if places[index] < places[index + 1]:
                yield page, places[index], places[index + 1], 2 * page[4 * (runs + 1) + width * index]


def _paragraph_content(data: bytes) -> bytes:
    """Style and modifiers (PapxInFkp): after half their length, or after 0 and half their length."""
    if data[:1] == b"\0":
        return data[2 : 2 + 2 * data[1]] if len(data) > 1 else b""
    return data[1 : 2 * data[0]] if data else b""


def _all_sprms(sprms: bytes, data: bytes) -> Iterator[tuple[int, bytes]]:
    for code, operand in _sprms(sprms):
        if code in _ELSEWHERE:
            at = int.from_bytes(operand, "little")
            size = int.from_bytes(data[at : at + 2], "little")
            yield from _sprms(data[at + 2 : at + 2 + size])
        else:
            yield code, operand


def _sprms(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Code and operand of each modifier, up to one that is cut off or of no known length."""
    at = 0
    while at + 2 < len(data):
        code, at = int.from_bytes(data[at : at + 2], "little"), at + 2
        size = _OPERANDS[code >> 13]
        if code == _TABLE:
            size, at = int.from_bytes(data[at : at + 2], "little") - 1, at + 2
        elif size < 0:
            size, at = data[at], at + 1
        if size < 0 or (code == _TABS and size == 255):
            return
        yield code, data[at : at + size]
        at += size


def _level(value: int) -> int:
    return value + 1 if value < 9 else 0


def _edges(operand: bytes) -> tuple[int, ...]:
    """The right edges of a row's cells (TDefTableOperand): after the number of cells the places of all edges."""
    count = operand[0] if operand else 0
    return struct.unpack_from(f"<{count}h", operand, 3) if len(operand) >= 3 + 2 * count else ()
