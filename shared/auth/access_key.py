"""A fixed key instead of tokens, for an instance that runs without the platform. Only its digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import replace

from shared.auth.principal import Principal
from shared.auth.verifier import Verifier
from shared.errors import Unauthenticated

SESSION_S = 3600.0
"""`expires_at` of a caller with a key, in seconds from now: the key itself does not expire."""


class AccessKeyVerifier:
    """Accepts one key.

    Args:
        key_digest: SHA-256 of the key, as 64 hexadecimal digits.
        caller: who a caller with this key is.
        otherwise: tried where the key does not fit, for an instance that also takes the platform's tokens.
    """

    def __init__(self, key_digest: str, caller: Principal, otherwise: Verifier | None = None) -> None:
        self._digest = bytes.fromhex(key_digest.removeprefix("sha256:"))
        self._caller = caller
        self._otherwise = otherwise

    async def verify(self, token: str) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: neither the key nor a valid token.
        """
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if hmac.compare_digest(given, self._digest):
            return replace(self._caller, expires_at=time.time() + SESSION_S)
        if self._otherwise is not None:
            return await self._otherwise.verify(token)
        raise Unauthenticated("The access key is not valid here.")
