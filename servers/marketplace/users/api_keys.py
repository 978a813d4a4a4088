"""API keys: what a user's scripts sign in with. A key is all that its user is, so only the user itself makes one."""

from __future__ import annotations

from datetime import datetime

from servers.marketplace import policy
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.store import User
from shared.auth import Principal
from shared.errors import Forbidden, NotFound


class ApiKeys:
    """A user's own keys."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def create(self, caller: Principal) -> tuple[str, str]:
        """A new key of the caller: client id and secret.

        Raises:
            Forbidden: the caller is no user, or holds less than the key would.
            Conflict: there are too many already.
        """
        user = await self._user(caller)
        most = policy.granted(caller.role, caller.subject, "marketplace", None)
        if caller.client_id.startswith("ses_") or not most <= caller.scopes:
            # Else a program that was let in for a little would make itself a key for everything.
            raise Forbidden(
                "A key is made with a login or a key that has every scope, not by a program that was let in."
            )
        return await self._accounts.new_key(user, caller.subject)

    async def list(self, caller: Principal) -> list[tuple[str, datetime]]:
        """The caller's keys."""
        return await self._accounts.store.keys_of(await self._user(caller))

    async def revoke(self, caller: Principal, key_id: str) -> None:
        """End one of the caller's keys.

        Raises:
            NotFound: the caller has no such key.
        """
        if not await self._accounts.store.revoke_key(await self._user(caller), key_id, caller.subject):
            raise NotFound("This key is not known: list_api_keys shows what there is.", field="key_id")

    async def _user(self, caller: Principal) -> User:
        user = await self._accounts.store.user(caller.subject) if caller.subject.startswith("usr_") else None
        if user is None:
            raise Forbidden("Only users have keys: sign in as one.")
        return user
