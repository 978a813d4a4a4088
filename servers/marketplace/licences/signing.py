"""The signed document of a licence: ECDSA P-256 over its canonical JSON, bound to one customer and one server."""

from __future__ import annotations

import time
from datetime import datetime

import orjson

from servers.marketplace.keys import KeyRing
from shared.ids import canonical_json

FORMAT = 1


class LicenceKeys:
    """Signs licences and checks them. A licence is good as long as the key that signed it is in the ring."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def signed(self, licence_id: str, customer: str, server_name: str, expires_at: datetime) -> tuple[str, str, bytes]:
        """The document, the id of the key and the signature (DER)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        document = canonical_json({
            "format": FORMAT,
            "licence_id": licence_id,
            "customer_id": customer,
            "server_name": server_name,
            "expires_at": int(expires_at.timestamp()),
        })  # fmt: skip
        key = self._keys.signing
        return document.decode(), key.kid, key.private.sign(document, ec.ECDSA(hashes.SHA256()))

    def good(self, document: str, key_id: str, signature: bytes, customer: str, server_name: str) -> bool:
        """Whether a stored licence is signed by us, for this customer and this server, and has not expired."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = self._keys.key(key_id)
        if key is None:
            return False
        try:
            key.private.public_key().verify(signature, document.encode(), ec.ECDSA(hashes.SHA256()))
            told = orjson.loads(document)
            bound = (told["format"], told["customer_id"], told["server_name"]) == (FORMAT, customer, server_name)
            return bound and time.time() < told["expires_at"]
        except (InvalidSignature, ValueError, KeyError, TypeError):
            return False
