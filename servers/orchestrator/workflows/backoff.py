"""When a step is tried again, and after how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import DeadlineExceeded, Overloaded, PlatformError, Unavailable


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling pauses, bounded in length and in number.

    The defaults keep trying for about two minutes: longer than any server of the platform takes to come back.

    Args:
        attempts: how often a step is tried in all while a part of the platform does not answer.
        late_attempts: how often in all where it answers too late; each of these may take the whole deadline.
        first_s: seconds before the second attempt.
        most_s: longest pause in seconds.
    """

    attempts: int = 10
    late_attempts: int = 2
    first_s: float = 0.5
    most_s: float = 30.0

    def pause(self, attempt: int, error: PlatformError) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None: do not try again."""
        if isinstance(error, DeadlineExceeded):
            most = self.late_attempts
        elif isinstance(error, Unavailable | Overloaded):
            most = self.attempts
        else:
            return None
        if attempt >= most:
            return None
        doubled = self.first_s * 2 ** min(attempt - 1, 30)
        return min(max(doubled, error.retry_after or 0.0), self.most_s)
