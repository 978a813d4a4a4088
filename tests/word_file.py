"""Writes files of Word 97 for tests: text and its table of pieces, without any formatting (MS-DOC 2.4.1)."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.cradle.processing.extract.compound_file import Tree, compound

TEXT = 0x400  # where the text begins in its stream
_STORIES = (0x4C, 0x50, 0x54, 0x5C, 0x60, 0x64, 0x68)
_CLX = 0x1A2


def word_file(text: str, stories: Sequence[int] = (), more: Tree | None = None) -> bytes:
    """The file: the text as one piece, cut into stories of these lengths (body, footnotes, headers, …)."""
    raw = text.encode("utf-16-le")
    return word_file_of(raw, pieces([(len(raw) // 2, TEXT)]), stories or (len(raw) // 2,), more=more)


def word_file_of(
    raw: bytes,
    clx: bytes,
    stories: Sequence[int],
    version: int = 0xC1,
    flags: int = 0,
    more: Tree | None = None,
    parts: Mapping[int, bytes] = {},
) -> bytes:
    """The file with these bytes of text and this table of pieces; `more` are further streams and storages, `parts`
    those of the table stream, by their place in FibRgFcLcb97."""
    stream, table = bytearray(TEXT), clx
    struct.pack_into("<HH6xH", stream, 0, 0xA5EC, version, flags)
    for place, length in zip(_STORIES, stories, strict=False):
        struct.pack_into("<I", stream, place, length)
    struct.pack_into("<II", stream, _CLX, 0, len(clx))
    for index, part in parts.items():
        struct.pack_into("<II", stream, 0x9A + 8 * index, len(table), len(part))
        table += part
    return compound({"WordDocument": bytes(stream) + raw, "0Table": table, **(more or {})})


def pieces(each: Sequence[tuple[int, int]], before: bytes = b"") -> bytes:
    """The table of pieces: length in characters, and place with bit 30 set where a character has one byte."""
    ends = [sum(length for length, _ in each[:index]) for index in range(len(each) + 1)]
    table = struct.pack(f"<{len(ends)}I", *ends) + b"".join(struct.pack("<HIH", 0, place, 0) for _, place in each)
    return before + b"\x02" + struct.pack("<I", len(table)) + table


def narrow(place: int) -> int:
    """A piece's place where its characters have one byte each."""
    return place * 2 | 0x40000000


def sample(ending: str) -> bytes:
    """The sample data sheet with this ending, unpacked."""
    return gzip.decompress((Path(__file__).parent / f"samples/datenblatt.{ending}.gz").read_bytes())
