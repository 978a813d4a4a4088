"""When a step is tried again, and after how long: pauses that double, bounded in length and in number. Pure."""

from __future__ import annotations

from shared.errors import DeadlineExceeded, Overloaded, PlatformError, Unavailable

ATTEMPTS = 10
"""How often a step is tried in all while a part of the platform does not answer: for about two minutes, longer than any
server of the platform takes to come back."""
LATE_ATTEMPTS = 2
"""How often in all where it answers too late; each of these may take the whole deadline."""
FIRST_S = 0.5
LONGEST_S = 30.0


def pause_s(attempt: int, error: PlatformError) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1); None: do not try again."""
    if isinstance(error, DeadlineExceeded):
        most = LATE_ATTEMPTS
    elif isinstance(error, Unavailable | Overloaded):
        most = ATTEMPTS
    else:
        return None
    if attempt >= most:
        return None
    doubled = FIRST_S * 2 ** (attempt - 1)
    return min(max(doubled, error.retry_after or 0.0), LONGEST_S)
