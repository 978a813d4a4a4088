"""People who sign in elsewhere: a token of an identity provider that the operator trusts against one of the platform's
(OpenID Connect; RFC 7523, 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import jwt

from servers.marketplace.providers.issuer import Issuer
from shared.auth.verifier import LONGEST_LIFETIME_S, LONGEST_TOKEN
from shared.errors import InvalidInput


class Assertions:
    """Reads tokens of the operator's identity providers.

    Args:
        issuers: address → provider.
    """

    def __init__(self, issuers: Mapping[str, Issuer]) -> None:
        self._issuers = issuers

    async def email(self, assertion: str) -> str:
        """The e-mail address of whoever a provider vouches for.

        Raises:
            InvalidInput: the token is not valid here, for whatever reason (field `assertion`).
            Unavailable: the provider's keys are not known, and it does not answer.
        """
        issuer = self._issuers.get(_named(assertion)) if len(assertion) <= LONGEST_TOKEN else None
        if issuer is None:
            _refuse()
        try:
            claims = await issuer.claims(assertion, strict=True)
        except InvalidInput:
            _refuse()
        email = issuer.email(claims)
        if email is None or not 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFETIME_S:
            _refuse()
        return email


def _named(assertion: str) -> str:
    """The issuer that a token names."""
    try:
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError):
        _refuse()
    return issuer if isinstance(issuer, str) else ""


def _refuse() -> NoReturn:
    raise InvalidInput(
        "This token does not sign in here: ask the identity provider for a new one, with a verified e-mail address.",
        field="assertion",
    ) from None
