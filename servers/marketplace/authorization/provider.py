"""What the SDK's OAuth handlers ask: clients, codes and refresh tokens.

A code and a refresh token are sealed names of an authorization; what is current stands in its row. Each is good once. A
second use means that somebody else has it, and ends the authorization with all its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl

from servers.marketplace.authorization.clients import Clients
from servers.marketplace.authorization.store import Authorization, AuthorizationStore
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.tokens import Grant, Mint
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.grants import Grants
from shared.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from shared.settings import Settings

CODE_S = 60.0
REFRESH_S = 30 * 24 * 3600.0
ASK_S = 600.0
CONSENT = "/oauth/consent"


class Code(AuthorizationCode):
    """An authorization code, and the authorization that it is of."""

    given: Any


class Refresh(RefreshToken):
    """A refresh token, the authorization that it is of, and its number there."""

    given: Any
    number: int


@dataclass(frozen=True, slots=True)
class Secrets:
    """Codes and refresh tokens of authorizations: sealed, so that none can be made up and none has to be stored."""

    seal: SessionSeal

    def code(self, session_id: str) -> str:
        """A code."""
        return self.seal.seal(session_id, "code", lifetime_s=CODE_S)

    def refresh(self, session_id: str, number: int) -> str:
        """The refresh token of a number."""
        return self.seal.seal(f"{session_id} {number}", "refresh", lifetime_s=REFRESH_S)

    def read_code(self, code: str) -> str | None:
        """The authorization's id; None: not one of ours, or over."""
        return self._open(code, "code")

    def read_refresh(self, token: str) -> tuple[str, int] | None:
        """The authorization's id and the number; None: not one of ours, or over."""
        opened = self._open(token, "refresh")
        session_id, _, number = (opened or "").partition(" ")
        return (session_id, int(number)) if number.isdecimal() else None

    def _open(self, text: str, kind: str) -> str | None:
        try:
            return self.seal.open(text, kind)
        except NotFound:
            return None


class Provider(OAuthAuthorizationServerProvider[Code, Refresh, AccessToken]):
    """The authorization server's knowledge."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        seal: SessionSeal,
        store: AuthorizationStore,
        accounts: Accounts,
        grants: Grants,
        mint: Mint,
    ) -> None:
        self._default = settings.resource("marketplace")
        self._clients = clients
        self._seal = seal
        self._store = store
        self._accounts = accounts
        self._grants = grants
        self._mint = mint
        self.secrets = Secrets(seal)

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return await self._clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self._clients.register(client_info)

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """The address of the consent page, with the request sealed so that nobody can change it on the way."""
        # Without a resource it is the marketplace, whose address the client has come to.
        resource = params.resource or self._default
        if not all(64 > len(each) > 0 for each in params.scopes or []) or len(resource) > 500:
            raise AuthorizeError("invalid_request", "A scope or the resource is too long.")
        if len(params.code_challenge) != 43:
            raise AuthorizeError("invalid_request", "The code challenge is not one of S256.")
        if len(params.state or "") > 1000:
            raise AuthorizeError("invalid_request", "The state is over 1000 characters.")
        asked = params.model_copy(update={"resource": resource}).model_dump_json()
        told = self.opened(client.client_id or "", asked)
        return f"{CONSENT}?request={told['request']}&client={told['client']}"

    def opened(self, client_id: str, asked: str) -> dict[str, str]:
        """The parameters that open the consent page for `AuthorizationParams` in JSON."""
        return {
            "request": self._seal.seal(asked, "consent", client_id, lifetime_s=ASK_S),  # no other client opens it
            "client": self._seal.seal(client_id, "consent client", lifetime_s=ASK_S),
        }

    async def load_authorization_code(self, client: OAuthClientInformationFull, authorization_code: str) -> Code | None:
        session_id = self.secrets.read_code(authorization_code)
        given = await self._of(session_id, client)
        if given is None or session_id is None:
            return None
        return Code(
            code=authorization_code,
            scopes=given.scope.split(),
            expires_at=given.created_at + CODE_S,
            client_id=client.client_id or "",
            code_challenge=given.code_challenge,
            redirect_uri=AnyUrl(given.redirect_uri),
            redirect_uri_provided_explicitly=given.redirect_named,
            resource=given.resource,
            subject=given.user_id,
            given=given,
        )

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: Code
    ) -> OAuthToken:
        given: Authorization = authorization_code.given
        grant = await self._grant(given, given.scope.split())
        if not await self._store.use_code(given.session_id):
            raise TokenError("invalid_grant", "The code was used already: sign in again.")
        return self._tokens(given, grant, 0)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> Refresh | None:
        read = self.secrets.read_refresh(refresh_token)
        given = await self._of(read[0] if read else None, client)
        if given is None or read is None:
            return None
        return Refresh(
            token=refresh_token,
            client_id=client.client_id or "",
            scopes=given.scope.split(),
            resource=given.resource,
            subject=given.user_id,
            given=given,
            number=read[1],
        )

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: Refresh, scopes: list[str]
    ) -> OAuthToken:
        given: Authorization = refresh_token.given
        grant = await self._grant(given, scopes)
        if not await self._store.rotate(given.session_id, refresh_token.number):
            raise TokenError("invalid_grant", "This refresh token was used already: sign in again.")
        return self._tokens(given, grant, refresh_token.number + 1)

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Access tokens are JWTs, which nobody asks this server about."""
        return None

    async def revoke_token(self, token: AccessToken | Refresh) -> None:
        """End the authorization that a refresh token is of."""
        if isinstance(token, Refresh):
            await self._store.revoke(token.given.session_id)

    async def resource_of(self, secret: str) -> str | None:
        """The resource that a code or a refresh token is for; None where it is neither."""
        read = self.secrets.read_refresh(secret)
        given = await self._store.of(read[0] if read else self.secrets.read_code(secret) or "")
        return given.resource if given else None

    async def _of(self, session_id: str | None, client: OAuthClientInformationFull) -> Authorization | None:
        given = await self._store.of(session_id) if session_id else None
        return given if given is not None and given.stands and given.is_of(client.client_id or "") else None

    async def _grant(self, given: Authorization, scopes: list[str]) -> Grant:
        """What the user may do now, not what they could when they consented.

        It is asked for before a code or a refresh token is used up: what fails here can be tried again.
        """
        try:
            identity = await self._accounts.by_session(given.user_id, given.session_id)
            return await self._grants.grant(identity, given.resource, frozenset(scopes), given.acts_for)
        except (Unauthenticated, Forbidden, NotFound, InvalidInput):
            await self._store.revoke(given.session_id)
            raise TokenError("invalid_grant", "The account may not do this any more: sign in again.") from None

    def _tokens(self, given: Authorization, grant: Grant, number: int) -> OAuthToken:
        token = self._mint.token(grant)
        return OAuthToken(
            access_token=token.access_token,
            expires_in=token.expires_in,
            scope=token.scope,
            refresh_token=self.secrets.refresh(given.session_id, number),
        )
