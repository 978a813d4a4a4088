"""How much may wait. Pure: time comes in as an argument."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from servers.cradle.embedding.scheduler import Lane
from shared.errors import Overloaded

WAITING_TOKENS = 262_144
ASSUMED_RATE = 2000.0
MEMORY = 0.9
"""Share of the past that each batch leaves in the measured rate."""


SURE = 0.8
"""Share of the time to its deadline in which a call must have its turn: batches are not all equally fast."""


class Admission:
    """Bounds what is queued, lane by lane, and measures how fast it is worked off. A lane is a tenant's work of one
    priority.

    A lane may hold as many tokens as are free (dynamic thresholds, Choudhury and Hahne, 1998): one that floods leaves
    half of the queue to the others, two leave a third. And it holds no more than will be computed in time.

    Args:
        limit: tokens that may wait at once. One call over it is let in when nothing waits, so that no size is refused
            for ever.
    """

    def __init__(self, limit: int = WAITING_TOKENS) -> None:
        self.limit = limit
        self.waiting = 0
        self.rate = ASSUMED_RATE
        self._of: dict[Lane, int] = {}
        self._tokens = self._seconds = self._last = 0.0

    def admit(self, lane: Lane, tokens: int, seconds_left: float = math.inf) -> None:
        """Lets a call of so many tokens in.

        Args:
            seconds_left: until its deadline.

        Raises:
            Overloaded: too much waits; `retry_after` is when, at the measured rate, there will be room for it.
        """
        held = self._of.get(lane, 0)
        over = min(held + tokens + self.waiting - self.limit, self.waiting)
        if self._tokens:  # before that the rate is a guess
            over = max(over, self._ahead(lane, held) - seconds_left * self.rate * SURE)
        if self.waiting and over > 0:
            seconds = round(max(0.05, over / self.rate), 2)
            raise Overloaded(f"Too many texts wait to be embedded. Try again in {seconds} s.", retry_after=seconds)
        self.waiting += tokens
        self._of[lane] = held + tokens

    def _ahead(self, lane: Lane, held: int) -> int:
        """About how many tokens are computed before a new one of this lane: the lanes take turns."""
        rivals = [amount for (priority, _), amount in self._of.items() if priority in ("interactive", lane[0])]
        return sum(min(amount, held) for amount in rivals)

    def leave(self, lane: Lane, tokens: int) -> None:
        """So many tokens wait no longer: computed, expired or given up."""
        self.waiting -= tokens
        self._of[lane] -= tokens
        if not self._of[lane]:
            del self._of[lane]

    @contextmanager
    def held(self, lane: Lane, tokens: int, seconds_left: float = math.inf) -> Iterator[None]:
        """Room for a call whose tokens are not counted yet: what waits for the tokenizer waits too."""
        self.admit(lane, tokens, seconds_left)
        try:
            yield
        finally:
            self.leave(lane, tokens)

    def measured(self, tokens: int, started: float, now: float) -> None:
        """A batch of so many tokens is done. Batches overlap: each counts the time since the one before it."""
        self._tokens = self._tokens * MEMORY + tokens
        self._seconds = self._seconds * MEMORY + now - max(started, self._last)
        self._last = now
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds
