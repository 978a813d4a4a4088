"""Which texts are computed next. Pure: no I/O, no clock of its own.

Interactive goes before bulk, but bulk that waits gets a batch every `BULK_EVERY_S`. Between tenants deficit round-robin
(Shreedhar and Varghese, 1996) shares tokens, not texts. A batch is one text chosen that way and, as far as the budget
goes, others: the next ones in turn where the backend packs texts of any length, else those of exactly its length,
chosen the same way and charged to their tenants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Priority = Literal["interactive", "bulk"]
Lane = tuple[Priority, str]
"""A tenant's work of one priority."""
PRIORITIES: tuple[Priority, ...] = ("interactive", "bulk")
BATCH_TOKENS = 512
"""On a CPU a batch of this size is as fast a token as a larger one, and a question waits for one of them at most."""
QUANTUM = 256
BULK_EVERY_S = 0.5


@dataclass(slots=True, eq=False)
class Item:
    """One text in the queue: its ids as the model reads them.

    Args:
        deadline: on the clock whose readings the scheduler is given; after it the text is never computed.
        owner: who waits for it; not looked at here.
    """

    ids: Sequence[int]
    tenant: str
    priority: Priority
    deadline: float
    owner: Any = None
    queued: bool = field(default=True, init=False)
    added: float = field(default=0.0, init=False)

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def lane(self) -> Lane:
        return self.priority, self.tenant


@dataclass(slots=True)
class Batch:
    """Texts to compute now, and those found past their deadline."""

    items: list[Item]
    expired: list[Item]

    @property
    def tokens(self) -> int:
        return sum(item.tokens for item in self.items)


class _Line:
    """One tenant's texts of one priority: in order, and by length."""

    __slots__ = ("_by_length", "_order", "deficit", "leaving")

    def __init__(self) -> None:
        self.deficit = 0
        self.leaving = False
        self._order: deque[Item] = deque()
        self._by_length: dict[int, deque[Item]] = {}

    def add(self, item: Item) -> None:
        self._order.append(item)
        self._by_length.setdefault(item.tokens, deque()).append(item)

    def head(self, now: float, expired: list[Item]) -> Item | None:
        return _first(self._order, now, expired)

    def head_of(self, length: int, now: float, expired: list[Item]) -> Item | None:
        same = self._by_length.get(length)
        if same is None:
            return None
        found = _first(same, now, expired)
        if found is None:
            del self._by_length[length]
        return found

    def take(self, item: Item) -> None:
        """The item leaves; it is the first of its length. In the other order it is skipped when its turn comes."""
        item.queued = False
        self.deficit -= item.tokens
        same = self._by_length[item.tokens]
        while same and not same[0].queued:
            same.popleft()
        if not same:
            del self._by_length[item.tokens]


def _first(line: deque[Item], now: float, expired: list[Item]) -> Item | None:
    while line:
        item = line[0]
        if item.queued and item.deadline > now:
            return item
        if item.queued:
            item.queued = False
            expired.append(item)
        line.popleft()
    return None


class _Ring:
    """The tenants of one priority, in the order of their turns."""

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._lines: dict[str, _Line] = {}
        self._turns: deque[str] = deque()

    @property
    def empty(self) -> bool:
        return not self._turns

    def add(self, item: Item) -> None:
        """A tenant that had nothing for a whole round goes first: who asks little does not wait for who asks much."""
        line = self._lines.get(item.tenant)
        if line is None:
            line = self._lines[item.tenant] = _Line()
            line.deficit = self._quantum
            self._turns.appendleft(item.tenant)
        line.leaving = False
        line.add(item)

    def head(self, now: float, expired: list[Item]) -> Item | None:
        """The text whose turn it is. A tenant without any keeps its place for one round: one that comes back at once
        with the next text is not a newcomer each time."""
        while self._turns:
            line = self._lines[self._turns[0]]
            item = line.head(now, expired)
            if item is not None and line.deficit >= item.tokens:
                return item
            if item is None and line.leaving:
                del self._lines[self._turns.popleft()]
            else:
                line.leaving = item is None
                line.deficit = min(line.deficit, 0) if line.leaving else line.deficit
                self._turns.rotate(-1)
            if self._turns:
                self._lines[self._turns[0]].deficit += self._quantum
        return None

    def of_length(self, length: int, now: float, expired: list[Item]) -> Iterator[Item]:
        """Texts of this length, one tenant after the other, as long as they are taken."""
        found = True
        while found:
            found = False
            for tenant in list(self._turns):
                item = self._lines[tenant].head_of(length, now, expired)
                if item is not None:
                    found = True
                    yield item

    def take(self, item: Item) -> None:
        self._lines[item.tenant].take(item)


class Scheduler:
    """The queue of one device.

    Args:
        budget: tokens of a batch; one text may be longer.
        rows: texts of a batch; 1 where a device's rows depend on each other.
        mixed: texts of different length share a batch.
    """

    def __init__(
        self, budget: int = BATCH_TOKENS, rows: int = 1024, quantum: int = QUANTUM, *, mixed: bool = False
    ) -> None:
        self.budget, self.rows, self.mixed = budget, rows, mixed
        self._rings: dict[Priority, _Ring] = {priority: _Ring(quantum) for priority in PRIORITIES}
        self._bulk_served = 0.0

    def add(self, item: Item, now: float) -> None:
        """Puts a text in its tenant's line."""
        item.added = now
        if item.priority == "bulk" and self._rings["bulk"].empty:
            self._bulk_served = now
        self._rings[item.priority].add(item)

    def drop(self, item: Item) -> None:
        """The caller is gone: the text will not be computed, and nothing of it stays in memory."""
        item.queued, item.ids, item.owner = False, (), None

    def next_batch(self, now: float) -> Batch:
        """What to compute now; empty where nothing waits."""
        expired: list[Item] = []
        for priority in self._order(now):
            head = self._rings[priority].head(now, expired)
            if head is not None:
                fill = self._packed if self.mixed else self._filled
                items = fill(head, priority, now, expired)
                if any(item.priority == "bulk" for item in items):
                    self._bulk_served = now
                return Batch(items, expired)
        return Batch([], expired)

    def _order(self, now: float) -> Sequence[Priority]:
        return PRIORITIES[::-1] if now - self._bulk_served >= BULK_EVERY_S else PRIORITIES

    def _filled(self, head: Item, first: Priority, now: float, expired: list[Item]) -> list[Item]:
        length, items = head.tokens, [head]
        self._rings[first].take(head)
        most = min(self.rows, max(1, self.budget // max(length, 1)))
        for priority in sorted(PRIORITIES, key=lambda each: each != first):
            ring = self._rings[priority]
            if len(items) >= most:
                break
            for item in ring.of_length(length, now, expired):
                ring.take(item)
                items.append(item)
                if len(items) >= most:
                    break
        return items

    def _packed(self, head: Item, first: Priority, now: float, expired: list[Item]) -> list[Item]:
        items, left = [head], self.budget - head.tokens
        self._rings[first].take(head)
        for priority in sorted(PRIORITIES, key=lambda each: each != first):
            ring = self._rings[priority]
            while len(items) < self.rows:
                item = ring.head(now, expired)
                if item is None or item.tokens > left:
                    break
                ring.take(item)
                items.append(item)
                left -= item.tokens
        return items
