"""What this replica remembers of the registry, and for how long: until Postgres tells of a change.

While no notification can come, an answer counts for two seconds. So whatever happens, an ended account or an uninstall
is noticed within five seconds on every replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Generic, TypeVar

from servers.marketplace.workers.worker import Worker
from shared.errors import Unavailable
from shared.postgres.listener import Listener

CHANNEL = "registry"
FRESH_S = 60.0
FRESH_UNHEARD_S = 2.0
KEPT = 20_000
SOON_S = 3.0

Key = TypeVar("Key")
Value = TypeVar("Value")


class Changes:
    """Counts the changes of the registry that this replica was told of, and those that this machine's workers made."""

    def __init__(self, url: str, worker: Worker) -> None:
        self.told = 0
        self._worker = worker
        self._listener = Listener(url, CHANNEL, self._told)
        self._waiting: list[Callable[[], None]] = []

    @property
    def epoch(self) -> int:
        """What is another number after each change."""
        return self.told + self._worker.changed

    @property
    def fresh_s(self) -> float:
        """Seconds for which an answer of the database may be used again."""
        return FRESH_S if self._listener.alive else FRESH_UNHEARD_S

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call this at every change."""
        self._waiting.append(callback)

    def made_here(self) -> None:
        """This replica has changed something itself: the next call of each of this machine's workers sees it, before
        the notification of it comes."""
        self._worker.has_made_change()

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Listens inside the block."""
        async with self._listener.running():
            yield

    def _told(self, payload: str) -> None:
        self.told += 1
        for callback in self._waiting:
            callback()


class Remembered(Generic[Key, Value]):
    """Answers that count until the next change, for `Changes.fresh_s` at most."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._known: dict[Key, tuple[int, float, Value]] = {}

    def get(self, key: Key) -> Value | None:
        """The answer, where it still counts."""
        known = self._known.get(key)
        if known is not None and known[0] == self._changes.epoch and monotonic() < known[1]:
            return known[2]
        return None

    def forget(self, key: Key) -> None:
        """Ask again next time."""
        self._known.pop(key, None)

    async def ask(self, key: Key, question: Callable[[], Awaitable[Value]]) -> Value:
        """The answer: remembered, or asked for now. A change in between makes the next caller ask again."""
        known = self.get(key)
        if known is not None:
            return known
        epoch = self._changes.epoch
        value = await question()
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = (epoch, monotonic() + self._changes.fresh_s, value)
        return value


async def soon(question: Awaitable[Value]) -> Value:
    """An answer that a call needs before it begins: it waits three seconds for it, and has its own time afterwards.

    Raises:
        Unavailable: it takes longer.
    """
    try:
        async with asyncio.timeout(SOON_S):
            return await question
    except TimeoutError:
        raise Unavailable("The registry does not answer now. Try again in a moment.", retry_after=1.0) from None
