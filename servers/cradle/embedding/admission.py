"""How much may wait. Pure: time comes in as an argument."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

from servers.cradle.embedding.scheduler import BULK_SHARE, LEAST_TOKENS, Lane
from shared.errors import Overloaded

WAITING_TOKENS = 262_144
ASSUMED_RATE = 2000.0
MEMORY_S = 2.0
"""Work done longer ago than this hardly counts in the measured rate."""
RESERVATIONS = 64
GRACE_S = 2.0
"""A reservation is kept so long past the time that its caller was told: clients come a little later."""
SURE = 0.5
"""Share of the time to its deadline in which a call must be done at the measured rate: the machine may become half as
fast while it waits."""


class Reservations:
    """Room that is kept for calls which were refused, until they come again. Without it a call that is larger than what
    small ones leave free would never get in while they go on.

    Args:
        limit: tokens that may be reserved at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._of: dict[Lane, tuple[int, float]] = {}

    def before(self, lane: Lane, tokens: int, now: float) -> tuple[int, int]:
        """Tokens that are reserved before a call: in all lanes, and in its own. For one that comes again, those of
        earlier reservations; its tokens were guessed when it was refused, so it is known by about as many."""
        for each, (_, until) in list(self._of.items()):
            if until <= now:
                del self._of[each]
        mine, _ = self._of.get(lane, (0, now))
        if mine and mine <= 2 * tokens <= 4 * mine:
            earlier = itertools.takewhile(lambda each: each != lane, self._of)
            return sum(self._of[each][0] for each in earlier), 0
        return sum(each for each, _ in self._of.values()), mine

    def make(self, lane: Lane, tokens: int, until: float) -> None:
        """Reserves for a call that was refused. A lane has one reservation, that of its largest call; of too many the
        smallest gives way."""
        mine, _ = self._of.get(lane, (0, until))
        if mine > 2 * tokens:
            return
        others = {each: reserved for each, (reserved, _) in self._of.items() if each != lane}
        if len(others) >= RESERVATIONS:
            smallest = min(others, key=lambda each: others[each])
            if others.pop(smallest) >= tokens:
                return
            del self._of[smallest]
        if sum(others.values()) + tokens <= self._limit:
            self._of[lane] = (max(tokens, mine), until)

    def use(self, lane: Lane, tokens: int) -> None:
        """A call was let in: what was reserved for it is so no longer."""
        mine, _ = self._of.get(lane, (0, 0.0))
        if mine <= 2 * tokens:
            self._of.pop(lane, None)


class Admission:
    """Bounds what is queued, lane by lane, and measures how fast it is worked off. A lane is a tenant's work of one
    priority.

    A lane may hold as many tokens as are free (dynamic thresholds, Choudhury and Hahne, 1998): one that floods leaves
    half of the queue to the others, two leave a third. And it holds no more than will be computed in time. What is
    refused has its room reserved, against all lanes that have something in the queue, so that Retry-After holds.

    Args:
        limit: tokens that may wait at once. One call over it is let in when nothing waits, so that no size is refused
            for ever.
    """

    def __init__(self, limit: int = WAITING_TOKENS) -> None:
        self.limit = limit
        self.waiting = 0
        self.rate = ASSUMED_RATE
        self._of: dict[Lane, int] = {}
        self._reservations = Reservations(limit // 2)
        self._tokens = self._seconds = self._last = 0.0

    def admit(self, lane: Lane, tokens: int, now: float, seconds_left: float = math.inf) -> None:
        """Lets a call of so many tokens in.

        Args:
            seconds_left: until its deadline.

        Raises:
            Overloaded: too much waits; `retry_after` is when, at the measured rate, there will be room for it.
        """
        self._require_room(lane, tokens, now, seconds_left)
        self._reservations.use(lane, tokens)
        self._enter(lane, tokens)

    def _enter(self, lane: Lane, tokens: int) -> None:
        self.waiting += tokens
        self._of[lane] = self._of.get(lane, 0) + tokens

    def _require_room(self, lane: Lane, tokens: int, now: float, seconds_left: float) -> None:
        held = self._of.get(lane, 0)
        reserved, mine = self._reservations.before(lane, tokens, now) if held else (0, 0)
        if reserved:
            reserved += tokens  # which leave that much less room, once they are in
        over = min(held + tokens + reserved + self.waiting - self.limit, self.waiting)
        timely = seconds_left * self.rate * SURE if self.known else math.inf
        over = max(over, self._until(lane, held + mine + tokens) - timely)
        if not self.waiting or over <= 0:
            return
        seconds = round(max(0.05, over / self.rate), 2)
        if self._until(lane, tokens) <= timely:
            self._reservations.make(lane, tokens, now + math.ceil(seconds) + GRACE_S)
        raise Overloaded(f"Too many texts wait to be embedded. Try again in {seconds} s.", retry_after=seconds)

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
    def held(self, lane: Lane, tokens: int, now: float, seconds_left: float = math.inf) -> Iterator[None]:
        """Room for a call whose tokens are not counted yet: what waits for the tokenizer waits too. What was reserved
        for it stays so until `admit`."""
        self._require_room(lane, tokens, now, seconds_left)
        self._enter(lane, tokens)
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
