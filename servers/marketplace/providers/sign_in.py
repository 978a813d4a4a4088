"""Signing in through an identity provider: the authorization code flow of OpenID Connect, as a confidential client.

What a browser has begun is in a cookie of its own, sealed and over after ten minutes: no other browser ends it, and
nobody can have somebody signed in as another person (login CSRF). The provider sees none of it but a random state, a
nonce and the digest of PKCE's verifier.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlencode

from mcp.server.auth.provider import construct_redirect_uri
from pydantic import ValidationError

from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.providers.issuer import Issuer
from servers.marketplace.unseen import without_unseen
from shared.contracts.model import Contract
from shared.errors import Forbidden, InvalidInput, NotFound, Overloaded
from shared.settings import Settings

PATH = "/oauth/provider"
CALLBACK = "/oauth/callback"
PURPOSE = "provider sign-in"
LASTS_S = 600.0
LARGEST_COOKIE = 3800
"""Of characters; browsers keep 4,096 of a cookie with its name and attributes."""
LONGEST_CODE = 4096
AT_ONCE = 64
"""Codes that are exchanged at the same time: anybody can have one tried."""

OVER = "This sign-in is over, or another browser began it: go back to where you started and sign in again."
UNFIT = "What the identity provider answers does not fit this sign-in: sign in again, or tell your administrator."
DECLINED = "The identity provider has not signed you in: sign in again, or ask your administrator."
NAMELESS = "The identity provider names no verified e-mail address of its domains for you: ask your administrator."
NO_ACCOUNT = "You have signed in, but there is no account with this e-mail address: ask for an invitation."
TOO_LONG = "This program asks for more than a sign-in through an identity provider can keep: tell its maker."


class Refusal(Forbidden):
    """An answer of a provider that signs nobody in. `detail`: why, for administrators, in English."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


class Begun(Contract):
    """What a browser has begun. `door`: the page that it goes on to; `held`: what that page was opened with."""

    issuer: str
    state: str
    nonce: str
    verifier: str
    door: str
    held: dict[str, str]


class Way(NamedTuple):
    """A link of a page to a provider."""

    name: str
    address: str


def way_out(issuer: str, door: str, told: Mapping[str, str], **more: str) -> str:
    """The link to a provider, from the page that these parameters open."""
    return f"{PATH}?{urlencode({'issuer': issuer, 'door': door, **told, **more})}"


class SignIn:
    """Begins and ends sign-ins.

    Attributes:
        issuers: address → provider, those too that no page offers, for the platform has no secret there.
    """

    def __init__(self, settings: Settings, seal: SessionSeal, outgoing: Outgoing) -> None:
        known = settings.identity_providers
        self.issuers = {address: Issuer(address, trusted, outgoing) for address, trusted in known.items()}
        self._offered = {address: self.issuers[address] for address, trusted in known.items() if trusted.client_secret}
        self._seal = seal
        self._base = settings.url("marketplace")
        self._exchanging = 0

    def ways(self, door: str, told: Mapping[str, str], email: str | None = None) -> list[Way]:
        """The providers that a page offers.

        Args:
            told: the parameters that open the page.
            email: only providers that speak for this address.
        """
        domain = email.rpartition("@")[2] if email else None
        return [
            Way(each.name, way_out(address, door, told))
            for address, each in self._offered.items()
            if domain is None or domain in each.trusted.domains
        ]

    async def begin(
        self, issuer: str, door: str, held: dict[str, str], language: str, *, again: bool
    ) -> tuple[str, str]:
        """The address at the provider, and what the browser keeps.

        Args:
            language: that the provider's pages had best be in.
            again: the person is asked even where the provider knows the browser: to be somebody else.

        Raises:
            NotFound: no such provider is offered.
            InvalidInput: the page was opened with too much.
            Unavailable: the provider does not answer.
        """
        provider = self._of(issuer)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = Begun(issuer=issuer, state=state, nonce=nonce, verifier=verifier, door=door, held=held)
        kept = self._seal.seal(begun.model_dump_json(), PURPOSE, lifetime_s=LASTS_S)
        if len(kept) > LARGEST_COOKIE:
            raise InvalidInput(TOO_LONG)
        endpoints = await provider.endpoints()
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")  # RFC 7636, 4.2
        asked = {
            "response_type": "code", "client_id": provider.trusted.audience, "redirect_uri": self._base + CALLBACK,
            "scope": "openid email", "state": state, "nonce": nonce, "code_challenge": challenge,
            "code_challenge_method": "S256", "ui_locales": language, "prompt": "login" if again else None,
        }  # fmt: skip
        return construct_redirect_uri(endpoints.authorization, **asked), kept

    def begun(self, kept: str, answer: Mapping[str, str]) -> Begun:
        """What the browser that brings an answer has begun.

        Raises:
            Forbidden: nothing that this answer is of.
        """
        try:
            begun = Begun.model_validate_json(self._seal.open(kept, PURPOSE))
        except (NotFound, ValidationError):
            raise Forbidden(OVER) from None
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise Forbidden(OVER)
        return begun

    async def end(self, begun: Begun, answer: Mapping[str, str]) -> str:
        """The verified e-mail address of who has signed in, by the provider's answer.

        Raises:
            Refusal: it signs nobody in.
            NotFound: the provider is offered no more.
            Unavailable: the provider does not answer.
            Overloaded: too many sign in at once.
        """
        provider = self._of(begun.issuer)
        names_itself = (await provider.endpoints()).names_itself
        if answer.get("iss", None if names_itself else begun.issuer) != begun.issuer:
            raise Refusal(UNFIT, "iss is another's (RFC 9207)")
        if "error" in answer:
            told = f"{answer['error']}: {answer.get('error_description', '')}"
            raise Refusal(DECLINED, without_unseen(told)[:300])
        code = answer.get("code", "")
        if not 0 < len(code) <= LONGEST_CODE:
            raise Refusal(UNFIT, "no code")
        try:
            token, access = await self._exchanged(provider, code, begun)
            claims = await provider.claims(token, strict=False)
            if claims.get("nonce") != begun.nonce:
                raise InvalidInput("nonce of another sign-in")
            if claims.get("azp", provider.trusted.audience) != provider.trusted.audience:
                raise InvalidInput("azp is another client")
            email = provider.email(await provider.person(claims, access))
        except InvalidInput as error:
            raise Refusal(UNFIT, error.message) from None
        if email is None:
            raise Refusal(NAMELESS, f"email at one of the domains, {provider.trusted.verified_by}")
        return email

    def _of(self, issuer: str) -> Issuer:
        provider = self._offered.get(issuer)
        if provider is None:
            raise NotFound(OVER)
        return provider

    async def _exchanged(self, provider: Issuer, code: str, begun: Begun) -> tuple[str, str]:
        if self._exchanging >= AT_ONCE:
            raise Overloaded("Too many logins at once: try again in a moment.", retry_after=2)
        self._exchanging += 1
        try:
            return await provider.tokens(code, begun.verifier, self._base + CALLBACK)
        finally:
            self._exchanging -= 1
