"""Who may invite whom, and what the holder of a link may do with it."""

from __future__ import annotations

import re

from servers.marketplace.invitations.store import Invitation, InvitationStore
from servers.marketplace.users.accounts import NO_PASSWORDS, Accounts, checked_email
from servers.marketplace.users.secrets import NO_PASSWORD, Passwords, new_secret, secret_digest
from shared.auth import Principal
from shared.errors import Forbidden, InvalidInput, NotFound
from shared.ids import new_handle
from shared.settings import Settings

PATH = "/invitation"
TOKEN = re.compile(r"^(inv_[a-z2-7]{26})\.([A-Za-z0-9_-]{43})$")


class Invitations:
    """Offers accounts, and makes them when they are accepted."""

    def __init__(self, settings: Settings, store: InvitationStore, accounts: Accounts, passwords: Passwords) -> None:
        self._address = settings.url("marketplace") + PATH
        self._store = store
        self._accounts = accounts
        self._passwords = passwords

    async def invite(self, caller: Principal, email: str, role: str, customer_id: str | None) -> tuple[Invitation, str]:
        """An invitation and its link, which is shown once and never again.

        Raises:
            Forbidden: the caller does not manage users of this role.
            NotFound: the customer is unknown, or not the caller's.
            Conflict: the address has an account there, or too many are open.
        """
        email = checked_email(email, "email")
        await self._accounts.decide(caller, "user.create", role, customer_id)
        if not caller.subject.startswith("usr_"):
            raise Forbidden("People are invited by people: sign in as one.")
        invitation_id, secret = new_handle("inv"), new_secret()
        made = await self._store.add(invitation_id, customer_id, email, role, secret_digest(secret), caller.subject)
        return made, f"{self._address}?token={invitation_id}.{secret}"

    async def open(self, caller: Principal, customer_id: str | None) -> list[Invitation]:
        """The open invitations of a customer, or of the platform.

        Raises:
            Forbidden: the caller manages no users there.
            NotFound: the customer is unknown, or not the caller's.
        """
        lowest = "customer_user" if customer_id is not None else "partner_admin"
        await self._accounts.decide(caller, "user.disable", lowest, customer_id)
        return await self._store.open(customer_id)

    async def revoke(self, caller: Principal, invitation_id: str) -> None:
        """End an open invitation.

        Raises:
            NotFound: it is not open, or not the caller's to manage.
        """
        found = await self._store.of(invitation_id)
        try:
            if found is None:
                raise _not_known()
            await self._accounts.decide(caller, "user.disable", found.role, found.customer)
        except (Forbidden, NotFound):
            raise _not_known() from None
        if not await self._store.revoke(found, caller.subject):
            raise _not_known()

    async def of_link(self, token: str) -> Invitation:
        """The open invitation that a link is for.

        Raises:
            NotFound: there is none; the answer does not say why.
        """
        parts = TOKEN.fullmatch(token)
        found = await self._store.by_secret(*parts.groups()) if parts else None
        if found is None:
            raise _over()
        return found

    async def accept(self, token: str, password: str | None) -> Invitation:
        """Make the account with this password; the link is used up.

        Args:
            password: None: the account has none, and its person signs in through an identity provider.

        Raises:
            NotFound: the link is not good any more.
            InvalidInput: the password is too short or too long, or none is taken for this address.
            Conflict: the e-mail address has an account already, or there are too many.
        """
        found = await self.of_link(token)
        if password is not None and not self._accounts.takes_password(found.email):
            raise InvalidInput(NO_PASSWORDS)
        password_hash = NO_PASSWORD if password is None else await self._passwords.hash(password)
        if not await self._store.accept(found, new_handle("usr"), password_hash):
            raise _over()
        return found


def _not_known() -> NotFound:
    return NotFound("This invitation is not known: list_invitations shows what is open.", field="invitation_id")


def _over() -> NotFound:
    return NotFound("This link is not good any more: it was used, withdrawn or is over. Ask for a new invitation.")
