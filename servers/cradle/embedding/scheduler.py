"""Which texts are computed next. Pure: no I/O, no clock of its own.

Interactive goes before bulk, but bulk that waits is owed a share of every interactive token. Tenants share tokens, not
texts, by start-time fair queueing (Goyal, Vin and Cheng, 1996): next is the one that has had least. Deficit round-robin
shares as equally, but lets who asks little wait for a whole turn of who asks much. A batch is one text chosen that way
and, as far as the budget goes, others: the next ones in turn where the backend packs texts of any length, else those of
exactly its length, charged to their tenants. The budget is time: a batch cannot be interrupted, so a question waits for
what its device computes in `SLICE_S`, whatever the device.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Priority = Literal["interactive", "bulk"]
Lane = tuple[Priority, str]
"""A tenant's work of one priority."""
PRIORITIES: tuple[Priority, ...] = ("interactive", "bulk")
BATCH_TOKENS = 512
"""Above it a token on a CPU is no faster."""
BATCH_ROWS = 1024
LEAST_TOKENS = 64
"""Under it one is much slower: on two processors 64 tokens reach 87 % of the speed of 512, 16 reach 60 %."""
SLICE_S = 0.007
"""A batch's length while anybody asks questions: the newcomer waits for one batch, on a GPU for two."""
CALM_SLICE_S = 0.05
"""And while nobody has for `CALM_AFTER_S`."""
CALM_AFTER_S = 2.0
FITTING_BATCHES = 32
"""So many batches in a row have to fit the device's memory before a larger one is tried again."""
LEARNT, FORGOTTEN = 0.2, 0.999
"""Weights of the newest time of a size, and of those of larger ones."""
CREDIT = 2 * LEAST_TOKENS
"""Tokens of its share that a tenant may have left unused and still gets later."""
BULK_SHARE = 0.25
"""Tokens owed to waiting bulk for each that is computed before it."""


@dataclass(slots=True, eq=False)
class Item:
    """One text in the queue: its ids as the model reads them.

    Args:
        deadline: on the clock whose readings the scheduler is given; after it the text is never computed.
        owner: who waits for it; not looked at here.
        apart: it shares no batch and no device: it may be what ends the process.
    """

    ids: Sequence[int]
    tenant: str
    priority: Priority
    deadline: float
    owner: Any = None
    apart: bool = False
    tokens: int = field(init=False)
    queued: bool = field(default=True, init=False)
    added: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.tokens = len(self.ids)

    @property
    def lane(self) -> Lane:
        return self.priority, self.tenant


@dataclass(slots=True)
class Batch:
    """Texts to compute now, those found past their deadline, and how many tokens there was time for."""

    items: list[Item]
    expired: list[Item]
    budget: int
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(item.tokens for item in self.items)

    @property
    def apart(self) -> bool:
        """Whether nothing else may be on the device meanwhile."""
        return any(item.apart for item in self.items)


class _Line:
    """One tenant's texts of one priority: in order, and by length. `had` is its place in the ring's virtual time."""

    __slots__ = ("_by_length", "_order", "had")

    def __init__(self, had: float) -> None:
        self.had = had
        self._order: deque[Item] = deque()
        self._by_length: dict[int, deque[Item]] = {}

    def add(self, item: Item) -> None:
        if item.apart:
            self._order.appendleft(item)
            return
        self._order.append(item)
        self._by_length.setdefault(item.tokens, deque()).append(item)

    def head(self, now: float, expired: list[Item]) -> Item | None:
        while self._order:
            item = self._order[0]
            if _waits(item, now, expired):
                return item
            self._order.popleft()
            self.head_of(item.tokens, now, expired)  # so that it is kept nowhere, though none of its length comes again
        return None

    def head_of(self, length: int, now: float, expired: list[Item]) -> Item | None:
        same = self._by_length.get(length, ())
        while same:
            if _waits(same[0], now, expired):
                return same[0]
            same.popleft()
        self._by_length.pop(length, None)
        return None

    def take(self, item: Item) -> None:
        """The item leaves. In both orders it is skipped when its turn comes."""
        item.queued = False
        self.had += item.tokens


def _waits(item: Item, now: float, expired: list[Item]) -> bool:
    """Whether a text is still to be computed; one that is past its deadline is noted."""
    if item.queued and item.deadline <= now:
        item.queued = False
        expired.append(item)
    return item.queued


