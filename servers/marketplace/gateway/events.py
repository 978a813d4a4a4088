"""Server-sent events in a body that comes in pieces."""

from __future__ import annotations

MARKS = (b"\n\n", b"\n\r\n")
"""Ends of an event: an empty line, in either kind of line."""
BEFORE = max(map(len, MARKS)) - 1


class Events:
    """Joins pieces to whole events. What is waited with is neither copied nor looked at again for each piece."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def rest(self) -> bytes:
        """What no empty line has ended yet."""
        return bytes(self._rest)

    def add(self, piece: bytes) -> bytes:
        """What is whole with this piece; empty: nothing yet."""
        if not self._rest and piece.endswith(b"\n\n"):
            return piece
        start = max(0, len(self._rest) - BEFORE)
        self._rest += piece
        end = max(at + len(mark) if (at := self._rest.rfind(mark, start)) >= 0 else 0 for mark in MARKS)
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        return whole
