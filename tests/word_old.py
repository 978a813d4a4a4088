"""Writes files of Word 6 and Word 95 for tests: one stream, in the layout of that time (of which MS-DOC's came)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from servers.cradle.processing.extract.compound_file import compound
from tests.word_file import pieces

TEXT = 0x300
_STORIES = (0x34, 0x38, 0x3C, 0x44, 0x48, 0x4C, 0x50)
_STYLES, _CHARACTERS, _PARAGRAPHS, _FONTS, _PIECES = 0x60, 0xB8, 0xC0, 0xD0, 0x160


def old_file(
    text: bytes,
    paragraphs: Sequence[tuple[int, bytes]] = (),
    characters: Sequence[tuple[int, bytes]] = (),
    *,
    stories: Sequence[int] = (),
    fonts: Sequence[tuple[str, int]] = (),
    language: int = 0x407,
    charset: int = 0,
    flags: int = 0,
    version: int = 104,
    order: Sequence[tuple[int, int]] = (),
    more: bytes = b"",
) -> bytes:
    """The file with these bytes of text.

    Args:
        paragraphs: where a run of paragraphs ends in the text, and its style and modifiers.
        characters: the same of characters, without a style.
        fonts: name and character set of each.
        order: first and last byte of each piece of a text that was saved in pieces.
        more: what follows the text, from `TEXT` and its length on.
    """
    stream = bytearray(TEXT)
    struct.pack_into(
        "<HHHHHHHIHHH", stream, 0, 0xA5DC, version, 0, language, 0, flags | (4 if order else 0), 0, 0, 0, charset, 0
    )
    struct.pack_into("<II", stream, 0x18, TEXT, TEXT + len(text))
    for place, length in zip(_STORIES, stories or (len(text),), strict=False):
        struct.pack_into("<I", stream, place, length)
    stream += text + more
    parts = {_STYLES: _sheet(), _FONTS: _font_table(fonts)}
    if order:
        parts[_PIECES] = pieces([(last - first, TEXT + first) for first, last in order], b"\x01\x02\x00ab")
    for place, runs, width in ((_PARAGRAPHS, paragraphs, 7), (_CHARACTERS, characters, 1)):
        stream += bytes(-len(stream) % 512) + _page(runs, width)
        parts[place] = struct.pack("<IIH", TEXT, TEXT + len(text), len(stream) // 512 - 1)
    for place, part in parts.items():
        struct.pack_into("<II", stream, place, len(stream), len(part))
        stream += part
    return compound({"WordDocument": bytes(stream)})


def style(number: int, modifiers: bytes = b"") -> bytes:
    """Properties of a run of paragraphs."""
    return struct.pack("<H", number) + modifiers


def row(*edges: int) -> bytes:
    """The modifiers at the end of a row of a table."""
    cells = bytes((len(edges),)) + struct.pack(f"<{len(edges) + 1}h", 0, *edges) + bytes(10 * len(edges))
    return b"\x18\x01\x19\x01\xbe" + struct.pack("<H", len(cells) + 1) + cells


def _page(runs: Sequence[tuple[int, bytes]], width: int) -> bytes:
    """A formatted disk page."""
    places = struct.pack(f"<{len(runs) + 1}I", TEXT, *(TEXT + end for end, _ in runs))
    page, at = bytearray(places.ljust(512, b"\0")), 510
    for index, (_, properties) in enumerate(runs):
        length = len(properties) if width == 1 else (len(properties) + 1) // 2
        at -= (len(properties) + 2) // 2 * 2
        page[at : at + 1 + len(properties)] = bytes((length,)) + properties
        page[len(places) + width * index] = at // 2
    page[511] = len(runs)
    return bytes(page)


def _sheet() -> bytes:
    """A table of styles: the usual one, two headings, a title, and one that is based on the second heading."""
    kinds = ((0, 0xFFF), (1, 0xFFF), (2, 0xFFF), (62, 0xFFF), (0xFFE, 2))
    styles = (struct.pack("<HHHH", kind, base << 4 | 1, 0, 0) + b"\x01x\0" for kind, base in kinds)
    return struct.pack("<HHH", 4, len(kinds), 8) + b"".join(
        struct.pack("<H", len(each)) + each + b"\0" for each in styles
    )


def _font_table(fonts: Sequence[tuple[str, int]]) -> bytes:
    entries = (struct.pack("<BHBB", 0, 400, kind, 0) + name.encode("cp1252") + b"\0" for name, kind in fonts)
    table = b"".join(bytes((len(each),)) + each for each in entries)
    return struct.pack("<H", len(table) + 2) + table
