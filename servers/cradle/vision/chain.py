"""Providers asked in turn for one page: each within its share of the time, none that its breaker keeps away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from servers.cradle.vision.base import Answer, Ask, Provider
from servers.cradle.vision.breaker import Breaker
from servers.cradle.vision.failures import Wasted
from shared.contracts.vision import VisionAttempt
from shared.errors import DeadlineExceeded, PlatformError


class Chain:
    """Holds a breaker for each provider, over all calls.

    Args:
        seconds: what a call with nobody before it has for all providers.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._breakers: dict[str, Breaker] = {}

    def breaker(self, name: str) -> Breaker:
        return self._breakers.setdefault(name, Breaker())

    async def read(
        self, providers: Sequence[Provider], png: bytes, page: int, ask: Ask, seconds: float
    ) -> tuple[Answer, Provider, list[VisionAttempt]]:
        """The page by the first provider that reads it, and the failed attempts before.

        Args:
            seconds: for all of them together; each gets an equal share of what is left.

        Raises:
            PlatformError: at once where it is the caller's to mend, else the last provider's.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        fair = self._seconds / len(providers) / 2
        attempts: list[VisionAttempt] = []
        for place, provider in enumerate(providers):
            share = (end - clock()) / (len(providers) - place)
            try:
                return await self._one(provider, png, page, ask, share, judged=share >= fair), provider, attempts
            except PlatformError as error:
                if not error.retryable or place == len(providers) - 1:
                    raise
                tokens = (error.tokens_in, error.tokens_out) if isinstance(error, Wasted) else (0, 0)
                attempts.append(
                    VisionAttempt(
                        page=page, provider=provider.name, code=error.code, tokens_in=tokens[0], tokens_out=tokens[1]
                    )
                )
        raise AssertionError("a chain without providers")

    async def _one(
        self, provider: Provider, png: bytes, page: int, ask: Ask, seconds: float, *, judged: bool
    ) -> Answer:
        """`judged`: its silence counts against it; where callers or pages before took the time, it does not."""
        breaker = self.breaker(provider.name)
        breaker.enter()
        try:
            async with asyncio.timeout(seconds):
                answer = await provider.read(png, page, ask)
        except TimeoutError:
            late = DeadlineExceeded("The vision provider did not answer in time. Try again or send less.")
            breaker.failed(late) if judged else breaker.left()
            raise late from None
        except PlatformError as error:
            if error.retryable:
                breaker.failed(error)
            else:
                breaker.left()
            raise
        except BaseException:
            breaker.left()
            raise
        breaker.succeeded()
        return answer
