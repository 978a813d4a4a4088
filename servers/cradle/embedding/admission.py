"""How much may wait. Pure: time comes in as an argument."""

from __future__ import annotations

from shared.errors import Overloaded

WAITING_TOKENS = 262_144
ASSUMED_RATE = 2000.0
SMOOTHING = 0.2


class Admission:
    """Bounds what is queued and measures how fast it is worked off.

    Args:
        limit: tokens that may wait at once. One call over it is let in when nothing waits, so that no size is refused
            for ever.
    """

    def __init__(self, limit: int = WAITING_TOKENS) -> None:
        self.limit = limit
        self.waiting = 0
        self.rate = ASSUMED_RATE

    def admit(self, tokens: int) -> None:
        """Lets a call of so many tokens in.

        Raises:
            Overloaded: too much waits; `retry_after` is when, at the measured rate, there will be room for it.
        """
        if self.waiting and self.waiting + tokens > self.limit:
            over = min(self.waiting + tokens - self.limit, self.waiting)
            seconds = round(max(0.05, over / self.rate), 2)
            raise Overloaded(f"Too many texts wait to be embedded. Try again in {seconds} s.", retry_after=seconds)
        self.waiting += tokens

    def leave(self, tokens: int) -> None:
        """So many tokens wait no longer: computed, expired or given up."""
        self.waiting -= tokens

    def measured(self, tokens: int, seconds: float) -> None:
        """So many tokens took so long on the device."""
        if seconds > 0:
            self.rate += SMOOTHING * (tokens / seconds - self.rate)
