"""The records that binary parts of an XLSB file are made of (MS-XLSB 2.1.4): a kind, a size, and that many bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

from servers.cradle.processing.extract.encoding import clean

MAX_RECORD = 32 * 2**20
NO_TEXT = 0xFFFFFFFF
BROKEN = (struct.error, IndexError)
"""What reading a record raises that is shorter than its kind."""
_HEAD = re.compile(rb"([\x00-\x7f]|[\x80-\xff].)([\x80-\xff]{0,3}[\x00-\x7f])", re.DOTALL)
_LONGEST_HEAD = 6

Record = tuple[int, bytes]


def records(blocks: Iterable[bytes], passed: re.Pattern[bytes] | None = None) -> Iterator[Record]:
    """Kind and content of each record, in their order; up to where one is cut off, malformed or over `MAX_RECORD`.

    Args:
        passed: matches whole records that nobody asks for, as many as there are; also none.
    """
    held = b""
    for block in blocks:
        held, at = held + block, 0
        while True:
            if passed and (skipped := passed.match(held, at)):
                at = skipped.end()
            head = _HEAD.match(held, at)
            if head is None or (end := head.end() + _number(head[2])) > len(held):
                break
            yield _number(head[1]), held[head.end() : end]
            at = end
        held = held[at:]
        if len(held) > MAX_RECORD or (head is None and len(held) >= _LONGEST_HEAD):
            return


def text(content: bytes, at: int) -> tuple[str, int]:
    """The text of a record at this place, and the place behind it. None at all is an empty one.

    Raises:
        BROKEN: the record ends before it.
    """
    (length,) = struct.unpack_from("<I", content, at)
    start = at + 4
    end = start if length == NO_TEXT else start + 2 * length
    if end > len(content):
        raise IndexError
    return clean(content[start:end].decode("utf-16-le", "replace")), end


def packed(kind: int, content: bytes) -> bytes:
    """A record."""
    size = len(content)
    head = bytes((kind,)) if kind < 0x80 else bytes((kind & 0x7F | 0x80, kind >> 7))
    while size >= 0x80:
        head += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return head + bytes((size,)) + content


@lru_cache(maxsize=4096)
def _number(raw: bytes) -> int:
    """A number of which each byte has seven bits, the lowest ones first."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(raw))
