"""A file's bytes as they come in: most readers take them whole, those of XML and JSON as a stream."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

HEAD = 65536


class Body:
    """The next `size` bytes of a stream. What it is shows in `head`; then either `all` or `open` is used, once.

    Raises:
        EOFError: the stream ends before.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size
        self.size = size
        self.head = self._take(min(HEAD, size))

    def all(self) -> bytes:
        return self.head + self._take(self._left) if self._left else self.head

    def open(self) -> BinaryIO:
        """The bytes from the first one on; the file is never whole in memory."""
        return io.BufferedReader(_Raw(self.head, self._take_some), HEAD)

    def drain(self) -> None:
        """Skips what nobody has read."""
        while self._left:
            self._take_some(2**20)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError
        self._left -= size
        return data

    def _take_some(self, most: int) -> bytes:
        return self._take(min(most, self._left))


class _Raw(io.RawIOBase):
    def __init__(self, head: bytes, take: Any) -> None:
        self._held = head
        self._take = take

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = self._held[: len(target)] if self._held else self._take(len(target))
        self._held = self._held[len(data) :]
        target[: len(data)] = data
        return len(data)
