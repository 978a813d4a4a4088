"""Which documents may be read now: so many at once, so many bytes together, in the order in which they came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class Ticket:
    """A document's place among those being read. Given back once its bytes are no longer needed; twice does no harm."""

    _admission: Admission
    _size: int
    _held: bool = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._admission._leave(self._size)


class Admission:
    """Lets documents in first come, first served.

    The order matters: documents are written in order, so one that waits here must never wait for a later one that waits
    for it to be written. A file larger than all the bytes allowed comes in alone.
    """

    def __init__(self, documents: int, limit: int) -> None:
        self._free = documents
        self._limit = limit
        self._used = 0
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    async def enter(self, size: int) -> Ticket:
        """Waits for a place and for `size` bytes."""
        async with self._turn:
            while self._free == 0 or (self._used > 0 and self._used + size > self._limit):
                self._left.clear()
                await self._left.wait()
            self._free -= 1
            self._used += size
        return Ticket(self, size)

    def _leave(self, size: int) -> None:
        self._free += 1
        self._used -= size
        self._left.set()
