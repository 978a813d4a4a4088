"""Which of the machine's workers this process is."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from time import monotonic_ns

from prometheus_client import Counter

WIDTH = 8
MANY = 2**63
ENDED, HUNG = "ended", "hung"
REPLACED = Counter("workers_replaced", "Workers that ended by themselves, or hung and were killed.", ["reason"])
for _each in (ENDED, HUNG):
    REPLACED.labels(_each)


class Worker:
    """One of `count` workers. Made before they are forked, so that all see the same memory; `number` is set after.

    The first one holds what a machine has once: processes of packages, and the checks that are due.

    Args:
        lines: the socket in a folder over which each of them takes requests of the others.
    """

    def __init__(self, count: int = 1, lines: Sequence[Path] = ()) -> None:
        self.number = 0
        self.count = count
        self.lines = lines
        self._changed = _numbers(1)
        self._open = _numbers(count)
        self._beats = _numbers(count)
        self._serves = _numbers(count)
        self._replaced = {reason: _numbers(count) for reason in (ENDED, HUNG)}

    @property
    def alone(self) -> bool:
        """There are no others."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """It holds what a machine has once."""
        return self.number == 0

    def share(self, amount: int) -> int:
        """What this one may have of what a process alone has `amount` of: all together have four times that at most."""
        return max(2, min(amount, 4 * amount // self.count))

    @property
    def changed(self) -> int:
        """Nanoseconds of the last change of the registry that a worker of this machine has made."""
        return self._changed[0]

    def has_made_change(self) -> None:
        """Tell all. A moment, for two counts that are written at once may be one."""
        self._changed[0] = monotonic_ns()

    def takes(self, connections: int) -> bool:
        """Whether this one, which has so many connections, takes the next one: where no other has fewer."""
        self._open[self.number] = connections
        takes = connections <= min(self._open)
        self._open[self.number] += takes
        return takes

    def begins(self) -> None:
        """This one has no connections yet. Its metrics go on where those of the one in its place before ended."""
        self._open[self.number] = 0
        for reason, counts in self._replaced.items():
            REPLACED.labels(reason).inc(counts[self.number])

    def beats(self) -> None:
        """This one's loop turns."""
        self._beats[self.number] += 1

    def heard_of(self, number: int) -> int:
        """How often that one has beaten."""
        return self._beats[number]

    def serves(self) -> None:
        """This one takes connections."""
        self._serves[self.number] = 1

    @property
    def serving(self) -> int:
        """How many of them take connections."""
        return sum(self._serves)

    def has_ended(self, number: int) -> None:
        """Nobody waits for that one to take connections."""
        self._open[number] = MANY
        self._serves[number] = 0

    def is_replaced(self, number: int, reason: str) -> None:
        """Another comes in the place of that one, which was not told to end."""
        self._replaced[reason][number] += 1


def _numbers(count: int) -> memoryview:
    """Whole numbers of 64 bits in memory that forked processes share; one is written and read as a whole."""
    return memoryview(mmap.mmap(-1, count * WIDTH)).cast("Q")
