"""Tokens: short-lived ES256 JWTs, each for exactly one server (its audience)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import jwt

from servers.marketplace.keys import ALGORITHM, KeyRing
from shared.ids import new_handle

LIFETIME_S = 900
"""Seconds that a token of a user or a service lives; nothing lives longer."""

UPSTREAM_LIFETIME_S = 300
REUSE_LEFT_S = 120
CACHED_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says.

    Args:
        subject: a user's or a service's id.
        audience: the address of the one server that accepts it.
        customer: the customer that it acts for; None: for none.
        client_id: the key, service or login that asked for it.
    """

    subject: str
    role: str
    audience: str
    scopes: frozenset[str]
    customer: str | None
    client_id: str


@dataclass(frozen=True, slots=True)
class Token:
    """A signed token. `expires_in` is in seconds, `scope` in the form of RFC 6749."""

    access_token: str
    expires_in: int
    scope: str

    def as_dict(self) -> dict[str, str | int]:
        """The body of a token answer (RFC 6749, section 5.1)."""
        return {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": self.scope,
        }


class Mint:
    """Signs grants with the newest key."""

    def __init__(self, keys: KeyRing, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._upstream: OrderedDict[Grant, tuple[float, str]] = OrderedDict()

    def token(self, grant: Grant, lifetime_s: int = LIFETIME_S) -> Token:
        """A fresh token for a grant."""
        lifetime_s = min(lifetime_s, LIFETIME_S)
        now = int(time.time())
        scope = scope_text(grant.scopes)
        claims: dict[str, object] = {
            "iss": self._issuer,
            "sub": grant.subject,
            "aud": grant.audience,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": new_handle("tok"),
            "scope": scope,
            "role": grant.role,
            "client_id": grant.client_id,
        }
        if grant.customer is not None:
            claims["customer"] = grant.customer
        key = self._keys.signing
        signed = jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": "at+jwt"})
        return Token(signed, lifetime_s, scope)

    def upstream(self, grant: Grant) -> str:
        """A token for a call-through, signed once and used again while it has time left by the clock that it is judged
        by: that was set back or forward, or its machine has slept, and it is signed anew."""
        known = self._upstream.get(grant)
        now = time.time()
        if known is not None and REUSE_LEFT_S < known[0] - now <= UPSTREAM_LIFETIME_S:
            self._upstream.move_to_end(grant)
            return known[1]
        signed = self.token(grant, UPSTREAM_LIFETIME_S).access_token
        self._upstream[grant] = (now + UPSTREAM_LIFETIME_S, signed)
        if len(self._upstream) > CACHED_TOKENS:
            self._upstream.popitem(last=False)
        return signed


def scope_text(scopes: Iterable[str]) -> str:
    """Scopes as one string, in a fixed order."""
    return " ".join(sorted(scopes))
