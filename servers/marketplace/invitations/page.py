"""The page that an invitation's link opens: what is offered, and a password to set. Opening it uses nothing up."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.forms import read_form
from servers.marketplace.invitations.invitations import Invitations
from servers.marketplace.invitations.store import Invitation
from servers.marketplace.pages import MAX_BODY, error_page, page
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.secrets import MAX_PASSWORD, MIN_PASSWORD
from shared.errors import InvalidInput, PlatformError
from shared.serving import read_body
from shared.settings import Settings

MEANING = {
    "platform_admin": "an administrator of the platform",
    "partner_admin": "a partner, who brings customers",
    "customer_admin": "an administrator",
    "customer_user": "a user",
}


class InvitationPage:
    """The handlers of `/invitation`."""

    def __init__(self, settings: Settings, invitations: Invitations, accounts: Accounts) -> None:
        self._invitations = invitations
        self._accounts = accounts
        self._resource = settings.resource("marketplace")

    async def ask(self, request: Request) -> Response:
        """GET: what is offered."""
        token = request.query_params.get("token", "")[:200]
        try:
            return await self._form(request, await self._invitations.of_link(token), token)
        except PlatformError as error:
            return error_page(request, error)

    async def answer(self, request: Request) -> Response:
        """POST: the password, twice; the account is there then."""
        form = read_form(await read_body(request, MAX_BODY))
        token, password = form.get("token", "")[:200], form.get("password", "")
        try:
            if password != form.get("again"):
                return await self._form(
                    request, await self._invitations.of_link(token), token, "The two passwords are not the same.", 400
                )
            made = await self._invitations.accept(token, password)
        except InvalidInput as error:
            return await self._form(request, await self._invitations.of_link(token), token, error.message, error.status)
        except PlatformError as error:
            return error_page(request, error)
        return page(request, "invitation.html", made=True, resource=self._resource, **await self._offered(made))

    async def _form(
        self, request: Request, found: Invitation, token: str, wrong: str = "", status: int = 200
    ) -> Response:
        return page(
            request, "invitation.html", status, made=False, token=token, wrong=wrong, shortest=MIN_PASSWORD,
            longest=MAX_PASSWORD, **await self._offered(found),
        )  # fmt: skip

    async def _offered(self, found: Invitation) -> dict[str, object]:
        customer = await self._accounts.store.customer(found.customer) if found.customer is not None else None
        company = customer.company_name if customer else None
        return {"email": found.email, "role": MEANING[found.role], "company": company, "expires_at": found.expires_at}
