"""The records of an XLS file's stream (BIFF8, MS-XLS 2.1.4): a kind, a size, and that many bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from servers.cradle.processing.extract.encoding import clean

BEGIN, END, CONTINUED = 0x0809, 0x000A, 0x003C
BIFF8 = 0x0600
_HEAD = struct.Struct("<HH")
_LENGTHS = b"|".join(rb"\x%02x\x00.{%d}" % (size, size) for size in (10, 6, 16, 14, *range(8, 256)))


class Record(NamedTuple):
    """Kind, place of its content in the stream, the content's length, and in how many parts of the stream it lies: a
    sheet's own are in one, those of a chart on the sheet in two."""

    kind: int
    at: int
    size: int
    depth: int


def passing(*kinds: int) -> re.Pattern[bytes]:
    """What matches records of these kinds, as many as follow each other, up to 255 bytes long."""
    named = b"|".join(b"".join(rb"\x%02x" % byte for byte in kind.to_bytes(2, "little")) for kind in kinds)
    return re.compile(rb"(?:(?:%b)(?:%b))*+" % (named, _LENGTHS), re.DOTALL)


def records(stream: bytes, at: int, passed: re.Pattern[bytes] | None = None) -> Iterator[Record]:
    """The records from a beginning to its end, or to where the stream breaks.

    Args:
        passed: of `passing`, left out where they lie in one part.
    """
    depth = 0
    while 0 <= at <= len(stream) - _HEAD.size:
        if passed and depth == 1 and (skipped := passed.match(stream, at)):
            at = skipped.end()
            if at > len(stream) - _HEAD.size:
                return
        kind, size = _HEAD.unpack_from(stream, at)
        at += _HEAD.size
        if at + size > len(stream):
            return
        depth += (kind == BEGIN) - (kind == END)
        if depth <= 0:
            return
        yield Record(kind, at, size, depth)
        at += size


def text(stream: bytes, at: int, count: str) -> str:
    """The text at this place, which begins with its length, packed as `count` says.

    Raises:
        struct.error, IndexError: the stream ends before.
    """
    (length,) = struct.unpack_from(count, stream, at)
    at += struct.calcsize(count)
    wide = stream[at] & 1
    return clean(signs(stream[at + 1 : at + 1 + length * (1 + wide)], wide).decode("utf-16-le", "replace"))


def signs(raw: bytes, wide: int) -> bytes:
    """Signs of one or two bytes as such of two."""
    return raw if wide else raw.decode("latin-1").encode("utf-16-le")
