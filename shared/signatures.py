"""Checking signatures with a public key, without a network: ECDSA P-256, and in-toto statements in DSSE envelopes
(https://github.com/secure-systems-lab/dsse). Cradle signs images and updates; the instance checks updates.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import Conflict, InvalidInput
from shared.ids import Digest, digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

STATEMENT, IN_TOTO = "https://in-toto.io/Statement/v1", "application/vnd.in-toto+json"
DELTA = "urn:0711:dataset-delta:v1"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key, as the DER form of its SubjectPublicKeyInfo. `key_id` is the SHA-256 of that."""

    der: bytes

    @classmethod
    def of_text(cls, text: str) -> Verifier:
        """The key in base64 (DER) or PEM.

        Raises:
            InvalidInput: it is no P-256 key.
        """
        armour = re.fullmatch(r"-----BEGIN PUBLIC KEY-----(.*)-----END PUBLIC KEY-----", text.strip(), re.DOTALL)
        try:
            found = cls(base64.b64decode("".join((armour[1] if armour else text).split()), validate=True))
            found._key()
        except ValueError:
            raise InvalidInput("The public key is no P-256 key. Use the signer's key file.", field="key") from None
        return found

    @classmethod
    def read(cls, path: Path) -> Verifier:
        """The key of a PEM file.

        Raises:
            InvalidInput: there is none, or it is no P-256 key.
        """
        try:
            return cls.of_text(path.read_text())
        except OSError as error:
            raise InvalidInput(
                f"The file of the public key cannot be read ({error.strerror}). Ask the signer for it.", field="key"
            ) from None

    @property
    def text(self) -> str:
        """The key in base64, on one line."""
        return base64.b64encode(self.der).decode()

    @property
    def pem(self) -> bytes:
        """The key in PEM."""
        lines = [self.text[start : start + 64] for start in range(0, len(self.text), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()

    @property
    def key_id(self) -> Digest:
        return digest(self.der)

    def valid(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature (DER) is this key's over the data."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self._key().verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def statement(self, envelope: bytes) -> dict[str, Any]:
        """The in-toto statement in a DSSE envelope of this key.

        Raises:
            Conflict: it is no envelope, or not signed by this key.
        """
        try:
            outer = orjson.loads(envelope)
            payload = base64.b64decode(outer["payload"], validate=True)
            signature = base64.b64decode(outer["signatures"][0]["sig"], validate=True)
            kind = str(outer["payloadType"])
        except (ValueError, KeyError, IndexError, TypeError):
            raise Conflict("The signed statement is damaged. Fetch it again.") from None
        if not self.valid(pre_authenticated(kind, payload), signature):
            raise Conflict("The statement is not signed by the expected key.")
        return orjson.loads(payload)

    def _key(self) -> EllipticCurvePublicKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            key = load_der_public_key(self.der)
        except UnsupportedAlgorithm as error:
            raise ValueError from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError
        return key


def pre_authenticated(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
