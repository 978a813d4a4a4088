"""Accounts: who someone is, proven by a password, a key or a service's secret; and how accounts begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from servers.marketplace import policy
from servers.marketplace.users.secrets import NO_PASSWORD, Passwords, new_secret, same_secret, secret_digest
from servers.marketplace.users.store import Customer, User, UserStore
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from shared.ids import CUSTOMER_PATTERN, EMAIL_PATTERN, new_handle

FAILURES_BEFORE_LOCK = 5
LOCK_S = 300
EMAIL = re.compile(EMAIL_PATTERN)
CLIENT_ID = re.compile(r"^[a-z0-9_-]{1,64}$")
REFUSED = "The name or the secret is wrong."
WRONG_PASSWORD = "The e-mail address or the password is wrong."  # noqa: S105  # a sentence
NO_PASSWORDS = "No password is taken for this address: sign in through your company's identity provider."


@dataclass(frozen=True, slots=True)
class Identity:
    """Someone who has proven who they are. `customer` is the one that a customer's role belongs to."""

    subject: str
    role: str
    customer: str | None
    client_id: str

    @property
    def scopes(self) -> frozenset[str]:
        """All that the role holds."""
        return policy.scopes_of(self.role, self.subject)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user with the secrets that are shown once and never again. `password`: empty where the address takes none."""

    user: User
    password: str
    client_id: str
    client_secret: str


class Accounts:
    """The registry of users, keys, services and customers.

    Args:
        elsewhere: domains whose people sign in through an identity provider alone.
    """

    def __init__(self, store: UserStore, passwords: Passwords, elsewhere: frozenset[str] = frozenset()) -> None:
        self.store = store
        self._passwords = passwords
        self._elsewhere = elsewhere

    def takes_password(self, email: str) -> bool:
        """Whether people at this address may sign in with a password."""
        return email.strip().lower().rpartition("@")[2] not in self._elsewhere

    async def by_password(self, email: str, password: str) -> Identity:
        """The user of an e-mail address and password.

        Raises:
            Unauthenticated: anything does not fit; the answer and its time do not say what. Or no password is taken
                for any address at this domain.
        """
        if not self.takes_password(email):
            raise Unauthenticated(NO_PASSWORDS)
        email = email.strip().lower()
        login = await self.store.login(email) if EMAIL.fullmatch(email) else None
        right = await self._passwords.matches(login.password_hash if login else None, password)
        if login is None or login.locked or not login.user.active or not right:
            # The same statement for an unknown user, where it changes no row: the time says nothing either.
            counted = login.user.user_id if login and not login.locked else "usr_"
            await self.store.record_failure(counted, FAILURES_BEFORE_LOCK, LOCK_S)
            raise Unauthenticated(WRONG_PASSWORD)
        if not await self.store.record_success(login.user.user_id):
            raise Unauthenticated(WRONG_PASSWORD)
        return _identity(login.user, login.user.user_id)

    async def by_secret(self, client_id: str, secret: str) -> Identity:
        """The service, or the user of an API key, that a client id and secret name.

        Raises:
            Unauthenticated: anything does not fit.
        """
        if not CLIENT_ID.fullmatch(client_id):
            raise Unauthenticated(REFUSED)
        if client_id.startswith("key_"):
            stored, user = await self.store.key(client_id)
            if same_secret(stored, secret) and user is not None and user.active:
                return _identity(user, client_id)
        elif same_secret(await self.store.service(client_id), secret):
            return Identity(client_id, "service", None, client_id)
        raise Unauthenticated(REFUSED)

    async def by_address(self, email: str) -> Identity | None:
        """The user of an e-mail address that an identity provider vouches for; None: no account, or one that ended."""
        email = email.strip().lower()
        login = await self.store.login(email) if EMAIL.fullmatch(email) else None
        return _identity(login.user, login.user.user_id) if login is not None and login.user.active else None

    async def by_session(self, user_id: str, session_id: str) -> Identity:
        """The user that has let a client in.

        Raises:
            Unauthenticated: the account has ended.
        """
        user = await self.store.user(user_id)
        if user is None or not user.active:
            raise Unauthenticated("This account has ended.")
        return _identity(user, session_id)

    async def stands(self, subject: str, client_id: str) -> bool:
        """Whether a user or service, and the key that asked for the token, may still act."""
        if not subject.startswith("usr_"):
            return await self.store.service(subject) is not None
        user = await self.store.user(subject)
        if user is None or not user.active:
            return False
        if client_id.startswith("ses_"):
            return await self.store.session_stands(client_id)
        return not client_id.startswith("key_") or (await self.store.key(client_id))[1] is not None

    async def customer_for(self, identity: Identity, named: str | None) -> str | None:
        """The customer of an identity's token: its own, or the one that it names and may act for.

        Raises:
            NotFound: the customer is unknown, or not this identity's.
        """
        if named is None:
            return identity.customer
        customer = await self.store.customer(named) if re.fullmatch(CUSTOMER_PATTERN, named) else None
        partner = customer.partner if customer else None
        allowed = policy.may_act_for(identity.role, identity.subject, identity.customer, named, partner)
        if customer is None or not allowed:
            raise unknown_customer()
        return named

    async def register_customer(self, customer: Customer, registered_by: str) -> bool:
        """Register a customer. Returns False where the same one is registered already.

        Raises:
            Conflict: the id belongs to a customer with another name or address.
        """
        checked_email(customer.contact_email, "contact_email")
        if await self.store.add_customer(customer, registered_by):
            return True
        known = await self.store.customer(customer.customer_id)
        if known is None or not _same_customer(known, customer):
            raise Conflict(
                f"The customer {customer.customer_id} is registered with another company name or contact address: send "
                "those again, or for another company another name or id.",
                field="customer_id",
            )
        return False

    async def create_user(self, caller: policy.Caller, email: str, role: str, customer_id: str | None) -> NewUser:
        """Create a user with a password, where the address takes one, and an API key, both random.

        Raises:
            Forbidden: the caller does not manage users of this role.
            NotFound: the customer is unknown, or not the caller's.
            Conflict: the e-mail address is taken, or there are too many accounts.
        """
        email = checked_email(email, "email")
        await self.decide(caller, "user.create", role, customer_id)
        user = User(new_handle("usr"), email, role, customer_id, active=True)
        password = new_secret() if self.takes_password(email) else ""
        password_hash = await self._passwords.hash(password) if password else NO_PASSWORD
        key_id, secret = new_handle("key"), new_secret()
        await self.store.add_user(user, password_hash, caller.subject, (key_id, secret_digest(secret)))
        return NewUser(user, password, key_id, secret)

    async def new_key(self, user: User, made_by: str) -> tuple[str, str]:
        """A new API key of a user: client id and secret."""
        key_id, secret = new_handle("key"), new_secret()
        await self.store.put_key(key_id, user, secret_digest(secret), made_by)
        return key_id, secret

    async def managed(self, caller: policy.Caller, user_id: str) -> User:
        """A user that the caller manages.

        Raises:
            NotFound: the user is unknown, or not the caller's to manage.
        """
        user = await self.store.user(user_id)
        if user is None:
            raise NotFound("This user is not known: list_users shows those that you manage.", field="user_id")
        try:
            await self.decide(caller, "user.disable", user.role, user.customer)
        except (Forbidden, NotFound):
            raise NotFound("This user is not known: list_users shows those that you manage.", field="user_id") from None
        return user

    async def list_users(
        self, caller: policy.Caller, customer_id: str | None, after: str, limit: int
    ) -> list[tuple[User, datetime]]:
        """Accounts that have not ended: of a customer, or everybody's where none is given.

        Raises:
            Forbidden: the caller does not manage users there.
            NotFound: the customer is unknown, or not the caller's.
            InvalidInput: `after` is none of these accounts.
        """
        customer_id = customer_id or caller.customer
        await self.decide(caller, "user.disable", "customer_user" if customer_id else "platform_admin", customer_id)
        return await self.store.accounts(customer_id, after, limit)

    async def disable_user(self, caller: policy.Caller, user_id: str) -> User:
        """End a user's access.

        Raises:
            NotFound: the user is unknown, or not the caller's to manage.
        """
        user = await self.managed(caller, user_id)
        await self.store.disable(user, caller.subject)
        return user

    async def decide(self, caller: policy.Caller, action: policy.Action, role: str, customer_id: str | None) -> None:
        """Pass a caller who manages users of this role there.

        Raises:
            Forbidden: it does not.
            NotFound: the customer is unknown, or not the caller's.
        """
        customer = await self.store.customer(customer_id) if customer_id is not None else None
        partner = customer.partner if customer else None
        decision = policy.decide(caller, action, policy.Resource(customer_id, partner, role))
        if not decision.visible or (decision.allowed and customer_id is not None and customer is None):
            raise unknown_customer()
        if not decision.allowed:
            raise Forbidden(decision.reason)


def unknown_customer() -> NotFound:
    """The one answer for a customer that does not exist and for one that is not the caller's."""
    return NotFound(
        "This customer is not known: register_customer, or onboarding one, makes it known.", field="customer_id"
    )


def _same_customer(known: Customer, asked: Customer) -> bool:
    same = (known.company_name, known.contact_email) == (asked.company_name, asked.contact_email)
    return same and asked.partner in {None, known.partner}


def checked_email(email: str, field: str) -> str:
    """The address in the one form that is stored.

    Raises:
        InvalidInput: it is none.
    """
    email = email.strip().lower()
    if len(email) > 254 or not EMAIL.fullmatch(email):
        raise InvalidInput("An e-mail address looks like name@example.com.", field=field)
    return email


def _identity(user: User, client_id: str) -> Identity:
    return Identity(user.user_id, user.role, user.customer, client_id)
