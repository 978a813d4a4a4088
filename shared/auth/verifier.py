"""Tokens: ES256 JWTs, each for exactly one server, for an hour at most. Whatever is wrong, the answer is the same."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from shared.auth.keys import KeySource, RemoteKeys
from shared.auth.principal import ROLES, Principal
from shared.errors import Unauthenticated
from shared.ids import CUSTOMER_PATTERN
from shared.settings import ServerName, Settings
from shared.telemetry import event

ALGORITHM = "ES256"
LONGEST_LIFETIME_S = 3600
LEEWAY_S = 5
"""Clocks of two machines may differ by this much."""
LONGEST_TOKEN = 8192
CACHED_TOKENS = 10_000
TRUSTED_S = 1.0
"""A token that was verified passes for this long before its key is asked for again."""
REQUIRED = ["exp", "iat", "iss", "aud", "sub", "jti"]

_KID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SCOPE = re.compile(r"[a-z0-9_:.*-]{1,100}")
_NAME = re.compile(r"[\x21-\x7e]{1,200}")
_CUSTOMER = re.compile(CUSTOMER_PATTERN)


@dataclass(slots=True)
class _Known:
    """A token that was verified. `until`: monotonic seconds up to which its key is not asked for again."""

    caller: Principal
    kid: str
    key: EllipticCurvePublicKey
    until: float = 0.0

    def trust(self) -> Principal:
        """Let it pass for a while, whatever the clock is set to meanwhile."""
        self.until = time.monotonic() + TRUSTED_S
        return self.caller


class Verifier(Protocol):
    """Turns what a caller presents into a principal."""

    async def verify(self, token: str) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: it is not valid here, for whatever reason.
        """
        ...


class TokenVerifier:
    """Verifies tokens for one audience.

    Args:
        audience: the address of this server's MCP endpoint; a token names it and nothing else.
        issuer: the marketplace's address.
        keys: where its public keys come from.
    """

    def __init__(self, audience: str, issuer: str, keys: KeySource) -> None:
        self._audience = audience
        self._issuer = issuer
        self._keys = keys
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings, server: ServerName, keys: KeySource | None = None) -> TokenVerifier:
        """The verifier of a platform's server; keys come from the marketplace unless given."""
        issuer = settings.url("marketplace")
        return cls(settings.resource(server), issuer, keys or RemoteKeys(issuer + "/.well-known/jwks.json"))

    async def verify(self, token: str) -> Principal:
        """The caller that the token names. A token that was verified is remembered while its key is current; one of a
        removed key passes for `TRUSTED_S` more.

        Raises:
            Unauthenticated: the token is not valid here, for whatever reason.
            Unavailable: there are no keys to verify it with.
        """
        if not token.isascii() or len(token) > LONGEST_TOKEN:
            _refuse()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None:
            if time.time() < known.caller.expires_at:
                if time.monotonic() < known.until:
                    return known.caller
                if await self._keys.key(known.kid) is known.key:
                    return known.trust()
            self._known.pop(digest, None)
        kid = _kid_of(token)
        key = await self._keys.key(kid)
        if key is None:
            _refuse()
        known = _Known(self._decode(token, key), kid, key)
        self._remember(digest, known)
        return known.trust()

    def _decode(self, token: str, key: EllipticCurvePublicKey) -> Principal:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": REQUIRED, "strict_aud": True},
            )
        except jwt.ImmatureSignatureError:  # it is signed by the platform: the clocks of its machines differ
            event("token_of_the_future", level=logging.WARNING)
            _refuse()
        except (jwt.PyJWTError, ValueError, TypeError):
            _refuse()
        return _principal(claims)

    def _remember(self, digest: bytes, entry: _Known) -> None:
        self._known[digest] = entry
        if len(self._known) > CACHED_TOKENS:
            self._known.popitem(last=False)


def _kid_of(token: str) -> str:
    """The key id in the header. Headers that bring or name a key themselves (jku, x5u, jwk) are never looked at."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError):
        _refuse()
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or "crit" in header or not isinstance(kid, str) or not _KID.fullmatch(kid):
        _refuse()
    return kid


def _principal(claims: dict[str, Any]) -> Principal:
    issued, expires = claims["iat"], claims["exp"]
    if not _is_number(issued) or not _is_number(expires) or not 0 < expires - issued <= LONGEST_LIFETIME_S:
        _refuse()
    scope, customer = claims.get("scope", ""), claims.get("customer")
    scopes = frozenset(scope.split()) if isinstance(scope, str) else _refuse()
    if customer is not None and not _is_customer(customer):
        _refuse()
    names = [claims["sub"], claims["jti"], claims.get("client_id", claims["sub"]), claims.get("role")]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        _refuse()
    if claims.get("role") not in ROLES or not all(_SCOPE.fullmatch(each) for each in scopes):
        _refuse()
    return Principal(claims["sub"], claims["role"], scopes, customer, names[2], float(expires))


def _is_customer(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 40 and _CUSTOMER.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse() -> NoReturn:
    raise Unauthenticated("The token is not valid here: ask the marketplace for a new one.") from None
