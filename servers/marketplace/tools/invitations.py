"""Tools about invitations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import Field

from servers.marketplace.invitations.store import Invitation
from servers.marketplace.policy import UserRole
from servers.marketplace.services import Services
from servers.marketplace.tools.accounts import Email
from servers.marketplace.tools.shapes import CustomerArgument
from shared.auth import principal
from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.serving import Server

InvitationId = Annotated[str, Field(pattern=r"^inv_[a-z2-7]{26}$")]


class InvitationShown(Contract):
    """An open invitation, without its link."""

    invitation_id: str
    email: str
    role: UserRole
    customer_id: CustomerId | None
    invited_by: str
    expires_at: datetime


class InvitationMade(InvitationShown):
    """A new invitation. The link is shown here and never again; the platform sends no mail."""

    link: str = Field(description="Give it to the invited person yourself: whoever has it sets the account's password.")


class InvitationList(Contract):
    """Open invitations, the oldest first."""

    invitations: list[InvitationShown]


class InvitationRevoked(Contract):
    """An invitation whose link does nothing any more."""

    invitation_id: str


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def invite_user(email: Email, role: UserRole, customer_id: CustomerArgument | None = None) -> InvitationMade:
        """Offer a person an account: they open the link within three days, once, and set a password of their own.

        Use it rather than create_user for people, so that nobody else ever knows the password. No mail is sent: give
        the link to the person safely. A new invitation of the same address ends the one before. Roles customer_admin
        and customer_user need a `customer_id`; the platform's roles have none.
        """
        made, link = await services().invitations.invite(principal(), email, role, customer_id)
        return InvitationMade(**_shown(made).model_dump(), link=link)

    async def list_invitations(
        customer_id: Annotated[CustomerId | None, Field(description="null: the caller's customer.")] = None,
    ) -> InvitationList:
        """List the open invitations of a customer, or of the platform. Use it to see who was asked and has not come."""
        caller = principal()
        found = await services().invitations.open(caller, customer_id or caller.customer)
        return InvitationList(invitations=[_shown(each) for each in found])

    async def revoke_invitation(invitation_id: InvitationId) -> InvitationRevoked:
        """End an open invitation, so that its link does nothing. Use it when it went to the wrong person."""
        await services().invitations.revoke(principal(), invitation_id)
        return InvitationRevoked(invitation_id=invitation_id)

    server.tool(invite_user, scope="users:write", title="Invite a user")
    server.tool(list_invitations, scope="users:write", title="List invitations", read_only=True, idempotent=True)
    server.tool(revoke_invitation, scope="users:write", title="Revoke an invitation", destructive=True)


def _shown(invitation: Invitation) -> InvitationShown:
    return InvitationShown(
        invitation_id=invitation.invitation_id,
        email=invitation.email,
        role=invitation.role,  # pyright: ignore[reportArgumentType]  # the table allows no other
        customer_id=invitation.customer,
        invited_by=invitation.invited_by,
        expires_at=invitation.expires_at,
    )
