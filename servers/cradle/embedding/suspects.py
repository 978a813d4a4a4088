"""Texts that were on a device when its process ended, by digest alone. Pure: time comes in as an argument."""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["suspect", "fatal"]
MOST = 4096
"""Texts remembered at once; the one noted first gives way. A lost batch has 1,024 at most."""
REMEMBERED_S = 1800.0
"""Long enough that a caller who sends the same text for ever costs little; short enough that a text which a device's
fault met twice is served again."""


class Suspects:
    """A text that was lost is *suspect*: it is computed alone. One that crashed the process, alone on a device that
    worked, is *fatal*: it reaches none again. Digests are keyed with what only this process knows, so that they tell
    nothing elsewhere."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._noted: dict[bytes, tuple[Verdict, float]] = {}

    def verdict(self, ids: Sequence[int], now: float) -> Verdict | None:
        """What is known of a text, given as what the model reads; None: nothing, as of nearly all."""
        if not self._noted:
            return None
        verdict, until = self._noted.get(self._digest(ids), (None, now))
        return verdict if until > now else None

    def lost(self, ids: Sequence[int], fatal: bool, now: float) -> None:
        """The process ended while it had this text, and by nothing else where `fatal`."""
        digest = self._digest(ids)
        self._noted.pop(digest, None)
        self._noted[digest] = ("fatal" if fatal else "suspect", now + REMEMBERED_S)
        for oldest in list(self._noted):  # in the order of their ends
            if len(self._noted) <= MOST and self._noted[oldest][1] > now:
                break
            del self._noted[oldest]

    def cleared(self, ids: Sequence[int]) -> None:
        """It was computed alone, or failed without ending the process."""
        self._noted.pop(self._digest(ids), None)

    def _digest(self, ids: Sequence[int]) -> bytes:
        return hashlib.blake2b(array("i", ids), digest_size=16, key=self._key).digest()
