"""People who sign in elsewhere: a token of an identity provider that the operator trusts against one of the platform's
(OpenID Connect; RFC 7523, 2.1).

The provider says who somebody is, by a verified e-mail address at one of its domains. Account, role and customer are
the registry's: nobody gets an account by a token, and one that has ended stays so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import jwt

from shared.auth.keys import LARGEST_DOCUMENT, FetchedKeys
from shared.auth.remote import RemoteDocument
from shared.auth.verifier import LEEWAY_S, LONGEST_LIFETIME_S, LONGEST_TOKEN, REQUIRED
from shared.errors import InvalidInput
from shared.settings import IdentityProvider, provider_address

ALGORITHMS = frozenset({"ES256", "RS256", "PS256", "EdDSA"})
"""With public keys alone: by a shared secret, whoever checks a token could make one."""
SMALLEST_RSA = 2048
DISCOVERY = "/.well-known/openid-configuration"
_KID = re.compile(r"[\x21-\x7e]{1,200}")
_NEEDED = [claim for claim in REQUIRED if claim != "jti"]


class Assertions:
    """Reads tokens of the operator's identity providers.

    Args:
        providers: issuer → what is taken from it.
    """

    def __init__(self, providers: Mapping[str, IdentityProvider]) -> None:
        self._known = {issuer: (provider, ProviderKeys(issuer)) for issuer, provider in providers.items()}

    async def email(self, assertion: str) -> str:
        """The e-mail address of whoever a provider vouches for.

        Raises:
            InvalidInput: the token is not valid here, for whatever reason (field `assertion`).
            Unavailable: the provider's keys are not known, and it does not answer.
        """
        if not assertion.isascii() or len(assertion) > LONGEST_TOKEN:
            _refuse()
        kid, issuer = _named(assertion)
        known = self._known.get(issuer)
        if known is None:
            _refuse()
        provider, keys = known
        key = await keys.key(kid)
        if key is None:
            _refuse()
        try:
            claims = jwt.decode(
                assertion,
                key,
                algorithms=[key.algorithm_name],
                audience=provider.audience,
                issuer=issuer,
                leeway=LEEWAY_S,
                options={"require": _NEEDED, "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            _refuse()
        return _email(claims, provider)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(keys.aclose() for _, keys in self._known.values()))


class ProviderKeys(FetchedKeys[jwt.PyJWK]):
    """The signing keys of a provider, found by its metadata (OpenID Connect Discovery 1.0)."""

    UNKNOWN = "The identity provider does not answer: try again later, or sign in with the password."

    def __init__(self, issuer: str) -> None:
        super().__init__()
        self._issuer = issuer
        self._about = RemoteDocument(issuer.rstrip("/") + DISCOVERY, LARGEST_DOCUMENT)

    async def load(self) -> dict[str, jwt.PyJWK]:
        about = await self._about.fetch()
        if about["issuer"] != self._issuer:
            raise ValueError("another issuer")
        place = RemoteDocument(provider_address(str(about["jwks_uri"])), LARGEST_DOCUMENT)
        try:
            return _signing(await place.fetch())
        finally:
            await place.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._about.aclose()


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


def _named(assertion: str) -> tuple[str, str]:
    """Key and issuer that a token names; what it brings or names of keys otherwise is never looked at."""
    try:
        header = jwt.get_unverified_header(assertion)
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError):
        _refuse()
    kid = header.get("kid")
    if "crit" in header or not isinstance(kid, str) or not _KID.fullmatch(kid):
        _refuse()
    return kid, issuer if isinstance(issuer, str) else ""


def _email(claims: Mapping[str, Any], provider: IdentityProvider) -> str:
    email, lives = claims.get("email"), claims["exp"] - claims["iat"]
    if not isinstance(email, str) or claims.get("email_verified") is not True or not 0 < lives <= LONGEST_LIFETIME_S:
        _refuse()
    if email.rpartition("@")[2].lower() not in provider.domains:
        _refuse()
    return email


def _refuse() -> NoReturn:
    raise InvalidInput(
        "This token does not sign in here: ask the identity provider for a new one, with a verified e-mail address.",
        field="assertion",
    ) from None
