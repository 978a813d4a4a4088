"""Upstream session ids, sealed: a caller holds a token that any replica can open and that fits only this caller."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from servers.marketplace.keys import write_secret
from shared.errors import NotFound
from shared.ids import canonical_json

NONCE = 12


class SessionSeal:
    """Seals and opens session ids with AES-GCM. The caller and the server are bound to each as associated data."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def of_file(cls, path: Path) -> SessionSeal:
        """The seal whose key is in a file; the file is made at the first start."""
        if not path.exists():
            write_secret(path, AESGCM.generate_key(256))
        return cls(path.read_bytes())

    def seal(self, session: str, *owner: str | None) -> str:
        """An upstream session id in the form that the caller gets."""
        nonce = os.urandom(NONCE)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, session.encode(), _bound(owner))).decode()

    def open(self, sealed: str, *owner: str | None) -> str:
        """The upstream's session id.

        Raises:
            NotFound: it is not one of ours, or another caller's; the caller initializes again.
        """
        try:
            raw = base64.b64decode(sealed, altchars=b"-_", validate=True)
            return self._cipher.decrypt(raw[:NONCE], raw[NONCE:], _bound(owner)).decode()
        except (binascii.Error, ValueError, InvalidTag):
            raise NotFound("This session is not known: initialize a new one.") from None


def _bound(owner: tuple[str | None, ...]) -> bytes:
    return canonical_json(list(owner))
