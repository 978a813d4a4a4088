"""What users have allowed: rows of `authorizations`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.audit import AuditLog
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "authorizations.sql")

LASTS_S = 30 * 24 * 3600
LISTED = 200


@dataclass(frozen=True, slots=True)
class Authorization:
    """One user's consent for one client. `stands`: neither revoked nor over."""

    session_id: str
    user_id: str
    acts_for: str | None
    client_sha256: bytes
    resource: str
    scope: str
    code_challenge: str
    redirect_uri: str
    redirect_named: bool
    created_at: float = 0.0
    stands: bool = True

    def is_of(self, client_id: str) -> bool:
        """Whether it was given to this client."""
        return self.client_sha256 == client_digest(client_id)


@dataclass(frozen=True, slots=True)
class LetIn:
    """A program that a user has let in, by the address that it is answered at."""

    session_id: str
    redirect_uri: str
    resource: str
    scope: str
    acts_for: str | None
    created_at: datetime
    expires_at: datetime


class AuthorizationStore:
    """Reads and writes authorizations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def add(self, given: Authorization, customer: str | None) -> None:
        """Store a new one, in place of the user's that ended a month ago: what has ended lets nobody in, known or not.
        `customer`: the one that the user belongs to."""
        async with self._database.session(login=given.user_id) as connection:
            await queries.forget_authorizations(connection, user_id=given.user_id)
            await queries.add_authorization(
                connection,
                session_id=given.session_id,
                user_id=given.user_id,
                customer_id=customer,
                acts_for=given.acts_for,
                client_sha256=given.client_sha256,
                resource=given.resource,
                scope=given.scope,
                code_challenge=given.code_challenge,
                redirect_uri=given.redirect_uri,
                redirect_named=given.redirect_named,
                lasts_s=LASTS_S,
            )
            await self._audit.append_in(
                connection, given.user_id, "client.let_in", given.session_id, customer,
                {"client": "sha256:" + given.client_sha256.hex()},
            )  # fmt: skip

    async def of(self, session_id: str) -> Authorization | None:
        """The authorization of an id."""
        async with self._database.session(login=session_id) as connection:
            row = await queries.authorization_of(connection, session_id=session_id)
        return Authorization(**dict(row)) if row else None

    async def of_user(self, user_id: str) -> list[LetIn]:
        """The programs that a user has let in and not ended, `LISTED` at most, the newest first."""
        async with self._database.session(login=user_id) as connection:
            return [LetIn(**dict(row)) async for row in queries.let_in_by(connection, user_id=user_id, limit=LISTED)]

    async def use_code(self, session_id: str) -> bool:
        """Use the code. False where it was used already: the authorization is revoked then."""
        async with self._database.session(login=session_id) as connection:
            fresh = await queries.use_code(connection, session_id=session_id) is not None
            if not fresh:
                await self._revoke(connection, session_id, "client.code_reused")
        return fresh

    async def rotate(self, session_id: str, number: int) -> bool:
        """Use the refresh token of a number. False where it is not the current one: all is revoked then."""
        async with self._database.session(login=session_id) as connection:
            current = await queries.rotate(connection, session_id=session_id, number=number) is not None
            if not current:
                await self._revoke(connection, session_id, "client.refresh_reused")
        return current

    async def revoke(self, session_id: str) -> None:
        """End it: its refresh token, and its access tokens at the marketplace."""
        async with self._database.session(login=session_id) as connection:
            await self._revoke(connection, session_id, "client.revoked")

    async def _revoke(self, connection: Any, session_id: str, verb: str) -> None:
        row = await queries.revoke(connection, session_id=session_id)
        if row is not None:
            await self._audit.append_in(connection, row["user_id"], verb, session_id, row["customer_id"])


def client_digest(client_id: str) -> bytes:
    """What is stored of a client's id, which may be long."""
    return hashlib.sha256(client_id.encode()).digest()
