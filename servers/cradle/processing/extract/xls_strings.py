"""Superscript pieces of an XLS file's texts (`encoding.raised`): calamine gives a text's pieces as one.

Fonts and the texts that all sheets share, in BIFF8: MS-XLS 2.4.122 (Font), 2.4.265 (SST), 2.5.293 (its texts).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from servers.cradle.processing.extract.encoding import clean, raised
from servers.cradle.processing.extract.xls_records import signs

_WIDE, _EXTENDED, _RICH = 1, 4, 8
_SUPERSCRIPT = 1
_NO_FONT = 4
"""The number that no font has."""
_RUN = struct.Struct("<HH")


def is_superscript(font: bytes) -> bool:
    """Whether a font of this record stands above the line."""
    return font[8:10] == _SUPERSCRIPT.to_bytes(2, "little")


def raised_strings(table: Sequence[bytes], superscript: Collection[int]) -> dict[int, str]:
    """The texts that have such pieces, with raised characters in them, by their number in the table; up to where it
    breaks.

    Args:
        table: the record and those that continue it.
        superscript: places of such fonts among all.
    """
    found: dict[int, str] = {}
    if superscript:
        fonts = {place + (place >= _NO_FONT) for place in superscript}
        parts = _Parts(table)
        with suppress(IndexError, ValueError):
            _, texts = struct.unpack("<II", parts.take(8))
            for number in range(texts):
                if text := _raised(parts, fonts):
                    found[number] = text
    return found


def _raised(parts: _Parts, fonts: Collection[int]) -> str:
    """The next text, where a piece of it is raised; '' for others."""
    length, kind = struct.unpack("<HB", parts.take(3))
    runs = struct.unpack("<H", parts.take(2))[0] if kind & _RICH else 0
    beside = struct.unpack("<I", parts.take(4))[0] if kind & _EXTENDED else 0
    text = parts.text(length, kind & _WIDE)
    found = list(_RUN.iter_unpack(parts.take(runs * _RUN.size)))
    parts.take(beside)
    if not any(font in fonts for _, font in found):
        return ""
    shown = "".join(_pieces(text, found, fonts))
    return clean(shown).strip() if shown != text.decode("utf-16-le", "replace") else ""


def _pieces(text: bytes, runs: Sequence[tuple[int, int]], fonts: Collection[int]) -> Iterator[str]:
    """`runs`: where each font begins, in units of UTF-16."""
    ends = [begin for begin, _ in runs] + [len(text) // 2]
    yield text[: 2 * ends[0]].decode("utf-16-le", "replace")
    for (begin, font), end in zip(runs, ends[1:], strict=True):
        piece = text[2 * begin : 2 * end].decode("utf-16-le", "replace")
        yield raised(piece) if font in fonts else piece


class _Parts:
    """The bytes of records that continue each other."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._part = self._at = 0

    def take(self, size: int) -> bytes:
        """So many bytes, from as many records as they lie in."""
        found = bytearray()
        while size:
            piece = self._here(size)
            found += piece
            size -= len(piece)
        return bytes(found)

    def text(self, length: int, wide: int) -> bytes:
        """So many units of UTF-16. Where a record continues a text, its first byte says how wide they are there.

        Raises:
            ValueError: a record ends amid a unit.
        """
        found = bytearray()
        while length:
            part = self._part
            piece = self._here(length * (1 + wide))
            if self._part != part:
                wide, self._at = piece[0] & _WIDE, 1
                continue
            units = signs(piece, wide)
            if len(units) % 2:
                raise ValueError("half a unit")
            found += units
            length -= len(units) // 2
        return bytes(found)

    def _here(self, most: int) -> bytes:
        """The next bytes of one record.

        Raises:
            IndexError: there are no more.
        """
        while self._at == len(self._parts[self._part]):
            self._part, self._at = self._part + 1, 0
        piece = self._parts[self._part][self._at : self._at + most]
        self._at += len(piece)
        return piece
