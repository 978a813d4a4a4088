"""The approvals page: a person signs in, reads what waits at a customer, and approves or denies it.

There is no cookie: signing in answers with the page itself, whose forms hold who signed in, sealed, for ten minutes. So
no other page can decide in that person's name, and every rule of a decision is the tool's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.approvals.database import CustomerDatabase
from servers.marketplace.approvals.store import Approval
from servers.marketplace.forms import read_form
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.pages import MAX_BODY, error_page, page
from servers.marketplace.providers.sign_in import NO_ACCOUNT, SignIn
from servers.marketplace.unseen import with_unseen_shown
from servers.marketplace.users.accounts import Accounts, Identity
from servers.marketplace.users.grants import Grants
from shared.auth import Principal, acting_as, require
from shared.errors import Forbidden, NotFound, PlatformError, Unauthenticated
from shared.ids import HANDLE_PATTERN
from shared.serving import read_body
from shared.settings import Settings

PATH = "/approvals"
SIGNED_IN_S = 600.0
SCOPE = "approvals:decide"
PURPOSE = "approvals page"
DOOR = "approvals"
ANSWERS = {"approve": True, "deny": False}


def approvals_address(settings: Settings, customer: str, approval_id: str) -> str:
    """Where a person decides on an approval."""
    return f"{settings.url('marketplace')}{PATH}?{urlencode({'customer': customer, 'approval': approval_id})}"


class ApprovalsPage:
    """The handlers of `/approvals`."""

    def __init__(
        self, settings: Settings, seal: SessionSeal, accounts: Accounts, grants: Grants, data: CustomerDatabase,
        sign_in: SignIn,
    ) -> None:  # fmt: skip
        self._resource = settings.resource("marketplace")
        self._seal = seal
        self._accounts = accounts
        self._grants = grants
        self._data = data
        self._provider = sign_in

    async def ask(self, request: Request) -> Response:
        """GET: who is it? Nothing of any approval is shown before that is known."""
        return self._sign_in(request, request.query_params)

    async def answer(self, request: Request) -> Response:
        """POST: sign in with `email` and `password`, or decide with `session`; either answers with what waits."""
        form = read_form(await read_body(request, MAX_BODY))
        try:
            identity = await self._identity(form)
        except Unauthenticated as error:
            return self._sign_in(request, form, error.message, error.status)
        try:
            caller = await self._caller(identity, form.get("customer"))
            with acting_as(caller):
                require(SCOPE)
                done = await self._decided(caller, form)
                return await self._shown(request, caller, form, done)
        except PlatformError as error:
            return error_page(request, error)

    async def held(self, told: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        return {name: told.get(name, "")[:100] for name in ("customer", "approval")}

    def opened(self, held: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        return dict(held)

    async def entered(self, request: Request, told: Mapping[str, str], email: str, issuer: str) -> Response:
        """As `providers.page.Door` has it: what waits. Nothing is decided by following a link."""
        identity = await self._accounts.by_address(email)
        if identity is None:
            raise Forbidden(NO_ACCOUNT)
        caller = await self._caller(identity, told["customer"])
        with acting_as(caller):
            require(SCOPE)
            return await self._shown(request, caller, told, None)

    def _sign_in(self, request: Request, told: Mapping[str, str], wrong: str = "", status: int = 200) -> Response:
        named = {name: told.get(name, "")[:100] for name in ("customer", "approval")}
        email = told.get("email", "")[:254] if wrong else ""  # of the form alone, never of an address
        ways = self._provider.ways(DOOR, named)
        return page(request, "approvals_sign_in.html", status, wrong=wrong, email=email, ways=ways, **named)

    async def _identity(self, form: Mapping[str, str]) -> Identity:
        if "session" not in form:
            return await self._accounts.by_password(form.get("email", "")[:254], form.get("password", ""))
        try:
            return await self._accounts.by_session(self._seal.open(form["session"], PURPOSE), PURPOSE)
        except NotFound:
            raise Unauthenticated("Ten minutes are over: sign in again.") from None

    async def _caller(self, identity: Identity, customer: str | None) -> Principal:
        grant = await self._grants.grant(identity, self._resource, None, customer or None)
        ends = datetime.now(UTC).timestamp() + SIGNED_IN_S
        return Principal(grant.subject, grant.role, grant.scopes, grant.customer, grant.client_id, ends)

    async def _decided(self, caller: Principal, form: Mapping[str, str]) -> str | None:
        answer = ANSWERS.get(form.get("answer", ""))
        if answer is None:
            return None
        approval_id = form.get("decide", "")
        if not re.fullmatch(HANDLE_PATTERN, approval_id):
            raise NotFound("This approval is not known: open the address that you were given again.")
        decided = await self._data.decide(caller, approval_id, approve=answer)
        return decided.state

    async def _shown(self, request: Request, caller: Principal, form: Mapping[str, str], done: str | None) -> Response:
        named = None if done else form.get("approval") or None  # who has decided on the one sees what else waits
        after = form.get("after", "")[:100]
        waiting, following = await self._data.undecided(caller, named, after)
        return page(
            request, "approvals.html",
            changes=[await self._change(caller, *each) for each in waiting], done=done,
            customer=caller.customer, approval=named or "", after=after, following=following,
            session=self._seal.seal(caller.subject, PURPOSE, lifetime_s=SIGNED_IN_S),
        )  # fmt: skip

    async def _change(self, caller: Principal, approval: Approval, statement: str | None) -> dict[str, object]:
        decision = await self._data.may_decide(caller, approval)
        return {
            "approval_id": approval.approval_id,
            "server_name": approval.bound.server_name,
            "asked_by": approval.requested_by,
            "colleague": await self._colleague(caller, approval.requested_by),
            "rows": approval.rows,
            "expires_at": approval.expires_at.astimezone(UTC),
            "left_s": max(0, round((approval.expires_at - datetime.now(UTC)).total_seconds())),
            "statement": None if statement is None else with_unseen_shown(statement),
            "refused": None if decision.allowed else decision.reason,
        }

    async def _colleague(self, caller: Principal, user_id: str) -> str | None:
        """A colleague's e-mail address; of the operator and partners the page says only what they are."""
        user = await self._accounts.store.user(user_id)
        return user.email if user is not None and user.customer == caller.customer else None
