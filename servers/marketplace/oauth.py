"""Where tokens come from: `/oauth/…`, `POST /v1/login`, the public keys, the metadata (RFC 8414).

Services and scripts bring a secret (client credentials), who signs in elsewhere a token of an identity provider; a
program that a user lets in brings a code and PKCE, which the SDK's handlers look after.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_plus

import orjson
from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.revoke import RevocationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import ClientAuthenticator
from mcp.server.auth.settings import ClientRegistrationOptions
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from servers.marketplace import policy
from servers.marketplace.authorization.provider import Provider
from servers.marketplace.forms import read_form
from servers.marketplace.keys import KeyRing
from servers.marketplace.pages import error_page
from servers.marketplace.tokens import Mint
from servers.marketplace.users.accounts import Accounts, Identity
from servers.marketplace.users.assertions import Assertions
from servers.marketplace.users.grants import Grants
from shared.contracts.model import Contract
from shared.errors import META, Forbidden, InvalidInput, NotFound, PlatformError, Unauthenticated
from shared.ids import CustomerId
from shared.serving import json_response, read_body, read_model
from shared.settings import Settings

MAX_BODY = 16 * 1024
NO_STORE = {"Cache-Control": "no-store"}
CACHED = {"Cache-Control": "public, max-age=60"}
NOT_ANSWERED = "This program did not ask as it should: go back to it and connect again, or tell its maker."
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
BY_CONSENT = frozenset({"authorization_code", "refresh_token"})


class Login(Contract):
    """The body of `POST /v1/login`. `scope` holds scopes with blanks between them; empty: all that the role has."""

    email: str = Field(min_length=3, max_length=254)
    password: str = Field(min_length=1, max_length=1024)
    resource: str | None = Field(None, max_length=500)
    scope: str = Field("", max_length=2000)
    customer: CustomerId | None = None


class OAuthRoutes:
    """The handlers of the authorization server."""

    def __init__(
        self, settings: Settings, keys: KeyRing, mint: Mint, accounts: Accounts, grants: Grants, provider: Provider,
        assertions: Assertions,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._keys = keys
        self._mint = mint
        self._accounts = accounts
        self._grants = grants
        self._provider = provider
        self._assertions = assertions
        authenticator = ClientAuthenticator(provider)
        self._tokens = TokenHandler(provider, authenticator)
        self._revocations = RevocationHandler(provider, authenticator)
        self._authorizations = AuthorizationHandler(provider)
        self._registrations = RegistrationHandler(provider, ClientRegistrationOptions(enabled=True))

    async def token(self, request: Request) -> Response:
        """A token for one resource (RFC 8707).

        For client credentials (RFC 6749, 4.4) of a service or a user's API key, a token of an identity provider
        (RFC 7523), a code or a refresh token.
        """
        try:
            body = await read_body(request, MAX_BODY)
            form = read_form(body)
            if form.get("grant_type") in BY_CONSENT:
                await self._check_resource(form)
                return await self._tokens.handle(_again(request, body))
            return json_response(await self._at_once(request, form), headers=NO_STORE)
        except PlatformError as error:
            return _oauth_error(error)

    async def authorize(self, request: Request) -> Response:
        """The start of a code: to the consent page, or back to the client with what is wrong.

        Where nobody can be sent back, a browser gets a page, and a program JSON.
        """
        reads_pages = "text/html" in request.headers.get("accept", "")
        try:
            # The SDK's handler would make an error without a sense of a client that cannot be looked up just now.
            await self._provider.get_client(request.query_params.get("client_id", ""))
        except PlatformError as error:
            if reads_pages:
                return error_page(request, error)
            raise
        answer = await self._authorizations.handle(request)
        if answer.status_code < 400 or not reads_pages:
            return answer
        told = orjson.loads(bytes(answer.body)).get("error_description") or ""
        return error_page(request, InvalidInput(NOT_ANSWERED), detail=str(told)[:300])

    async def register(self, request: Request) -> Response:
        """Dynamic client registration (RFC 7591), for clients without a metadata document."""
        return await self._registrations.handle(_again(request, await read_body(request, MAX_BODY)))

    async def revoke(self, request: Request) -> Response:
        """End what a refresh token is of (RFC 7009)."""
        body = await read_body(request, MAX_BODY)
        # The SDK's handler wants the field of a client that has no secret, too.
        body = body if "client_secret" in read_form(body) else body + b"&client_secret="
        return await self._revocations.handle(_again(request, body))

    async def login(self, request: Request) -> Response:
        """A user's e-mail address and password against a token; the resource defaults to the marketplace."""
        asked = await read_model(request, Login, MAX_BODY)
        identity = await self._accounts.by_password(asked.email, asked.password)
        resource = asked.resource or self._settings.resource("marketplace")
        grant = await self._grants.grant(identity, resource, _scopes(asked.scope), asked.customer)
        return json_response(self._mint.token(grant).as_dict(), headers=NO_STORE)

    async def jwks(self, request: Request) -> Response:
        """The public keys."""
        return json_response(self._keys.jwks(), headers=CACHED)

    async def metadata(self, request: Request) -> Response:
        """RFC 8414 metadata."""
        base = self._settings.url("marketplace")
        return json_response({
            "issuer": base,
            "authorization_endpoint": base + "/oauth/authorize",
            "token_endpoint": base + "/oauth/token",
            "registration_endpoint": base + "/oauth/register",
            "revocation_endpoint": base + "/oauth/revoke",
            "jwks_uri": base + "/.well-known/jwks.json",
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", ASSERTION],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
            "scopes_supported": sorted(policy.ALL),
        }, headers=CACHED)  # fmt: skip

    async def _check_resource(self, form: Mapping[str, str]) -> None:
        """A token is for what the user has consented to; a client that asks for another server gets nothing."""
        asked = form.get("resource")
        secret = form.get("code") or form.get("refresh_token") or ""
        if asked is not None and await self._provider.resource_of(secret) not in {asked, None}:
            raise InvalidInput("The consent is for another server: ask the user anew.", field="resource")

    async def _at_once(self, request: Request, form: Mapping[str, str]) -> dict[str, str | int]:
        """A token for what needs no consent."""
        if form.get("grant_type") not in {"client_credentials", ASSERTION}:
            raise InvalidInput(
                f"The grant type is authorization_code, refresh_token, client_credentials or {ASSERTION}.",
                field="grant_type",
            )
        if "resource" not in form:
            raise InvalidInput("Name the server that the token is for in `resource`.", field="resource")
        identity = await self._proven(request, form)
        grant = await self._grants.grant(
            identity, form["resource"], _scopes(form.get("scope", "")), form.get("customer") or None
        )
        return self._mint.token(grant).as_dict()

    async def _proven(self, request: Request, form: Mapping[str, str]) -> Identity:
        if form["grant_type"] != ASSERTION:
            return await self._accounts.by_secret(*_client(request, form))
        identity = await self._accounts.by_address(await self._assertions.email(form.get("assertion", "")))
        if identity is None:
            raise InvalidInput(
                "There is no account with this e-mail address: ask for an invitation.", field="assertion"
            )
        return identity


def _oauth_error(error: PlatformError) -> Response:
    """An error in the form of RFC 6749, section 5.2; `message` and `code` tell the platform's own clients the rest."""
    status, code = error.status, "invalid_request"
    headers = dict(NO_STORE)
    if isinstance(error, Unauthenticated):
        code, headers["WWW-Authenticate"] = "invalid_client", 'Basic realm="0711"'
    elif isinstance(error, Forbidden):
        status, code = 400, "invalid_scope"
    elif isinstance(error, NotFound) or error.field in {"resource", "customer"}:
        status, code = 400, "invalid_target"
    elif error.field == "grant_type":
        code = "unsupported_grant_type"
    elif error.field == "assertion":
        code = "invalid_grant"
    elif status >= 500 or status == 429:
        code = "temporarily_unavailable"
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    return json_response(
        {"error": code, "error_description": error.message, META: error.as_dict()}, status, headers=headers
    )


def _client(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    header = request.headers.get("authorization", "")
    if header.lower().startswith("basic "):
        try:
            name, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise Unauthenticated("The name or the secret is wrong.") from None
        return unquote_plus(name), unquote_plus(secret)
    return form.get("client_id", ""), form.get("client_secret", "")


def _scopes(text: str) -> frozenset[str] | None:
    return frozenset(text.split()) or None


def _again(request: Request, body: bytes) -> Request:
    """The request with its body, which has been read within its limit, for a handler that reads it itself."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
