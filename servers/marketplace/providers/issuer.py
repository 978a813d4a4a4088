"""One identity provider, known by its metadata (OpenID Connect Discovery 1.0): its keys, its tokens, and its endpoints.

What the operator has named, the issuer's own origin, may be inside the operator's network; whatever else the metadata
names is connected to only where anybody's server may be.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt
import orjson

from servers.marketplace.gateway.outgoing import Outgoing
from shared.auth.keys import LARGEST_DOCUMENT, RETRY_S, FetchedKeys
from shared.auth.verifier import LEEWAY_S, REQUIRED
from shared.client.stream import read_whole
from shared.errors import InvalidInput, Unavailable
from shared.identity_provider import IdentityProvider, provider_address

ALGORITHMS = frozenset({"ES256", "RS256", "PS256", "EdDSA"})
"""With public keys alone: by a shared secret, whoever checks a token could make one."""
SMALLEST_RSA = 2048
DISCOVERY = "/.well-known/openid-configuration"
ANSWER_S = 5.0
LONGEST_TOKEN = 32 * 1024
"""Of characters; an ID token of Entra ID with 200 groups has 12,000."""
BASIC, POST = "client_secret_basic", "client_secret_post"
FORM = ("content-type", "application/x-www-form-urlencoded")
_KID = re.compile(r"[\x21-\x7e]{1,200}")
_ERROR = re.compile(r"[a-z_]{1,60}")
_BEARER = re.compile(r"[\x21-\x7e]{1,8192}")
_NEEDED = [claim for claim in REQUIRED if claim != "jti"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What signing in needs of the metadata. `names_itself`: its answers say whose they are (RFC 9207)."""

    authorization: str
    token: str
    userinfo: str | None
    secret_in_form: bool
    names_itself: bool


