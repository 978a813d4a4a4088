"""Notifications of the database (LISTEN): how replicas learn that something they remember has changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg

from shared.postgres.database import DRIVER_ERRORS

CONNECT_TIMEOUT_S = 5
HEARTBEAT_S = 1.5
"""Time between two proofs that the connection still brings notifications, and the longest that one may take."""
RETRY_S = 1.0


class Listener:
    """Calls `told(payload)` at each notification of a channel.

    It is called with an empty payload whenever notifications may have been missed: after each connecting, and when the
    connection is lost. `alive` is False while none is there; what is remembered then has to be asked for again soon.
    """

    def __init__(self, url: str, channel: str, told: Callable[[str], None]) -> None:
        self._url = url
        self._channel = channel
        self._told = told
        self.alive = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens inside the block; connects again whenever the connection is lost."""
        task = asyncio.create_task(self._run(), name=f"listen {self._channel}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, *DRIVER_ERRORS):
                await self._listen()
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        connection: Any = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=HEARTBEAT_S)
        try:
            await connection.add_listener(self._channel, lambda *event: self._told(event[-1]))
            self.alive = True
            self._told("")
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                await connection.execute("SELECT 1")
        finally:
            self.alive = False
            self._told("")
            connection.terminate()
