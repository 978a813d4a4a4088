"""What one customer may hold of the connections to a server: whoever listens, or waits for slow tools, on all of them
would leave none to anybody else."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from shared.errors import Overloaded

Key = tuple[str, str | None]
"""Host and customer."""


class Shares:
    """The exchanges of this process that are under way, by host and customer.

    Args:
        most: exchanges of one customer with one host at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[Key] = Counter()

    def held(self, url: str, customer: str | None) -> Held:
        """An exchange, inside the block: `with shares.held(…)`, which raises Overloaded where the customer has as many
        there as it may."""
        return Held(self, (urlsplit(url).netloc, customer))

    def take(self, key: Key) -> None:
        """One exchange more."""
        if self._held[key] >= self._most:
            raise Overloaded(
                f"{self._most} calls of this customer are open at this server: wait until some have ended.",
                retry_after=1.0,
            )
        self._held[key] += 1

    def give_back(self, key: Key) -> None:
        """It is over."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


class Held:
    """One exchange, inside the block."""

    __slots__ = ("_key", "_shares")

    def __init__(self, shares: Shares, key: Key) -> None:
        self._shares = shares
        self._key = key

    def __enter__(self) -> None:
        self._shares.take(self._key)

    def __exit__(self, *_: object) -> None:
        self._shares.give_back(self._key)
