"""Whether an account still stands: a token says who someone was when it was signed, not that they still are."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.changes import Changes, Remembered, soon
from servers.marketplace.tokens import LIFETIME_S
from servers.marketplace.users.accounts import Accounts
from shared.auth import Principal, Verifier
from shared.auth.ended import ENDED, mark
from shared.errors import Unauthenticated
from shared.serving.rest import json_response

SLACK_S = 120
"""For clocks that differ, and for a list that is remembered."""


class Standing:
    """Remembers who stands until the registry says that an account has changed."""

    def __init__(self, accounts: Accounts, changes: Changes) -> None:
        self._accounts = accounts
        self._known: Remembered[tuple[str, str], bool] = Remembered(changes)
        self._lists: Remembered[None, list[str]] = Remembered(changes)

    async def check(self, caller: Principal) -> None:
        """Pass a caller whose account and key stand.

        Raises:
            Unauthenticated: one of them has ended.
            Unavailable: the registry does not answer, and nothing recent is known.
        """
        who = (caller.subject, caller.client_id)
        stands = self._known.get(who)
        if stands is None:
            stands = await self._known.ask(who, lambda: soon(self._accounts.stands(*who)))
        if not stands:
            raise Unauthenticated("This account has ended.")

    async def ended(self, request: Request) -> Response:
        """`GET /.well-known/ended.json`: who has ended while a token of theirs may still live, for other servers.

        Raises:
            Unavailable: the registry does not answer, and nothing recent is known.
        """
        marks = await self._lists.ask(None, self._marks)
        return json_response({ENDED: marks}, headers={"cache-control": "no-store"})

    async def _marks(self) -> list[str]:
        return [mark(name) for name in await soon(self._accounts.store.ended_lately(LIFETIME_S + SLACK_S))]


class StandingVerifier:
    """A verifier that lets a token pass only while the account behind it stands."""

    def __init__(self, inner: Verifier, standing: Callable[[], Standing]) -> None:
        self._inner = inner
        self._standing = standing

    async def verify(self, token: str) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: the token is not valid here, or its account or key has ended.
            Unavailable: that cannot be found out now.
        """
        caller = await self._inner.verify(token)
        await self._standing().check(caller)
        return caller
