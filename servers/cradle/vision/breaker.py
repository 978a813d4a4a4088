"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried with one call."""

from __future__ import annotations

from time import monotonic

from shared.errors import PlatformError, Unavailable

FAILURES = 5
OPEN_S = 30.0


class Breaker:
    """Closed until `FAILURES` calls in a row failed, then open for `OPEN_S`, then one call decides."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0
        self._trying = False
        self._last = ""

    @property
    def open(self) -> bool:
        """Whether calls are refused now."""
        return self._failures >= FAILURES and (self._trying or monotonic() < self._until)

    def enter(self) -> None:
        """Asks for a call.

        Raises:
            Unavailable: the breaker is open; says for how long.
        """
        if self.open:
            wait = max(1.0, self._until - monotonic())
            raise Unavailable(
                f"The vision provider failed repeatedly and is left alone. Try later. Last: {self._last}",
                retry_after=wait,
            )
        self._trying = self._failures >= FAILURES

    def succeeded(self) -> None:
        self._failures, self._trying = 0, False

    def failed(self, why: PlatformError) -> None:
        """The call failed; `why` tells it, in words of ours."""
        self._last = why.message
        self._failures, self._trying = self._failures + 1, False
        self._until = monotonic() + OPEN_S

    def left(self) -> None:
        """The caller went away before the call told anything."""
        self._trying = False
