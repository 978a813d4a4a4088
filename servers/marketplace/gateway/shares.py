"""What one customer may hold of the connections to a server: whoever listens, or waits for slow tools, on all of them
would leave none to anybody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from shared.errors import Overloaded


class Shares:
    """The exchanges of this process that are under way, by host and customer.

    Args:
        most: exchanges of one customer with one host at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[tuple[str, str | None]] = Counter()

    @contextmanager
    def held(self, url: str, customer: str | None) -> Iterator[None]:
        """An exchange, inside the block.

        Raises:
            Overloaded: the customer has as many there as it may.
        """
        key = urlsplit(url).netloc, customer
        if self._held[key] >= self._most:
            raise Overloaded(
                f"{self._most} calls of this customer are open at this server: wait until some have ended.",
                retry_after=1.0,
            )
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
