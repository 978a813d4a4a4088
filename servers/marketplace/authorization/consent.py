"""The consent page: who asks for what; the answer is the user's password, or a sign-in through an identity provider.

There is no cookie: every consent is given with the password, or with what the page itself holds of who has just signed
in, sealed for this request. So no other page can give it in the user's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import orjson
from mcp.server.auth.provider import AuthorizationParams, construct_redirect_uri
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from servers.marketplace.authorization.provider import ASK_S, Provider
from servers.marketplace.authorization.store import Authorization, AuthorizationStore, client_digest
from servers.marketplace.forms import read_form
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.pages import MAX_BODY, error_page, page, page_headers
from servers.marketplace.providers.sign_in import NO_ACCOUNT, SignIn, way_out
from servers.marketplace.users.accounts import Accounts, Identity
from servers.marketplace.users.grants import Grants
from shared.errors import Forbidden, InvalidInput, NotFound, PlatformError, Unauthenticated
from shared.ids import new_handle
from shared.serving import read_body
from shared.settings import Settings

DOOR = "consent"
"""Of ways through an identity provider that lead back here."""
PROOF = "consent proof"

MEANING = {
    "catalogue:read": "see the catalogue of servers",
    "catalogue:install": "install and remove servers for your company",
    "gateway:call": "call the tools of installed servers",
    "database:change": "ask for changes to your company's data; another person has to approve each",
    "approvals:decide": "approve or deny changes that others ask for",
    "dataset:read": "search your company's documents",
    "users:write": "create and disable users",
    "registry:write": "register customers and servers",
    "usage:read": "see what was used and what it costs",
    "customers:read": "see the customers that your account may work with",
    "customers:write": "take on customers and change what is held about them",
    "customers:erase": "erase customers with all that is held of them",
    "jobs:read": "see jobs and how far they are",
    "jobs:write": "start, answer and cancel jobs",
    "process": "read and process customers' documents",
    "embed": "turn texts into vectors",
    "ocr": "read text on images",
    "installations:read": "see how customers' documents are processed",
    "installations:write": "set how customers' documents are processed",
    "images:read": "see and check customers' images and deployments",
    "images:write": "build, deploy, roll back and stop customers' images",
    "tax:use": "compute taxes and check invoices",
    "status": "see whether the services work",
}


class Asked:
    """What a client asks for, as the consent page was opened with it."""

    def __init__(self, text: str, client: OAuthClientInformationFull) -> None:
        self.text = text
        self.params = AuthorizationParams.model_validate_json(text)
        self.client = client

    @property
    def client_id(self) -> str:
        """The client's id."""
        return self.client.client_id or ""

    @property
    def name(self) -> str:
        """What the client calls itself; it may call itself anything, or nothing."""
        return self.client.client_name or ""

    @property
    def target(self) -> str:
        """Where the answer goes: what the user can judge the client by."""
        place = urlsplit(str(self.params.redirect_uri))
        return f"{place.scheme}://{place.netloc}" if place.netloc else f"{place.scheme}:"


