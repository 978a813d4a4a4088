"""How fast documents are worked off, and how long the rest will take. Pure: the clock comes in as an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable

DOCUMENT_BYTES = 16 * 2**10
"""What a document costs besides its bytes, in bytes: reading a small one takes as long as so many of a large one."""


class Pace:
    """Counts documents by their work: sizes differ by a factor of a million, so that counting heads would mislead.

    Documents that have not changed cost next to nothing, say nothing of the speed and are left out of it.
    """

    def __init__(self, sizes: Iterable[int], now: Callable[[], float]) -> None:
        self._now = now
        self._started = now()
        self._left = sum(size + DOCUMENT_BYTES for size in sizes)
        self._done = 0
        self._documents = 0

    def add(self, size: int, *, unchanged: bool = False) -> None:
        """A document of so many bytes is done."""
        self._left -= size + DOCUMENT_BYTES
        if not unchanged:
            self._done += size + DOCUMENT_BYTES
            self._documents += 1

    @property
    def documents_per_second(self) -> float:
        """Documents that were read, a second."""
        return self._documents / self._passed

    @property
    def seconds_left(self) -> float | None:
        """None while nothing is known of the speed."""
        return max(self._left, 0) * self._passed / self._done if self._done else None

    @property
    def words(self) -> str:
        """Both in words: `12.5 documents/s, about 3 min left`."""
        left = self.seconds_left
        return f"{self.documents_per_second:.1f} documents/s" + (f", about {duration(left)} left" if left else "")

    @property
    def _passed(self) -> float:
        return max(self._now() - self._started, 0.001)


def duration(seconds: float) -> str:
    """A time as people say it: `40 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
