"""How much may wait. Pure: time comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import Overloaded

WAITING_TOKENS = 262_144
ASSUMED_RATE = 2000.0
MEMORY = 0.9
"""Share of the past that each batch leaves in the measured rate."""


class Admission:
    """Bounds what is queued, tenant by tenant, and measures how fast it is worked off.

    A tenant may hold as many tokens as are free (dynamic thresholds, Choudhury and Hahne, 1998): one that floods leaves
    half of the queue to the others, two leave a third.

    Args:
        limit: tokens that may wait at once. One call over it is let in when nothing waits, so that no size is refused
            for ever.
    """

    def __init__(self, limit: int = WAITING_TOKENS) -> None:
        self.limit = limit
        self.waiting = 0
        self.rate = ASSUMED_RATE
        self._of: dict[str, int] = {}
        self._tokens = self._seconds = self._last = 0.0

    def admit(self, tenant: str, tokens: int) -> None:
        """Lets a call of so many tokens in.

        Raises:
            Overloaded: too much waits; `retry_after` is when, at the measured rate, there will be room for it.
        """
        over = self._of.get(tenant, 0) + tokens + self.waiting - self.limit
        if self.waiting and over > 0:
            seconds = round(max(0.05, min(over, self.waiting) / self.rate), 2)
            raise Overloaded(f"Too many texts wait to be embedded. Try again in {seconds} s.", retry_after=seconds)
        self.waiting += tokens
        self._of[tenant] = self._of.get(tenant, 0) + tokens

    def leave(self, tenant: str, tokens: int) -> None:
        """So many tokens wait no longer: computed, expired or given up."""
        self.waiting -= tokens
        self._of[tenant] -= tokens
        if not self._of[tenant]:
            del self._of[tenant]

    @contextmanager
    def held(self, tenant: str, tokens: int) -> Iterator[None]:
        """Room for a call whose tokens are not counted yet: what waits for the tokenizer waits too."""
        self.admit(tenant, tokens)
        try:
            yield
        finally:
            self.leave(tenant, tokens)

    def measured(self, tokens: int, started: float, now: float) -> None:
        """A batch of so many tokens is done. Batches overlap: each counts the time since the one before it."""
        self._tokens = self._tokens * MEMORY + tokens
        self._seconds = self._seconds * MEMORY + now - max(started, self._last)
        self._last = now
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds
