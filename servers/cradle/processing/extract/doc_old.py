"""Files of Word 6 and Word 95: all in one stream, text in code pages, single property modifiers of one byte.

The layout is that of the file format of Word 6, of which MS-DOC's is the successor: the same tables in the same order.
What is read of it becomes what Word 97 would have written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from servers.cradle.processing.extract import doc_properties
from servers.cradle.processing.extract.doc_file import DAMAGED, LOCK, Font, Form, Piece, levels, pieces
from servers.cradle.processing.extract.doc_properties import Run
from servers.cradle.processing.extract.extractor import Locked, Unreadable
from servers.cradle.processing.extract.rtf_words import charset

_SIGNATURE, _VERSIONS = 0xA5DC, range(101, 106)
_COMPLEX, _MACINTOSH, _DEFAULT = 0x0004, 256, 1
_TEXT = 0x18
_STORIES = (0x34, 0x38, 0x3C, 0x44, 0x48, 0x4C, 0x50)
_STYLES, _CHARACTERS, _PARAGRAPHS, _FONTS, _PIECES = 0x60, 0xB8, 0xC0, 0xD0, 0x160
_END = 0x168
_LANGUAGES = {
    **dict.fromkeys((0x05, 0x0E, 0x15, 0x18, 0x1A, 0x1B, 0x1C, 0x24), "cp1250"),
    **dict.fromkeys((0x02, 0x19, 0x22, 0x23, 0x2F), "cp1251"),
    **{0x08: "cp1253", 0x1F: "cp1254", 0x0D: "cp1255", 0x01: "cp1256"},
    **dict.fromkeys((0x25, 0x26, 0x27), "cp1257"),
}
"""Main language of the file (the lower ten bits of an LCID) → code page; that of Western Europe for others."""
_OPERANDS = {
    **dict.fromkeys((0, 83), 0),
    **dict.fromkeys((2, *range(16, 20), 21, 22, 26, 27, 28, *range(30, 37), *range(38, 44), *range(45, 50)), 2),
    **dict.fromkeys((69, 72, 80, 93, 96, 97, 107, 109, 110, *range(121, 125)), 2),
    **dict.fromkeys((182, 183, 184, 189, 195, 197, 198), 2),
    **dict.fromkeys((73, 95), 3),
    **dict.fromkeys((20, 70, 192, 194, 196, 200), 4),
    **dict.fromkeys((193, 199), 5),
    187: 12,
    **dict.fromkeys((3, 12, 15, 23, 52, 68, 74, 77, 79, 81, 82, 103, 105, 106, 108, 120, 191), -1),
    **dict.fromkeys((188, 190), -2),
}
"""Code → length of its operand, 1 where it is not here; -1 and -2: it begins with its length in one or two bytes."""
_TABLE, _TABS, _NUMBERED, _SYMBOL, _PICTURE = 190, 23, 13, 74, 68
_SAME = {24: 0x2416, 25: 0x2417, 186: 0x3404, 65: 0x0800, 71: 0x0806, 75: 0x080A, 92: 0x083C, 93: 0x4A4F, 104: 0x2A48}
"""Codes whose operand Word 97 has kept: row and table, deleted text, data that is no picture, hidden text, font,
superscript."""


def is_old(stream: bytes) -> bool:
    """Whether the main stream is of Word 6 or Word 95."""
    return stream[:2] == _SIGNATURE.to_bytes(2, "little") and int.from_bytes(stream[2:4], "little") in _VERSIONS


def old_form(stream: bytes) -> Form:
    """What the file information block leads to.

    Raises:
        Unreadable: `damaged`, `encrypted`.
    """
    if len(stream) < _END:
        raise Unreadable("damaged", DAMAGED)
    language, flags, characters = (struct.unpack_from("<H", stream, at)[0] for at in (6, 0x0A, 0x14))
    if flags & LOCK:
        raise Locked
    stories = tuple(struct.unpack_from("<I", stream, at)[0] for at in _STORIES)
    return Form(
        stories,
        list(_pieces(stream, sum(stories), is_complex=bool(flags & _COMPLEX))),
        list(_fonts(_part(stream, _FONTS))),
        levels(_part(stream, _STYLES)),
        _sorted(_paragraph_runs(stream)),
        _sorted(_character_runs(stream)),
        "mac-roman" if characters == _MACINTOSH else _LANGUAGES.get(language & 0x3FF, "cp1252"),
    )


def _pieces(stream: bytes, length: int, *, is_complex: bool) -> Iterator[Piece]:
    """The text is in pieces only where Word saved what was changed and no more."""
    if is_complex:
        yield from pieces(_part(stream, _PIECES), len(stream), narrow=True)
        return
    (first,) = struct.unpack_from("<I", stream, _TEXT)
    if first + length > len(stream):
        raise Unreadable("damaged", DAMAGED)
    yield Piece(0, length, first, 1)


def _part(stream: bytes, at: int) -> bytes:
    place, length = struct.unpack_from("<II", stream, at)
    return stream[place : place + length]


def _fonts(table: bytes) -> Iterator[Font]:
    """The fonts in their order: each entry's length, then flags and weight, the character set, and the name at 6."""
    at = 2
    while at < len(table):
        end = at + 1 + table[at]
        kind = table[at + 4] if at + 4 < end <= len(table) else 0
        name = table[at + 6 : end].partition(b"\0")[0].decode("cp1252", "replace")
        yield Font(name, charset(kind, "") if kind > _DEFAULT else "")
        at = end


def _sorted(runs: Iterable[Run]) -> list[Run]:
    return sorted({run.start: run for run in runs}.values())


def _paragraph_runs(stream: bytes) -> Iterator[Run]:
    for page, start, end, at in doc_properties.entries(stream, _part(stream, _PARAGRAPHS), 7, 2):
        content = page[at + 1 : at + 1 + 2 * page[at]] if at else b""
        yield Run(start, end, int.from_bytes(content[:2], "little"), _modern(content[2:]))


def _character_runs(stream: bytes) -> Iterator[Run]:
    for page, start, end, at in doc_properties.entries(stream, _part(stream, _CHARACTERS), 1, 2):
        yield Run(start, end, 0, _modern(page[at + 1 : at + 1 + page[at]]) if at else b"")


def _modern(sprms: bytes) -> bytes:
    """The modifiers that matter as Word 97 writes them."""
    return b"".join(_rewritten(code, operand) for code, operand in _sprms(sprms))


def _rewritten(code: int, operand: bytes) -> bytes:
    if code in _SAME:
        return struct.pack("<H", _SAME[code]) + operand
    if code == _TABLE:
        return struct.pack("<HH", 0xD608, len(operand) + 1) + operand
    if code == _NUMBERED:
        return struct.pack("<HH", 0x460B, operand != b"\0")
    if code == _PICTURE and len(operand) == 4:
        return struct.pack("<H", 0x6A03) + operand
    if code == _SYMBOL and len(operand) >= 3:
        return struct.pack("<H2sH", 0x6A09, operand[:2], 0xF000 | operand[2])
    return b""


def _sprms(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Code and operand of each modifier, up to one that is cut off."""
    at = 0
    while at < len(data):
        code, at = data[at], at + 1
        size = _OPERANDS.get(code, 1)
        if size < 0:
            before, at = -size, at - size
            size = int.from_bytes(data[at - before : at], "little") - (before - 1)
        if size < 0 or at + size > len(data) or (code == _TABS and size == 255):
            return
        yield code, data[at : at + size]
        at += size
