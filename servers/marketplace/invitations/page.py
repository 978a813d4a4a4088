"""The page that an invitation's link opens: what is offered, and a password to set, or a sign-in through an identity
provider that speaks for the invited address. Opening it uses nothing up."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.forms import read_form
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.invitations.invitations import Invitations
from servers.marketplace.invitations.store import Invitation
from servers.marketplace.pages import MAX_BODY, error_page, page
from servers.marketplace.providers.sign_in import LASTS_S, OVER, SignIn
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.secrets import MAX_PASSWORD, MIN_PASSWORD
from shared.errors import Forbidden, InvalidInput, NotFound, PlatformError
from shared.serving import read_body
from shared.settings import Settings

DOOR = "invitation"
"""Of ways through an identity provider that lead back here."""
PROOF = "invitation proof"
ANOTHER = "This invitation is for another e-mail address than the one that you have signed in with."

MEANING = {
    "platform_admin": "an administrator of the platform",
    "partner_admin": "a partner, who brings customers",
    "customer_admin": "an administrator",
    "customer_user": "a user",
}


class InvitationPage:
    """The handlers of `/invitation`."""

    def __init__(
        self, settings: Settings, invitations: Invitations, accounts: Accounts, seal: SessionSeal, sign_in: SignIn
    ) -> None:
        self._invitations = invitations
        self._accounts = accounts
        self._seal = seal
        self._sign_in = sign_in
        self._resource = settings.resource("marketplace")

    async def ask(self, request: Request) -> Response:
        """GET: what is offered."""
        token = request.query_params.get("token", "")[:200]
        try:
            return await self._form(request, await self._invitations.of_link(token), token)
        except PlatformError as error:
            return error_page(request, error)

    async def answer(self, request: Request) -> Response:
        """POST: the password, twice, or what the page holds of who has signed in; the account is there then."""
        form = read_form(await read_body(request, MAX_BODY))
        token, password = form.get("token", "")[:200], form.get("password")
        try:
            if "proof" in form:
                self._proven(form["proof"], token)
                password = None
            elif not password or password != form.get("again"):
                return await self._form(
                    request, await self._invitations.of_link(token), token, "The two passwords are not the same.", 400
                )
            made = await self._invitations.accept(token, password)
        except InvalidInput as error:
            return await self._form(request, await self._invitations.of_link(token), token, error.message, error.status)
        except PlatformError as error:
            return error_page(request, error)
        offered = await self._offered(made)
        return page(
            request, "invitation.html", made=True, resource=self._resource, password=password is not None, **offered
        )

    async def held(self, told: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        token = told.get("token", "")[:200]
        await self._invitations.of_link(token)
        return {"token": token}

    def opened(self, held: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        return dict(held)

    async def entered(self, request: Request, told: Mapping[str, str], email: str, issuer: str) -> Response:
        """As `providers.page.Door` has it: what is offered, to accept. Nothing is accepted by following a link."""
        token = told["token"]
        found = await self._invitations.of_link(token)
        if email != found.email:
            raise Forbidden(ANOTHER)
        proof = self._seal.seal(email, PROOF, token, lifetime_s=LASTS_S)
        return await self._form(request, found, token, proof=proof)

    def _proven(self, proof: str, token: str) -> None:
        try:
            self._seal.open(proof, PROOF, token)
        except NotFound:
            raise Forbidden(OVER) from None

    async def _form(
        self, request: Request, found: Invitation, token: str, wrong: str = "", status: int = 200, *, proof: str = ""
    ) -> Response:
        return page(
            request, "invitation.html", status, made=False, token=token, wrong=wrong, shortest=MIN_PASSWORD,
            longest=MAX_PASSWORD, proof=proof, ways=self._sign_in.ways(DOOR, {"token": token}, found.email),
            passwords=self._accounts.takes_password(found.email), **await self._offered(found),
        )  # fmt: skip

    async def _offered(self, found: Invitation) -> dict[str, object]:
        customer = await self._accounts.store.customer(found.customer) if found.customer is not None else None
        company = customer.company_name if customer else None
        return {"email": found.email, "role": MEANING[found.role], "company": company, "expires_at": found.expires_at}
