"""Passwords and keys: how they are made, stored and compared.

Passwords are stored as argon2id hashes. Keys are 256 random bits, so a plain SHA-256 of them is safe and quick.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from shared.errors import InvalidInput, Overloaded

MIN_PASSWORD = 12
MAX_PASSWORD = 256
NO_PASSWORD = ""
"""In place of a hash: no password fits it."""
HASHES_AT_ONCE = 2
HASHES_WAITING = 64


class Passwords:
    """Hashes and checks passwords in a bounded pool: one hash takes 64 MiB and some 50 ms of a core."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    @cached_property
    def _hasher(self):
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """The argon2id hash of a password.

        Raises:
            InvalidInput: the password is too short or too long.
        """
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidInput(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.", field="password")
        return await self._run(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether a password fits a stored hash. Without a hash (unknown user) it takes as long and is False."""
        return await self._run(self._verify, stored, password[:MAX_PASSWORD])

    def close(self) -> None:
        """Stop the pool."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function, *arguments):
        if self._waiting >= HASHES_WAITING:
            raise Overloaded("Too many logins at once: try again in a moment.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        finally:
            self._waiting -= 1


def new_secret() -> str:
    """A key or password that no one guesses: 256 random bits."""
    return secrets.token_urlsafe(32)


def secret_digest(secret: str) -> bytes:
    """What is stored of a key: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def same_secret(stored: bytes | None, secret: str) -> bool:
    """Whether a key fits a stored digest, in a time that says nothing; False without a digest."""
    return hmac.compare_digest(stored or bytes(32), secret_digest(secret)) and stored is not None
