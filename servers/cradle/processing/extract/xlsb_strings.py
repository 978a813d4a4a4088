"""Superscript pieces of an XLSB file's texts (`encoding.raised`): calamine gives a text's pieces as one.

Records: MS-XLSB 2.4.149 (BrtFont), 2.4.788 (BrtSSTItem), 2.5.122 (RichStr), 2.5.136 (StrRun).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise

from servers.cradle.processing.extract.encoding import raised
from servers.cradle.processing.extract.xlsb_records import BROKEN, packed, records

_FONTS, _FONTS_END, _FONT, _ITEM = 611, 612, 43, 19
_SUPERSCRIPT, _RICH = b"\x01\x00", 1
_SIZE, _RUN = struct.Struct("<I"), struct.Struct("<HH")


def superscript_fonts(styles: Iterable[bytes]) -> frozenset[int]:
    """The numbers of a file's fonts that stand above the line. `styles`: the part with all fonts, in blocks."""
    kinds = {_FONTS, _FONTS_END, _FONT}
    found, number, inside = set[int](), 0, False
    for kind, content in (each for each in records(styles) if each[0] in kinds):
        inside = inside or kind == _FONTS
        if kind == _FONTS_END:
            break
        if kind == _FONT and inside:
            found |= {number} if content[6:8] == _SUPERSCRIPT else set()
            number += 1
    return frozenset(found)


def raised_strings(blocks: Iterable[bytes], fonts: Collection[int]) -> Iterator[bytes]:
    """The part of the texts that all sheets share, with such pieces in raised characters; up to where it breaks."""
    for kind, content in records(blocks):
        yield packed(kind, raised_text(content, fonts) if kind == _ITEM else content)


def raised_text(rich: bytes, fonts: Collection[int]) -> bytes:
    """A text with runs of fonts, its pieces in `fonts` raised; one that breaks as it is."""
    with suppress(*BROKEN):
        (units,) = _SIZE.unpack_from(rich, 1)
        end = 5 + 2 * units
        if not rich[0] & _RICH or end > len(rich):
            return rich
        (runs,) = _SIZE.unpack_from(rich, end)
        found = list(_RUN.iter_unpack(rich[end + 4 : end + 4 + _RUN.size * runs]))
        text = b"".join(_pieces(rich[5:end], found, fonts))
        return rich[:5] + text + rich[end:] if len(text) == 2 * units else rich
    return rich


def _pieces(text: bytes, runs: list[tuple[int, int]], fonts: Collection[int]) -> Iterator[bytes]:
    """`runs`: where each font begins, in units of UTF-16."""
    yield text[: 2 * runs[0][0]] if runs else text
    for (begin, font), (end, _) in pairwise([*runs, (len(text) // 2, 0)]):
        piece = text[2 * begin : 2 * end]
        yield raised(piece.decode("utf-16-le", "replace")).encode("utf-16-le") if font in fonts else piece
