"""Tools about accounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from servers.marketplace.policy import UserRole
from servers.marketplace.services import Services
from shared.auth import principal
from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.serving import Server

Email = Annotated[str, Field(min_length=3, max_length=254)]
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
    password: str
    client_id: str
    client_secret: str


class UserDisabled(Contract):
    """A user whose access has ended."""

    user_id: str


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

    async def create_user(email: Email, role: UserRole, customer_id: CustomerId | None = None) -> UserCreated:
        """Create a user with a random password and an API key. Hand both over safely: they are shown only once.

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

    async def disable_user(user_id: UserId) -> UserDisabled:
        """End a user's access for good: no login and no key works any more. Tokens in use end within 15 minutes."""
        user = await services().accounts.disable_user(principal(), user_id)
        return UserDisabled(user_id=user.user_id)

    server.tool(whoami, scope="catalogue:read", title="Who am I", read_only=True, idempotent=True)
    server.tool(create_user, scope="users:write", title="Create a user")
    server.tool(disable_user, scope="users:write", title="Disable a user", destructive=True, idempotent=True)