class _Ring:
    """The tenants of one priority, who has had least first."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._turns: list[tuple[float, int, str]] = []
        self._time, self._arrivals = 0.0, itertools.count()

    @property
    def empty(self) -> bool:
        return not self._lines

    def add(self, item: Item) -> None:
        """A tenant that has nothing waiting is behind the others by `CREDIT` at most."""
        line = self._lines.get(item.tenant)
        if line is None:
            line = self._lines[item.tenant] = _Line(self._time - CREDIT)
            heapq.heappush(self._turns, (line.had, -next(self._arrivals), item.tenant))  # the newest first
        line.add(item)

    def head(self, now: float, expired: list[Item]) -> Item | None:
        """The text whose turn it is. A tenant without any keeps its place until it would be its turn: one that comes
        back at once with the next text is no newcomer each time."""
        while self._turns:
            had, _, tenant = self._turns[0]
            line = self._lines[tenant]
            if line.had > had:
                heapq.heapreplace(self._turns, (line.had, next(self._arrivals), tenant))
            elif (item := line.head(now, expired)) is not None:
                self._time = max(self._time, had)
                return item
            else:
                heapq.heappop(self._turns)
                del self._lines[tenant]
        return None

    def of_length(self, length: int, now: float, expired: list[Item]) -> Iterator[Item]:
        """Texts of this length, one of each tenant after the other, as long as they are taken."""
        found = True
        while found:
            found = False
            for line in sorted(self._lines.values(), key=lambda each: each.had):
                item = line.head_of(length, now, expired)
                if item is not None:
                    found = True
                    yield item

    def take(self, item: Item) -> None:
        self._lines[item.tenant].take(item)


class Scheduler:
    """The queue of one device.

    Args:
        budget: most tokens of a batch; one text may be longer. `limit` is how many of them the device has memory for,
            as far as is known.
        mixed: texts of different length share a batch.
        sizes: tokens of a batch, rising, where the device computes any other number as the next larger one. How long
            each takes is learnt: a small batch takes nearly as long as one that is several times larger.

    Attributes:
        rows: most texts of a batch; 1 where a device's rows depend on each other.
    """

    def __init__(self, budget: int = BATCH_TOKENS, *, mixed: bool = False, sizes: Sequence[int] = ()) -> None:
        self.budget, self.rows, self.mixed = budget, BATCH_ROWS, mixed
        self._took = dict.fromkeys(sizes, 0.0)
        self.limit, self._fitting = budget, 0
        self._rings: dict[Priority, _Ring] = {priority: _Ring() for priority in PRIORITIES}
        self._owed = 0.0
        self._asked = -math.inf

    def add(self, item: Item, now: float) -> None:
        """Puts a text in its tenant's line."""
        item.added = now
        if item.priority == "interactive":
            self._asked = now
        self._rings[item.priority].add(item)

    def drop(self, item: Item) -> None:
        """The caller is gone: the text will not be computed, and nothing of it stays in memory."""
        item.queued, item.ids, item.owner = False, (), None

    def next_batch(self, now: float, rate: float | None = None, *, idle: bool = True) -> Batch:
        """What to compute now; empty where nothing waits, or what is next has to wait until the device is idle.

        Args:
            rate: tokens that the device computes in a second; None: not known yet.
            idle: it computes nothing else.
        """
        expired: list[Item] = []
        budget = self._budget(now, rate)
        for priority in self._order(budget):
            head = self._rings[priority].head(now, expired)
            if head is not None and head.apart and not idle:
                break
            if head is not None:
                fill = self._packed if self.mixed else self._filled
                items = fill(head, budget, now, expired)
                self._settle(items)
                return Batch(items, expired, budget)
        return Batch([], expired, budget)

    def computed(self, tokens: int, seconds: float) -> None:
        """How long the device took for a batch. Larger sizes are tried again after some hundred: what was slow once may
        have had a reason."""
        size = next((each for each in self._took if each >= tokens), None)
        for each, took in self._took.items():
            if each == size:
                self._took[each] = seconds if took == 0.0 else took + (seconds - took) * LEARNT
            elif size is not None and each > size:
                self._took[each] = took * FORGOTTEN

    def fitted(self) -> None:
        """A batch was computed. After `FITTING_BATCHES` the limit is doubled: memory may be short for a moment only."""
        self._fitting += 1
        if self._fitting >= FITTING_BATCHES:
            self.limit, self._fitting = min(self.budget, 2 * self.limit), 0

    def refused(self, items: Sequence[Item]) -> None:
        """A batch did not fit the device's memory: the next ones are half of it at most. A single text tells nothing of
        batches, and under `LEAST_TOKENS` they are too slow to begin with."""
        self._fitting = 0
        if len(items) > 1:
            self.limit = min(self.limit, max(LEAST_TOKENS, sum(item.tokens for item in items) // 2))

    def forget_limit(self) -> None:
        """The device is another one: what fits its memory is not known."""
        self.limit, self._fitting = self.budget, 0

    def _budget(self, now: float, rate: float | None) -> int:
        seconds = CALM_SLICE_S if now - self._asked >= CALM_AFTER_S else SLICE_S
        if self._took:
            timely = (size for size, took in reversed(self._took.items()) if size <= self.limit and took <= seconds)
            return next(timely, min(self.limit, *self._took))
        if rate is None:
            return self.limit
        return min(self.limit, max(LEAST_TOKENS, int(rate * seconds)))

    def _order(self, budget: int) -> Sequence[Priority]:
        return PRIORITIES[::-1] if self._owed >= budget else PRIORITIES

    def _settle(self, items: list[Item]) -> None:
        """What bulk is owed after a batch: nothing while none waits."""
        for item in items:
            self._owed += item.tokens * BULK_SHARE if item.priority == "interactive" else -item.tokens
        self._owed = 0.0 if self._rings["bulk"].empty else max(self._owed, 0.0)

    def _filled(self, head: Item, budget: int, now: float, expired: list[Item]) -> list[Item]:
        length, items = head.tokens, [head]
        self._rings[head.priority].take(head)
        most = 1 if head.apart else min(self.rows, max(1, budget // max(length, 1)))
        for ring in self._rings_from(head.priority):
            if len(items) >= most:
                break
            for item in ring.of_length(length, now, expired):
                ring.take(item)
                items.append(item)
                if len(items) >= most:
                    break
        return items

    def _packed(self, head: Item, budget: int, now: float, expired: list[Item]) -> list[Item]:
        items, left = [head], 0 if head.apart else budget - head.tokens
        self._rings[head.priority].take(head)
        for ring in self._rings_from(head.priority):
            while len(items) < self.rows:
                item = ring.head(now, expired)
                if item is None or item.apart or item.tokens > left:
                    break
                ring.take(item)
                items.append(item)
                left -= item.tokens
        return items

    def _rings_from(self, first: Priority) -> list[_Ring]:
        return [self._rings[priority] for priority in sorted(PRIORITIES, key=lambda each: each != first)]