class Issuer(FetchedKeys[jwt.PyJWK]):
    """A provider.

    Args:
        address: the issuer, as its metadata and its tokens have it.
    """

    UNKNOWN = "The identity provider does not answer: try again later, or sign in with the password."

    def __init__(self, address: str, trusted: IdentityProvider, outgoing: Outgoing) -> None:
        super().__init__()
        self.address = address
        self.trusted = trusted
        self._outgoing = outgoing
        self._about: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """What the pages call it."""
        return self.trusted.name or urlsplit(self.address).hostname or self.address

    async def load(self) -> dict[str, jwt.PyJWK]:
        about = await self._document(self.address.rstrip("/") + DISCOVERY)
        if about["issuer"] != self.address:
            raise ValueError("another issuer")
        keys = _signing(await self._document(str(about["jwks_uri"])))
        self._about = about
        return keys

    async def endpoints(self) -> Endpoints:
        """Where people sign in, and codes become tokens.

        Raises:
            Unavailable: the provider does not answer, or says nothing that could be used.
        """
        await self.refreshed()
        about = self._about
        methods = about.get("token_endpoint_auth_methods_supported", [BASIC])
        try:
            if BASIC not in methods and POST not in methods:
                raise ValueError("no way to show a secret")
            return Endpoints(
                provider_address(about["authorization_endpoint"]),
                provider_address(about["token_endpoint"]),
                provider_address(about["userinfo_endpoint"]) if "userinfo_endpoint" in about else None,
                BASIC not in methods,
                about.get("authorization_response_iss_parameter_supported") is True,
            )
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Unavailable("The identity provider's metadata is of no use: tell your administrator.") from None

    async def tokens(self, code: str, verifier: str, back: str) -> tuple[str, str]:
        """The ID token for a code, and the access token, which is empty where there is none (OpenID Connect Core 1.0,
        3.1.3).

        Args:
            verifier: of PKCE (RFC 7636).
            back: the address that the code came to.

        Raises:
            InvalidInput: the provider refuses the code, or gives no ID token; the message is for administrators.
            Unavailable: it does not answer.
        """
        endpoints = await self.endpoints()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        name, secret = self.trusted.audience, self._secret()
        headers: list[tuple[str, str]] = [FORM]
        if endpoints.secret_in_form:
            form |= {"client_id": name, "client_secret": secret}
        else:
            shown = f"{quote_plus(name)}:{quote_plus(secret)}"  # RFC 6749, 2.3.1
            headers.append(("authorization", "Basic " + base64.b64encode(shown.encode()).decode()))
        status, told = await self._answer("POST", endpoints.token, headers, urlencode(form).encode())
        token, access = told.get("id_token"), told.get("access_token")
        if status == 200 and isinstance(token, str):
            return token, access if isinstance(access, str) and _BEARER.fullmatch(access) else ""
        named = told.get("error")
        known = isinstance(named, str) and _ERROR.fullmatch(named)
        raise InvalidInput(f"The token endpoint answers {status}{f', {named}' if known else ''}.")

    async def person(self, claims: Mapping[str, Any], access: str) -> Mapping[str, Any]:
        """What is said of who an ID token names: in the token, or where it leaves the address out, as it may beside an
        access token, at the userinfo endpoint (OpenID Connect Core 1.0, 5.3 and 5.4).

        Raises:
            InvalidInput: the endpoint refuses, or speaks of another person; the message is for administrators.
            Unavailable: it does not answer.
        """
        place = (await self.endpoints()).userinfo
        if {"email", self.trusted.verified_by} <= claims.keys() or place is None or not access:
            return claims
        status, told = await self._answer("GET", place, [("authorization", f"Bearer {access}")])
        if status != 200:
            raise InvalidInput(f"The userinfo endpoint answers {status}.")
        if told.get("sub") != claims["sub"]:
            raise InvalidInput("The userinfo endpoint names another sub.")
        return told

    async def claims(self, token: str, *, strict: bool) -> dict[str, Any]:
        """What a token of the provider for the platform says, its signature, issuer, audience and times checked.

        Args:
            strict: the audience is one text; else it may be a list of one, as in ID tokens of some providers.

        Raises:
            InvalidInput: it is none, or over; the message is for administrators.
            Unavailable: the provider's keys are not known, and it does not answer.
        """
        if not token.isascii() or len(token) > LONGEST_TOKEN:
            _untrusted("too long")
        key = await self.key(_kid(token))
        if key is None:
            _untrusted("unknown key")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self.trusted.audience,
                issuer=self.address,
                leeway=LEEWAY_S,
                options={"require": _NEEDED, "strict_aud": strict},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            _untrusted(type(error).__name__)
        if claims["aud"] not in (self.trusted.audience, [self.trusted.audience]):
            _untrusted("further audiences")
        if not all(isinstance(claims[each], int | float) for each in ("exp", "iat")):
            _untrusted("a time that is no number")  # PyJWT reads one in a text too
        return claims

    def email(self, claims: Mapping[str, Any]) -> str | None:
        """The verified address of who is named, in lower case; None: there is none at the provider's domains."""
        email, by = claims.get("email"), self.trusted.verified_by
        # Entra ID writes its `xms_edov` as a text in some tenants.
        verified = claims.get(by) is True or (by != "email_verified" and claims.get(by) in ("1", "true"))
        if not isinstance(email, str) or not verified:
            return None
        email = email.strip().lower()
        return email if email.rpartition("@")[2] in self.trusted.domains else None

    def _secret(self) -> str:
        return self.trusted.client_secret.get_secret_value() if self.trusted.client_secret else ""

    async def _document(self, url: str) -> dict[str, Any]:
        status, told = await self._ask("GET", url)
        if status != 200:
            raise ValueError("no such document")
        return told

    async def _answer(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> tuple[int, dict[str, Any]]:
        try:
            return await self._ask(method, url, headers, body)
        except Exception:  # noqa: BLE001  # whatever is wrong there, as with the keys
            raise Unavailable(self.UNKNOWN, retry_after=RETRY_S) from None

    async def _ask(
        self, method: str, url: str, headers: list[tuple[str, str]] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object of an answer. No redirect is followed.

        Raises:
            Exception: whatever is wrong with the address, the connection or the answer.
        """
        place, _, query = provider_address(url).partition("?")
        client = self._outgoing.client(place, operated=urlsplit(url)[:2] == urlsplit(self.address)[:2])
        asked = [("accept", "application/json"), ("accept-encoding", "identity"), *(headers or [])]
        async with asyncio.timeout(ANSWER_S), client.request(method, place, asked, body, query) as answer:
            told = orjson.loads(await read_whole(answer, LARGEST_DOCUMENT) or b"{}")  # a refusal may have no body
        if not isinstance(told, dict):
            raise ValueError("no JSON object")
        return answer.status, told


def _signing(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that a provider signs with, by id; others are left out."""
    found: dict[str, jwt.PyJWK] = {}
    for told in document["keys"]:
        try:
            key = jwt.PyJWK(told)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        strong = getattr(key.key, "key_size", SMALLEST_RSA) >= SMALLEST_RSA or key.key_type != "RSA"
        if told.get("use", "sig") == "sig" and key.algorithm_name in ALGORITHMS and key.key_id and strong:
            found[key.key_id] = key
    return found


def _kid(token: str) -> str:
    """The key that a token names; what it brings or names of keys otherwise is never looked at."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError):
        _untrusted("no token")
    kid = header.get("kid")
    if "crit" in header or not isinstance(kid, str) or not _KID.fullmatch(kid):
        _untrusted("no key named")
    return kid


def _untrusted(why: str) -> NoReturn:
    raise InvalidInput(f"The token is not valid here: {why}.", field="assertion") from None
