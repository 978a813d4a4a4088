"""Tokens outlive the account that they were given to, by a quarter of an hour: a server other than the marketplace asks
it which accounts have ended.

The list is fetched when a call needs it, and again beside the calls while they come. So an end counts within
`OLDEST_S`, and a call waits for the list only after a pause. While the marketplace does not answer, the last list
counts and no call waits: what is ended meanwhile ends with its tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from time import monotonic

from shared.auth.principal import Principal
from shared.auth.remote import RemoteDocument
from shared.auth.verifier import Verifier
from shared.errors import Unauthenticated
from shared.telemetry import event

PATH = "/.well-known/ended.json"
ENDED = "ended"
"""The list in the document: a `mark` of each account, key and sign-in that has ended within a token's life."""
FRESH_S = 1.0
OLDEST_S = 2.5
"""The marketplace itself may learn of an end two seconds later: together it is less than five."""
WAIT_S = 0.5
LARGEST = 4 * 2**20
"""Bytes: about 100,000 of them."""


def mark(name: str) -> str:
    """What stands in the list for an id: whoever reads the list learns nothing but how many have ended."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


class StandingCallers:
    """A verifier that lets a token pass only while its account, key or sign-in is not known to have ended.

    Args:
        inner: verifies the token itself.
        issuer: the marketplace's address.
    """

    def __init__(self, inner: Verifier, issuer: str) -> None:
        self._inner = inner
        self._list = RemoteDocument(issuer.rstrip("/") + PATH, LARGEST)
        self._ended: frozenset[str] = frozenset()
        self._known = True
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def verify(self, token: str) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: the token is not valid here, or its account, key or sign-in has ended.
        """
        caller = await self._inner.verify(token)
        await self._look()
        if self._ended and not self._ended.isdisjoint((mark(caller.subject), mark(caller.client_id))):
            raise Unauthenticated("This account has ended.")
        return caller

    async def aclose(self) -> None:
        """Close the connection."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._list.aclose()

    async def _look(self) -> None:
        now = monotonic()
        if now - self._tried > FRESH_S and (self._fetching is None or self._fetching.done()):
            self._tried = now
            self._fetching = asyncio.create_task(self._fetch(), name="ended accounts")
        if self._known and now - self._fetched > OLDEST_S and self._fetching is not None:
            _, late = await asyncio.wait({self._fetching}, timeout=WAIT_S)
            if late:
                self._unknown("late")

    def _unknown(self, code: str) -> None:
        """No call waits from now on, until the list is known again."""
        if self._known:
            event("ended_accounts_unknown", level=logging.WARNING, code=code)
        self._known = False

    async def _fetch(self) -> None:
        asked = monotonic()
        try:
            fresh = frozenset(map(str, (await self._list.fetch())[ENDED]))
        except Exception as error:  # noqa: BLE001  # whatever is wrong there, the last list counts
            self._unknown(type(error).__name__)
            return
        self._ended, self._fetched, self._known = fresh, asked, True
