"""Tools about accounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from servers.marketplace.policy import UserRole
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import CustomerArgument
from shared.auth import principal
from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.serving import Server

Email = Annotated[str, Field(min_length=3, max_length=254)]
KeyId = Annotated[str, Field(pattern=r"^key_[a-z2-7]{26}$")]
SessionId = Annotated[str, Field(pattern=r"^ses_[a-z2-7]{26}$")]
UserId = Annotated[str, Field(pattern=r"^usr_[a-z2-7]{26}$")]


class WhoAmI(Contract):
    """The account behind this connection."""

    subject: str
    role: str
    customer_id: CustomerId | None
    client_id: str
    scopes: list[str]
    expires_at: datetime


class UserCreated(Contract):
    """A new user. The password and the API key's secret are shown here and never again."""

    user_id: str
    email: str
    role: UserRole
    customer_id: CustomerId | None
    password: str = Field(
        description="Empty: none is taken for this address; its person signs in through the identity provider."
    )
    client_id: str
    client_secret: str


class UserDisabled(Contract):
    """A user whose access has ended."""

    user_id: str


class KeyCreated(Contract):
    """A new API key. The secret is shown here and never again."""

    client_id: str
    client_secret: str


class UserListed(Contract):
    """An account that has not ended."""

    user_id: UserId
    email: str
    role: UserRole
    customer_id: CustomerId | None
    created_at: datetime


class UserPage(Contract):
    """Accounts by their ids; `next_cursor` reads on."""

    users: list[UserListed]
    next_cursor: UserId | None = None


class KeyListed(Contract):
    """An API key, without its secret."""

    key_id: str
    created_at: datetime


class KeyList(Contract):
    """The keys that are not revoked, the oldest first."""

    keys: list[KeyListed]


class KeyRevoked(Contract):
    """A key that no longer works."""

    key_id: str


class ProgramListed(Contract):
    """A program that this account has let in."""

    session_id: SessionId
    answered_at: str = Field(description="Where its answer went: what the program was judged by.")
    resource: str = Field(description="The server that it may use.")
    scopes: list[str]
    customer_id: CustomerId | None = Field(description="The customer that it acts for; null: for none.")
    let_in_at: datetime
    ends_at: datetime


class ProgramList(Contract):
    """Programs that are neither ended nor over, the newest first."""

    programs: list[ProgramListed]


class ProgramRevoked(Contract):
    """A program that is let in no more."""

    session_id: SessionId


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def whoami() -> WhoAmI:
        """Show which account, role, customer and scopes this connection has. Use it when something is refused."""
        caller = principal()
        return WhoAmI(
            subject=caller.subject,
            role=caller.role,
            customer_id=caller.customer,
            client_id=caller.client_id,
            scopes=sorted(caller.scopes),
            expires_at=datetime.fromtimestamp(caller.expires_at, UTC),
        )

    async def create_user(email: Email, role: UserRole, customer_id: CustomerArgument | None = None) -> UserCreated:
        """Create a user with a random password and an API key. Hand both over safely: they are shown only once.
        An address of an identity provider that takes no passwords gets none.

        Use it when a person gets access for the first time; for a script of your own use create_api_key.
        Roles customer_admin and customer_user need a `customer_id`; the platform's roles have none.
        """
        made = await services().accounts.create_user(principal(), email, role, customer_id)
        return UserCreated(
            user_id=made.user.user_id,
            email=made.user.email,
            role=role,
            customer_id=customer_id,
            password=made.password,
            client_id=made.client_id,
            client_secret=made.client_secret,
        )

    async def list_users(
        customer_id: CustomerArgument | None = None,
        cursor: Annotated[UserId | None, Field(description="next_cursor of the page before.")] = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
    ) -> UserPage:
        """List the accounts that can sign in: of a customer, or of all where you are the operator and name none.

        Use it to find a person's user_id for disable_user, or to see who has access. The audit log names it.
        """
        found = await services().accounts.list_users(principal(), customer_id, cursor or "", limit + 1)
        users = [
            UserListed.model_validate(
                {"user_id": user.user_id, "email": user.email, "role": user.role, "customer_id": user.customer}
                | {"created_at": made}
            )
            for user, made in found[:limit]
        ]
        return UserPage(users=users, next_cursor=users[-1].user_id if len(found) > limit else None)

    async def disable_user(user_id: UserId) -> UserDisabled:
        """End a user's access for good: no login and no key works any more. Tokens in use end here, at
        orchestrator and cradle within seconds, at an instance within 15 minutes. The e-mail address is forgotten.
        Use it when a person leaves or an account is stolen."""
        user = await services().accounts.disable_user(principal(), user_id)
        return UserDisabled(user_id=user.user_id)

    async def create_api_key() -> KeyCreated:
        """Make an API key of this account. Store the secret safely: it is shown only once.

        Use it for a script that acts as this account; each script gets its own.
        """
        client_id, secret = await services().api_keys.create(principal())
        return KeyCreated(client_id=client_id, client_secret=secret)

    async def list_api_keys() -> KeyList:
        """List the API keys of this account. Use it to find one that is to be revoked."""
        found = await services().api_keys.list(principal())
        return KeyList(keys=[KeyListed(key_id=key_id, created_at=made) for key_id, made in found])

    async def revoke_api_key(key_id: KeyId) -> KeyRevoked:
        """End an API key of this account and every token that it has asked for, within seconds.

        Use it when a key is no longer needed or may be known to others; list_api_keys names it.
        """
        await services().api_keys.revoke(principal(), key_id)
        return KeyRevoked(key_id=key_id)

    async def list_programs() -> ProgramList:
        """List the programs that this account has let in, which hold tokens of it. Use it to find one to be ended."""
        return ProgramList(
            programs=[
                ProgramListed(
                    session_id=each.session_id, answered_at=each.redirect_uri, resource=each.resource,
                    scopes=each.scope.split(), customer_id=each.acts_for, let_in_at=each.created_at,
                    ends_at=each.expires_at,
                )
                for each in await services().programs.list(principal())
            ]
        )  # fmt: skip

    async def revoke_program(session_id: SessionId) -> ProgramRevoked:
        """End what a program was let in for, and every token that it has asked for, within seconds.

        Use it when a program is no longer used, or its token may be known to others; list_programs names it.
        """
        await services().programs.revoke(principal(), session_id)
        return ProgramRevoked(session_id=session_id)

    server.tool(list_programs, scope="catalogue:read", title="List programs", read_only=True, idempotent=True)
    server.tool(revoke_program, scope="catalogue:read", title="End a program", destructive=True)
    server.tool(create_api_key, scope="catalogue:read", title="Make an API key")
    server.tool(list_api_keys, scope="catalogue:read", title="List API keys", read_only=True, idempotent=True)
    server.tool(revoke_api_key, scope="catalogue:read", title="Revoke an API key", destructive=True)
    server.tool(whoami, scope="catalogue:read", title="Who am I", read_only=True, idempotent=True)
    server.tool(list_users, scope="users:write", title="List users", read_only=True, idempotent=True)
    server.tool(create_user, scope="users:write", title="Create a user")
    server.tool(disable_user, scope="users:write", title="Disable a user", destructive=True, idempotent=True)