class Consent:
    """The handlers of `/oauth/consent`."""

    def __init__(
        self,
        settings: Settings,
        provider: Provider,
        seal: SessionSeal,
        store: AuthorizationStore,
        accounts: Accounts,
        grants: Grants,
        sign_in: SignIn,
    ) -> None:
        self._issuer = settings.url("marketplace")
        self._provider = provider
        self._seal = seal
        self._store = store
        self._accounts = accounts
        self._grants = grants
        self._sign_in = sign_in

    async def page(self, request: Request) -> Response:
        """GET: ask."""
        try:
            told = {name: request.query_params.get(name, "") for name in ("request", "client")}
            return self._render(request, await self._asked(told), told)
        except PlatformError as error:
            return error_page(request, error)

    async def answer(self, request: Request) -> Response:
        """POST: the user allows or refuses."""
        form = read_form(await read_body(request, MAX_BODY))
        try:
            asked = await self._asked(form)
        except PlatformError as error:
            return error_page(request, error)
        if form.get("answer") != "allow":
            return self._back(asked, error="access_denied")
        try:
            identity = await self._identity(asked, form)
        except Unauthenticated as error:
            form.pop("proof", None)
            return self._render(request, asked, form, error.message, 401)
        try:
            return await self._allowed(asked, identity, form.get("customer", "").strip()[:100] or None)
        except NotFound:
            return self._render(request, asked, form, "This account acts for no customer with this id.", 403)
        except (Forbidden, InvalidInput):
            return self._render(
                request, asked, form, "This account may not use that server, or nothing of what is asked for.", 403
            )

    async def held(self, told: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        asked = await self._asked(told)
        return {"client": asked.client_id, "request": asked.text}

    def opened(self, held: Mapping[str, str]) -> dict[str, str]:
        """As `providers.page.Door` has it."""
        return self._provider.opened(held["client"], held["request"])

    async def entered(self, request: Request, told: Mapping[str, str], email: str, issuer: str) -> Response:
        """As `providers.page.Door` has it: ask whoever has signed in."""
        asked = await self._asked(told)
        identity = await self._accounts.by_address(email)
        if identity is None:
            raise Forbidden(NO_ACCOUNT)
        text = orjson.dumps([identity.subject, email, issuer]).decode()
        proof = self._seal.seal(text, PROOF, asked.client_id, asked.text, lifetime_s=ASK_S)
        return self._render(request, asked, {**told, "proof": proof})

    async def _identity(self, asked: Asked, form: Mapping[str, str]) -> Identity:
        if "proof" not in form:
            return await self._accounts.by_password(form.get("email", "")[:254], form.get("password", ""))
        user_id, _, _ = self._proven(asked, form["proof"])
        return await self._accounts.by_session(user_id, user_id)

    def _proven(self, asked: Asked, proof: str) -> tuple[str, str, str]:
        """Who has signed in for this request: the account's id, the address, and the provider that named it."""
        try:
            user_id, email, issuer = orjson.loads(self._seal.open(proof, PROOF, asked.client_id, asked.text))
        except NotFound:
            raise Unauthenticated("Ten minutes are over: sign in again.") from None
        return user_id, email, issuer

    async def _allowed(self, asked: Asked, identity: Identity, customer: str | None) -> Response:
        params = asked.params
        resource = params.resource or ""
        grant = await self._grants.grant(identity, resource, frozenset(params.scopes or ()) or None, customer)
        given = Authorization(
            session_id=new_handle("ses"),
            user_id=identity.subject,
            acts_for=grant.customer,
            client_sha256=client_digest(asked.client_id),
            resource=resource,
            scope=" ".join(sorted(grant.scopes)),
            code_challenge=params.code_challenge,
            redirect_uri=str(params.redirect_uri),
            redirect_named=params.redirect_uri_provided_explicitly,
        )
        await self._store.add(given, identity.customer)
        return self._back(asked, code=self._provider.secrets.code(given.session_id))

    async def _asked(self, told: Mapping[str, str]) -> Asked:
        try:
            client_id = self._seal.open(told.get("client", ""), "consent client")
            text = self._seal.open(told.get("request", ""), "consent", client_id)
        except NotFound:
            raise InvalidInput("This request is over: go back to the program and connect again.") from None
        client = await self._provider.get_client(client_id)
        if client is None:
            raise InvalidInput("This program is not known any more: go back to it and connect again.")
        asked = Asked(text, client)
        try:
            client.validate_redirect_uri(asked.params.redirect_uri)
        except InvalidRedirectUriError:
            raise InvalidInput("This program has another address now: go back to it and connect again.") from None
        return asked

    def _back(self, asked: Asked, **told: str) -> Response:
        """To the client, with the issuer (RFC 9207), so that it can tell whose answer this is."""
        told |= {"iss": self._issuer} | ({"state": asked.params.state} if asked.params.state is not None else {})
        place = construct_redirect_uri(str(asked.params.redirect_uri), **told)
        return RedirectResponse(place, 303, page_headers(asked.target))

    def _render(
        self, request: Request, asked: Asked, told: Mapping[str, str], wrong: str = "", status: int = 200
    ) -> Response:
        opened, proof = {name: told.get(name, "") for name in ("request", "client")}, told.get("proof", "")
        _, signed_in, issuer = self._proven(asked, proof) if proof else ("", "", "")
        other = way_out(issuer, DOOR, opened, again="1")
        scopes = [MEANING[each] for each in sorted(asked.params.scopes or ()) if each in MEANING]  # nobody has others
        return page(
            request, "consent.html", status, asked.target,
            name=asked.name, target=asked.target, resource=asked.params.resource, scopes=scopes, wrong=wrong,
            **opened, ways=self._sign_in.ways(DOOR, opened), signed_in=signed_in, proof=proof, other=other,
            email=told.get("email", "")[:254] if wrong else "",  # of the form alone, never of an address
            customer=told.get("customer", "")[:100] if wrong else "",
        )  # fmt: skip
