"""A circuit breaker per upstream: after failures in a row, calls are refused at once and one in a while may try."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from shared.errors import Unavailable

FAILURES = 5
OPEN_S = 10.0
KEPT = 10_000


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    closed_again: float = 0.0


class Breakers:
    """The circuits of this process, by the upstream's address."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}

    def admit(self, url: str) -> None:
        """Let a call pass. While the circuit is open, one call in `OPEN_S` passes to try.

        Raises:
            Unavailable: the upstream failed `FAILURES` times in a row and its time is not up.
        """
        circuit = self._circuits.get(url)
        if circuit is None or circuit.failures < FAILURES:
            return
        left = circuit.closed_again - monotonic()
        if left > 0:
            raise Unavailable("The server failed several times in a row: try again later.", retry_after=round(left, 1))
        circuit.closed_again = monotonic() + OPEN_S

    def succeeded(self, url: str) -> None:
        """The upstream answered."""
        if self._circuits:
            self._circuits.pop(url, None)

    def failed(self, url: str) -> None:
        """The upstream could not be reached, timed out or answered with a server's error."""
        if len(self._circuits) >= KEPT:
            self._circuits.clear()
        circuit = self._circuits.setdefault(url, _Circuit())
        circuit.failures += 1
        if circuit.failures >= FAILURES:
            circuit.closed_again = monotonic() + OPEN_S
