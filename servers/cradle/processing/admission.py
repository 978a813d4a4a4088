"""Which documents may be fetched, and which of them read: so many, so many bytes together, in the order in which they
came."""

from __future__ import annotations

import asyncio
from itertools import islice


class Ticket:
    """A document's place inside. Given back once its bytes are no longer needed; twice does no harm."""

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self.size = size
        self.turn = asyncio.Event()
        """Set once fewer documents before this one are inside than there are readers."""

    def give_back(self) -> None:
        self._admission._leave(self)


class Admission:
    """Lets documents in first come, first served: one for each reader, and `ahead` that are fetched meanwhile.

    The order matters: documents are written in order, so one that waits here, or for a reader, must never wait for a
    later one that waits for it to be written. A file larger than all the bytes allowed comes in alone.
    """

    def __init__(self, readers: int, ahead: int, limit: int) -> None:
        self._readers = readers
        self._places = readers + ahead
        self._limit = limit
        self._inside: dict[Ticket, None] = {}
        self._entrance = asyncio.Lock()
        self._left = asyncio.Event()

    async def enter(self, size: int) -> Ticket:
        """Waits for a place and for `size` bytes."""
        async with self._entrance:
            while not self._has_room(size):
                self._left.clear()
                await self._left.wait()
            ticket = Ticket(self, size)
            self._inside[ticket] = None
            self._call()
        return ticket

    def _has_room(self, size: int) -> bool:
        used = sum(ticket.size for ticket in self._inside)
        return not self._inside or (len(self._inside) < self._places and used + size <= self._limit)

    def _call(self) -> None:
        for ticket in islice(self._inside, self._readers):
            ticket.turn.set()

    def _leave(self, ticket: Ticket) -> None:
        if ticket in self._inside:
            del self._inside[ticket]
            self._call()
            self._left.set()
