"""The rows of invitations. Each step is in the audit log, in the same transaction; no address is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.marketplace.users.secrets import same_secret
from servers.marketplace.users.store import User, add_in
from servers.marketplace.users.store import queries as user_queries
from shared.audit import AuditLog
from shared.errors import Conflict
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "invitations.sql")

LASTS_S = 3 * 86_400.0
MAX_OPEN = 100
"""Open invitations of one customer, and of the platform."""
WRONG_SECRETS = 10
"""So many wrong secrets end an invitation."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation. `customer`: whom the account will belong to; None: the platform."""

    invitation_id: str
    customer: str | None
    email: str
    role: str
    invited_by: str
    expires_at: datetime


class InvitationStore:
    """Reads and writes invitations, each in the narrowest session that can see it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def add(
        self, invitation_id: str, customer: str | None, email: str, role: str, secret_sha256: bytes, invited_by: str
    ) -> Invitation:
        """Store an invitation; an earlier one of the same address there is over, and those that ended a month ago go.

        Raises:
            Conflict: the address has an account there, or `MAX_OPEN` are open. Of an account elsewhere nothing is said.
        """
        async with self._database.of(customer) as connection:
            if await user_queries.user_by_email(connection, email=email) is not None:
                raise Conflict("There is an account with this e-mail address already: see list_users.", field="email")
            await queries.take_turn(connection, owner=customer or "")
            await queries.forget_invitations(connection, customer_id=customer)
            await user_queries.revoke_invitations_to(connection, customer_id=customer, email=email)
            if await queries.count_open(connection, customer_id=customer) >= MAX_OPEN:
                raise Conflict(f"There are {MAX_OPEN} open invitations: revoke some with revoke_invitation first.")
            row = await queries.add_invitation(
                connection, invitation_id=invitation_id, customer_id=customer, email=email, role=role,
                secret_sha256=secret_sha256, invited_by=invited_by, lasts_s=LASTS_S,
            )  # fmt: skip
            await self._audit.append_in(
                connection, invited_by, "invitation.created", invitation_id, customer, {"role": role}
            )
        return _invitation(row)

    async def open(self, customer: str | None) -> list[Invitation]:
        """The open invitations of a customer, or of the platform; the oldest first."""
        async with self._database.of(customer) as connection:
            rows = queries.open_invitations(connection, customer_id=customer, limit=MAX_OPEN)
            return [_invitation(row) async for row in rows]

    async def of(self, invitation_id: str) -> Invitation | None:
        """An open invitation."""
        async with self._database.session(login=invitation_id) as connection:
            row = await queries.open_invitation(connection, invitation_id=invitation_id)
        return _invitation(row) if row else None

    async def by_secret(self, invitation_id: str, secret: str) -> Invitation | None:
        """The open invitation of a link. A wrong secret is counted, and too many end it."""
        async with self._database.session(login=invitation_id) as connection:
            row = await queries.open_invitation(connection, invitation_id=invitation_id)
            if same_secret(row["secret_sha256"] if row else None, secret):
                return _invitation(row)
            await queries.count_wrong_secret(connection, invitation_id=invitation_id, limit=WRONG_SECRETS)
        return None

    async def revoke(self, invitation: Invitation, revoked_by: str) -> bool:
        """End an invitation. False where it is not open any more."""
        async with self._database.of(invitation.customer) as connection:
            found = await queries.revoke_invitation(connection, invitation_id=invitation.invitation_id)
            if found is not None:
                await self._audit.append_in(
                    connection, revoked_by, "invitation.revoked", invitation.invitation_id, invitation.customer
                )
        return found is not None

    async def accept(self, invitation: Invitation, user_id: str, password_hash: str) -> bool:
        """Use an invitation up, and make the account, in one transaction. False where it is not open any more, or the
        account that made it has ended.

        Raises:
            Conflict: as `add_in`; the invitation stays open.
        """
        customer, inviting = invitation.customer, invitation.invited_by
        user = User(user_id, invitation.email, invitation.role, customer, active=True)
        # The inviter may be the operator's or a partner's account, which is no row of the customer's.
        async with self._database.session(customer, platform=customer is None, login=inviting) as connection:
            inviter = await user_queries.user_by_id(connection, user_id=inviting)
            if inviter is None or inviter["disabled_at"] is not None:  # made while its account was ending
                return False
            used = await queries.accept_invitation(
                connection, invitation_id=invitation.invitation_id, accepted_by=user_id
            )
            if used is None:
                return False
            await add_in(connection, user, password_hash, inviting)
            detail = {"role": invitation.role, "invitation": invitation.invitation_id}
            await self._audit.append_in(connection, inviting, "user.created", user_id, customer, detail)
            await self._audit.append_in(connection, user_id, "invitation.accepted", invitation.invitation_id, customer)
        return True


def _invitation(row: Any) -> Invitation:
    return Invitation(
        row["invitation_id"], row["customer_id"], row["email"], row["role"], row["invited_by"], row["expires_at"]
    )
