"""The programs that a user has let in: what they see of them, and how they end one."""

from __future__ import annotations

from servers.marketplace.authorization.store import AuthorizationStore, LetIn
from shared.auth import Principal
from shared.errors import NotFound


class Programs:
    """A user's own programs."""

    def __init__(self, store: AuthorizationStore) -> None:
        self._store = store

    async def list(self, caller: Principal) -> list[LetIn]:
        """Those that are neither ended nor over, the newest first."""
        return await self._store.of_user(caller.subject)

    async def revoke(self, caller: Principal, session_id: str) -> None:
        """End what a program was let in for: its refresh token, and every token that it has asked for.

        Raises:
            NotFound: the caller has let in no such program.
        """
        given = await self._store.of(session_id)
        if given is None or given.user_id != caller.subject or not given.stands:
            raise NotFound("This program is not known: list_programs shows what there is.", field="session_id")
        await self._store.revoke(session_id)
