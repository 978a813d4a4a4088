"""A worker's line to its supervisor: a step is told when it is reached, and gone on from when all have reached it.

The end of the line is the end of the supervisor: a worker without one drains and ends, so that none is left over.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

REACHED = b"."
FAILED = b"!"
"""What follows is why the worker cannot run."""


class Line:
    """The worker's end. When the supervisor is gone, `stop` is set and `alone` is true."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.alone = False
        self._go_on = asyncio.Semaphore(0)
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Listens inside the block."""
        task = asyncio.create_task(self._listen(), name="line to the supervisor")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def in_step(self) -> None:
        """Wait until every other worker is as far as this one."""
        self._tell(REACHED)
        await self._go_on.acquire()

    def failed(self, why: str) -> None:
        """Tell that this worker cannot run, and no other could."""
        self._tell(FAILED + why.encode())

    def _tell(self, said: bytes) -> None:
        with suppress(OSError):  # the supervisor is gone, which is heard as the end of the line
            self._end.send(said)

    async def _listen(self) -> None:
        self._end.setblocking(False)
        while await _received(self._end):
            self._go_on.release()
        self.alone = True
        self.stop.set()
        for _ in range(2):  # both steps, whichever is waited for
            self._go_on.release()


async def _received(end: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(end, 1)
    except OSError:
        return b""
