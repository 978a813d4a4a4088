"""A circuit breaker per upstream and customer: after failures in a row, calls are refused at once and one in a while
may try. What one customer's calls do to a server closes it to nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from shared.errors import PlatformError, Unavailable

FAILURES = 5
OPEN_S = 10.0
KEPT = 10_000
Circuit = tuple[str, str | None]


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    closed_again: float = 0.0
    last: str = ""


class Breakers:
    """The circuits of this process, by the upstream's address and the customer that is acted for."""

    def __init__(self) -> None:
        self._circuits: dict[Circuit, _Circuit] = {}

    def admit(self, circuit: Circuit) -> None:
        """Let a call pass. While the circuit is open, one call in `OPEN_S` passes to try.

        Raises:
            Unavailable: the upstream failed `FAILURES` times in a row and its time is not up.
        """
        known = self._circuits.get(circuit)
        if known is None or known.failures < FAILURES:
            return
        left = known.closed_again - monotonic()
        if left > 0:
            raise Unavailable(
                f"The server failed several times in a row and is asked again later. Last: {known.last}",
                retry_after=round(left, 1),
            )
        known.closed_again = monotonic() + OPEN_S

    def succeeded(self, circuit: Circuit) -> None:
        """The upstream answered."""
        if self._circuits:
            self._circuits.pop(circuit, None)

    def failed(self, circuit: Circuit, why: PlatformError) -> None:
        """The upstream could not be reached, timed out or answered with a server's error: `why` tells it, in words of
        ours."""
        if len(self._circuits) >= KEPT:
            self._circuits.clear()
        known = self._circuits.setdefault(circuit, _Circuit())
        known.failures += 1
        known.last = why.message
        if known.failures >= FAILURES:
            known.closed_again = monotonic() + OPEN_S
