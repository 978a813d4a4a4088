"""The registry's rows: users, keys, services and customers, each read in the narrowest session that can see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.marketplace.cursors import unknown_cursor
from shared.audit import AuditLog
from shared.errors import Conflict
from shared.postgres.database import Database
from shared.postgres.queries import changed_rows, load_queries

queries: Any = load_queries("servers.marketplace", "users.sql")

PLATFORM = "platform"
"""The actor of what the platform does itself, such as at its first start."""
MAX_ACCOUNTS = 10_000
"""Accounts that have not ended, of one customer, and of the platform."""
MAX_KEYS = 20
"""Keys that are not revoked, of one user."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored, without secrets."""

    user_id: str
    email: str
    role: str
    customer: str | None
    active: bool


@dataclass(frozen=True, slots=True)
class Login:
    """What checking a password needs."""

    user: User
    password_hash: str
    locked: bool


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as registered. `partner` is the user id of the partner that brought it."""

    customer_id: str
    company_name: str
    contact_email: str
    partner: str | None


class UserStore:
    """Reads and writes the registry. Each change is in the audit log, in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def clock(self) -> float:
        """What the database's clock shows, in seconds since 1970."""
        async with self._database.session() as connection:
            return await queries.database_time(connection)

    async def login(self, email: str) -> Login | None:
        """The user that an e-mail address names."""
        async with self._database.session(login=email) as connection:
            row = await queries.user_by_email(connection, email=email)
        return Login(_user(row), row["password_hash"], row["locked"]) if row else None

    async def user(self, user_id: str) -> User | None:
        """The user of an id."""
        async with self._database.session(login=user_id) as connection:
            row = await queries.user_by_id(connection, user_id=user_id)
        return _user(row) if row else None

    async def accounts(self, customer: str | None, after: str, limit: int) -> list[tuple[User, datetime]]:
        """Accounts that have not ended, in the order of their ids, and when each was made: a customer's, or everybody's
        where none is given.

        Raises:
            InvalidInput: `after` is none of these accounts.
        """
        async with self._database.of(customer) as connection:
            if after and await queries.account_of(connection, user_id=after, customer_id=customer) is None:
                raise unknown_cursor()
            rows = queries.accounts_after(connection, after=after, customer_id=customer, limit=limit)
            return [(_user(row), row["created_at"]) async for row in rows]

    async def record_failure(self, user_id: str, limit: int, lock_s: int) -> None:
        """Count a wrong password; at `limit` in a row the login is locked for `lock_s` seconds."""
        async with self._database.session(login=user_id) as connection:
            await queries.record_failure(connection, user_id=user_id, limit=limit, lock_s=lock_s)

    async def record_success(self, user_id: str) -> bool:
        """Forget the wrong passwords. False where others, given at the same time, have locked the login meanwhile."""
        async with self._database.session(login=user_id) as connection:
            await queries.record_success(connection, user_id=user_id)
            return await queries.not_locked(connection, user_id=user_id) is not None

    async def key(self, key_id: str) -> tuple[bytes | None, User | None]:
        """The digest of a key that is not revoked, and its user."""
        async with self._database.session(login=key_id) as connection:
            row = await queries.key_by_id(connection, key_id=key_id)
            if row is None or row["revoked_at"] is not None:
                return None, None
            await queries.enter_login(connection, identity=row["user_id"])
            user = await queries.user_by_id(connection, user_id=row["user_id"])
        return row["secret_sha256"], _user(user) if user else None

    async def session_stands(self, session_id: str) -> bool:
        """Whether what a user has allowed a client is neither revoked nor over."""
        async with self._database.session(login=session_id) as connection:
            return await queries.session_stands(connection, session_id=session_id) is not None

    async def ended_lately(self, within_s: float) -> list[str]:
        """The ids of accounts, keys, sign-ins and services that have ended within these seconds."""
        async with self._database.session(platform=True) as connection:
            return [row["name"] async for row in queries.ended_lately(connection, within_s=within_s)]

    async def service(self, client_id: str) -> bytes | None:
        """The digest of a service's secret, where it is not disabled."""
        async with self._database.session() as connection:
            row = await queries.service_by_id(connection, client_id=client_id)
        return row["secret_sha256"] if row and row["disabled_at"] is None else None

    async def put_service(self, client_id: str, secret_sha256: bytes) -> None:
        """Store a service's secret; replaces an older one."""
        async with self._database.session() as connection:
            status = await queries.put_service(connection, client_id=client_id, secret_sha256=secret_sha256)
            if changed_rows(status):
                await self._audit.append_in(connection, PLATFORM, "service.secret_set", client_id)

    async def put_key(self, key_id: str, user: User, secret_sha256: bytes, made_by: str) -> None:
        """Store a user's key; replaces its older secret.

        Raises:
            Conflict: the user has `MAX_KEYS`.
        """
        async with self._database.of(user.customer) as connection:
            await self._put_key_in(connection, key_id, user, secret_sha256, made_by)

    async def _put_key_in(self, connection: Any, key_id: str, user: User, secret_sha256: bytes, made_by: str) -> None:
        await queries.take_turn(connection, owner=user.user_id)
        status = await queries.put_key(
            connection, key_id=key_id, user_id=user.user_id, customer_id=user.customer, secret_sha256=secret_sha256
        )
        if await queries.count_keys(connection, user_id=user.user_id) > MAX_KEYS:
            raise Conflict(f"There are {MAX_KEYS} keys already: revoke one first.")
        if changed_rows(status):
            await self._audit.append_in(
                connection, made_by, "key.created", key_id, user.customer, {"user": user.user_id}
            )

    async def keys_of(self, user: User) -> list[tuple[str, datetime]]:
        """The ids of a user's keys that are not revoked, and when each was made; the oldest first."""
        async with self._database.of(user.customer) as connection:
            rows = queries.keys_of_user(connection, user_id=user.user_id)
            return [(row["key_id"], row["created_at"]) async for row in rows]

    async def revoke_key(self, user: User, key_id: str, revoked_by: str) -> bool:
        """End one of a user's keys and every token that it asked for. False where the user has no such key."""
        async with self._database.of(user.customer) as connection:
            status = await queries.revoke_key(connection, key_id=key_id, user_id=user.user_id)
            if changed_rows(status):
                await self._audit.append_in(
                    connection, revoked_by, "key.revoked", key_id, user.customer, {"user": user.user_id}
                )
        return changed_rows(status) == 1

    async def add_user(
        self, user: User, password_hash: str, made_by: str, key: tuple[str, bytes] | None = None
    ) -> None:
        """Store a new user, and its first key. An invitation of the address there is over: whoever kept its link would
        get in again once this account has ended.

        Args:
            key: its id, and the digest of its secret.

        Raises:
            Conflict: as `add_in`.
        """
        async with self._database.of(user.customer) as connection:
            await add_in(connection, user, password_hash, made_by)
            await queries.revoke_invitations_to(connection, customer_id=user.customer, email=user.email)
            await self._audit.append_in(
                connection, made_by, "user.created", user.user_id, user.customer, {"role": user.role}
            )
            if key is not None:
                await self._put_key_in(connection, key[0], user, key[1], made_by)

    async def set_password(self, user: User, password_hash: str, set_by: str) -> None:
        """Replace a user's password and unlock the login."""
        async with self._database.session(login=user.user_id) as connection:
            await queries.set_password(connection, user_id=user.user_id, password_hash=password_hash)
            await self._audit.append_in(connection, set_by, "user.password_set", user.user_id, user.customer)

    async def disable(self, user: User, ended_by: str) -> None:
        """End a user's access: no login, no key and no invitation of theirs or to them works from now on. Of the person
        nothing is left here but the account's id, and the address is free for another account."""
        async with self._database.of(user.customer) as connection:
            await queries.disable_user(connection, user_id=user.user_id)
            await queries.revoke_keys_of_user(connection, user_id=user.user_id)
            await queries.revoke_invitations_of_user(connection, user_id=user.user_id)
            await queries.revoke_invitations_to(connection, customer_id=user.customer, email=user.email)
            await queries.forget_invitation_of(connection, user_id=user.user_id)
            await self._audit.append_in(connection, ended_by, "user.disabled", user.user_id, user.customer)

    async def customer(self, customer_id: str) -> Customer | None:
        """A registered customer."""
        async with self._database.session(customer_id) as connection:
            row = await queries.customer_by_id(connection, customer_id=customer_id)
        if row is None:
            return None
        return Customer(row["customer_id"], row["company_name"], row["contact_email"], row["partner_id"])

    async def add_customer(self, customer: Customer, registered_by: str) -> bool:
        """Store a customer. False where the id was there already; nothing is changed then."""
        async with self._database.session(customer.customer_id) as connection:
            status = await queries.add_customer(
                connection,
                customer_id=customer.customer_id,
                company_name=customer.company_name,
                contact_email=customer.contact_email,
                partner_id=customer.partner,
            )
            fresh = changed_rows(status) == 1
            if fresh:
                await self._audit.append_in(
                    connection, registered_by, "customer.registered", customer.customer_id, customer.customer_id
                )
        return fresh


async def add_in(connection: Any, user: User, password_hash: str, made_by: str) -> None:
    """Add a user in a transaction that sees its customer's rows, or the platform's.

    Raises:
        Conflict: the e-mail address is taken, or there are `MAX_ACCOUNTS`.
    """
    await queries.take_turn(connection, owner=user.customer or "")
    if await queries.count_accounts(connection, customer_id=user.customer) >= MAX_ACCOUNTS:
        raise Conflict(f"There are {MAX_ACCOUNTS} accounts already: end some with disable_user first.")
    status = await queries.add_user(
        connection, user_id=user.user_id, email=user.email, password_hash=password_hash, role=user.role,
        customer_id=user.customer, created_by=made_by,
    )  # fmt: skip
    if not changed_rows(status):
        raise Conflict("There is an account with this e-mail address already: sign in with that one.", field="email")


def _user(row: Any) -> User:
    return User(row["user_id"], row["email"], row["role"], row["customer_id"], row["disabled_at"] is None)
