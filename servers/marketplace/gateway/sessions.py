"""Upstream session ids, sealed: a caller holds a token that any replica can open and that fits only this caller.

The keys are files of a folder that the replicas share; the newest seals, all of them open. A session ends after a day.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from time import time, time_ns

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import NotFound, Unavailable
from shared.ids import canonical_json
from shared.secret_files import make_first, make_secret

KEY = 32
NONCE = 12
EXPIRY = 8
LIFETIME_S = 24 * 3600
LONGEST = 8192


class SessionSeal:
    """Seals and opens texts with AES-GCM. Whose a text is, or what for, and its end are bound to each."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    @classmethod
    def of_folder(cls, folder: Path) -> SessionSeal:
        """The seal whose keys are in a folder; processes that start together agree on the first one."""
        make_first(folder, "*.key", lambda: make_secret(folder / f"{time_ns():020d}.key", AESGCM.generate_key(8 * KEY)))
        return cls([_read(path) for path in sorted(folder.glob("*.key"), reverse=True)])

    def seal(self, session: str, *owner: str | None, lifetime_s: float = LIFETIME_S) -> str:
        """A text, such as an upstream's session id, in the form that the caller gets."""
        nonce = os.urandom(NONCE)
        ends = int(time() + lifetime_s).to_bytes(EXPIRY, "big")
        sealed = self._ciphers[0].encrypt(nonce, ends + session.encode(), _bound(owner))
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *owner: str | None) -> str:
        """The text.

        Raises:
            NotFound: it is not one of ours, over, or another caller's; a caller with a session initializes again.
        """
        text = self._decrypted(sealed, _bound(owner))
        if text is None or int.from_bytes(text[:EXPIRY], "big") < time():
            raise NotFound("This session is not known: initialize a new one.")
        return text[EXPIRY:].decode()

    def _decrypted(self, sealed: str, bound: bytes) -> bytes | None:
        try:
            raw = base64.b64decode(sealed[:LONGEST], altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(raw[:NONCE], raw[NONCE:], bound)
            except (InvalidTag, ValueError):
                continue
        return None


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY:
        raise Unavailable(
            f"The key {path} is damaged. Put it back from a backup, or remove it: what it sealed is not opened then."
        )
    return key


def _bound(owner: tuple[str | None, ...]) -> bytes:
    return canonical_json(list(owner))
