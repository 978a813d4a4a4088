"""How much may wait. Pure: time comes in as an argument."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from servers.cradle.embedding.scheduler import BULK_SHARE, LEAST_TOKENS, Lane
from shared.errors import Overloaded

WAITING_TOKENS = 262_144
ASSUMED_RATE = 2000.0
MEMORY_S = 2.0
"""Work done longer ago than this hardly counts in the measured rate."""
SURE = 0.5
"""Share of the time to its deadline in which a call must be done at the measured rate: the machine may become half as
fast while it waits."""


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
        if self.known:
            over = max(over, self._until(lane, held + tokens) - seconds_left * self.rate * SURE)
        if self.waiting and over > 0:
            seconds = round(max(0.05, over / self.rate), 2)
            raise Overloaded(f"Too many texts wait to be embedded. Try again in {seconds} s.", retry_after=seconds)
        self.waiting += tokens
        self._of[lane] = held + tokens

    @property
    def known(self) -> bool:
        """Whether the rate has been measured; before that it is a guess."""
        return self._tokens > 0

    def _until(self, lane: Lane, mine: int) -> float:
        """About how many tokens are computed until this lane has had `mine`. Lanes of a priority take turns, and those
        that are nearly empty now may be full by then; bulk has its share beside what goes before it."""
        rivals = {lane, *(each for each in self._of if each[0] == lane[0])}
        turns = mine * len(rivals)
        others = sum(amount for (priority, _), amount in self._of.items() if priority != lane[0])
        share = BULK_SHARE if lane[0] == "interactive" else 1 / BULK_SHARE
        return turns + min(others, turns * share)

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
        """A batch of so many tokens is done. Batches overlap: each counts the time since the one before it. One that is
        nearly empty says nothing of the rate."""
        seconds, self._last = now - max(started, self._last), now
        if tokens < LEAST_TOKENS // 2:
            return
        kept = math.exp(-seconds / MEMORY_S)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds
