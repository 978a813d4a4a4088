"""Where tokens come from: `POST /oauth/token`, `POST /v1/login`, the public keys, the metadata (RFC 8414)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace import policy
from servers.marketplace.keys import KeyRing
from servers.marketplace.tokens import Mint
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.grants import Grants
from shared.contracts.model import Contract
from shared.errors import Forbidden, InvalidInput, NotFound, PlatformError, Unauthenticated
from shared.ids import CustomerId
from shared.serving import json_response, read_body, read_model
from shared.settings import Settings

MAX_BODY = 16 * 1024
NO_STORE = {"Cache-Control": "no-store"}
CACHED = {"Cache-Control": "public, max-age=60"}
META = "0711/error"


class Login(Contract):
    """The body of `POST /v1/login`. `scope` holds scopes with blanks between them; empty: all that the role has."""

    email: str = Field(min_length=3, max_length=254)
    password: str = Field(min_length=1, max_length=1024)
    resource: str | None = Field(None, max_length=500)
    scope: str = Field("", max_length=2000)
    customer: CustomerId | None = None


class OAuthRoutes:
    """The handlers of the authorization server."""

    def __init__(self, settings: Settings, keys: KeyRing, mint: Mint, accounts: Accounts, grants: Grants) -> None:
        self._settings = settings
        self._keys = keys
        self._mint = mint
        self._accounts = accounts
        self._grants = grants

    async def token(self, request: Request) -> Response:
        """Client credentials (RFC 6749, 4.4) of a service or a user's API key, for one resource (RFC 8707)."""
        try:
            return json_response(await self._client_credentials(request), headers=NO_STORE)
        except PlatformError as error:
            return _oauth_error(error)

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
            "token_endpoint": base + "/oauth/token",
            "jwks_uri": base + "/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "scopes_supported": sorted(policy.ALL),
        }, headers=CACHED)  # fmt: skip

    async def _client_credentials(self, request: Request) -> dict[str, str | int]:
        form = _form(await read_body(request, MAX_BODY))
        client_id, secret = _client(request, form)
        if form.get("grant_type") != "client_credentials":
            raise InvalidInput("The grant type is client_credentials.", field="grant_type")
        if "resource" not in form:
            raise InvalidInput("Name the server that the token is for in `resource`.", field="resource")
        identity = await self._accounts.by_secret(client_id, secret)
        grant = await self._grants.grant(
            identity, form["resource"], _scopes(form.get("scope", "")), form.get("customer") or None
        )
        return self._mint.token(grant).as_dict()


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


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise InvalidInput("The body is not a form.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidInput("A parameter is given twice.")
    return form


def _scopes(text: str) -> frozenset[str] | None:
    return frozenset(text.split()) or None
