"""Signatures of images: ECDSA P-256 with an own key, in the formats that cosign reads, checked without a network.

`signature.json` holds the payload that cosign signs for a container image ("simple signing",
https://github.com/containers/image/blob/main/docs/containers-signature.5.md) and its signature; `image.tar.sig` is what
`cosign verify-blob --key … --signature image.tar.sig image.tar` checks; attestations are DSSE envelopes
(https://github.com/secure-systems-lab/dsse) around in-toto statements. The payload's annotations bind the tar and the
bill of materials too, so that one signature covers a whole delivery.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from shared.errors import Conflict
from shared.ids import canonical_json, digest
from shared.secret_files import make_secret
from shared.signatures import IN_TOTO, Verifier, pre_authenticated

KEY_NAME = "image-signing.pem"
SIGNATURE, TAR_SIGNATURE, PUBLIC_KEY = "signature.json", "image.tar.sig", "signer.pub"
_TYPE = "cosign container image signature"
_SHA256 = ec.ECDSA(hashes.SHA256())
_ANNOTATIONS = {"com.0711.archive.digest", "com.0711.sbom.digest", "com.0711.dataset.digest"}


class Signer:
    """The private key that signs images. Use `Signer.open`."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._private = key
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.verifier = Verifier(key.public_key().public_bytes(*form))

    @classmethod
    def open(cls, folder: Path) -> Signer:
        """The key at `folder/image-signing.pem`, made (readable by its owner only) where there is none; blocking."""
        path = folder / KEY_NAME
        if not path.exists():
            _create(path)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Conflict(
                f"{path} is no P-256 key. Put it back from a backup: one made anew, where there is none, does not fit "
                "what was delivered."
            )
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """The signature (DER) over the data."""
        return self._private.sign(data, _SHA256)

    def sign_digest(self, sha256: str) -> bytes:
        """The signature over a file whose `sha256:` digest is known."""
        prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        return self._private.sign(bytes.fromhex(sha256.removeprefix("sha256:")), prehashed)

    def envelope(self, statement: object) -> bytes:
        """The in-toto statement in a signed DSSE envelope."""
        payload = canonical_json(statement)
        signature = self.sign(pre_authenticated(IN_TOTO, payload))
        entry = {"keyid": self.verifier.key_id, "sig": base64.b64encode(signature).decode()}
        outer = {"payloadType": IN_TOTO, "payload": base64.b64encode(payload).decode(), "signatures": [entry]}
        return canonical_json(outer)

    def image_signature(self, repository: str, manifest_digest: str, annotations: dict[str, str]) -> bytes:
        """`signature.json` of an image.

        Args:
            annotations: `com.0711.archive.digest`, `com.0711.sbom.digest`, `com.0711.dataset.digest`.
        """
        payload = canonical_json(
            {
                "critical": {
                    "identity": {"docker-reference": repository},
                    "image": {"docker-manifest-digest": manifest_digest},
                    "type": _TYPE,
                },
                "optional": annotations,
            }
        )
        return canonical_json(
            {
                "payload": base64.b64encode(payload).decode(),
                "signature": base64.b64encode(self.sign(payload)).decode(),
                "key_id": self.verifier.key_id,
            }
        )


@dataclass(frozen=True, slots=True)
class SignedBy:
    """The policy of archive, delivery and deployment: one key, one customer's repository.

    Args:
        verifier: the only key whose signatures count.
        repository: the image's name without its tag, `0711/acme`.
    """

    verifier: Verifier
    repository: str

    def verify(self, folder: Path, manifest_digest: str, archive_digest: str) -> dict[str, str]:
        """Check `folder/signature.json` against the image's digests, and `sbom.cdx.json` against its annotation.

        Returns:
            The signed annotations.

        Raises:
            Conflict: unsigned, signed by another key, altered, or signed for another image or customer.
        """
        payload = self._payload(folder / SIGNATURE)
        if payload["critical"]["identity"]["docker-reference"] != self.repository:
            raise Conflict("The signature is for another customer's image. Nothing was delivered.", field="tag")
        signed = payload["critical"]["image"]["docker-manifest-digest"]
        annotations = payload["optional"]
        if signed != manifest_digest or annotations["com.0711.archive.digest"] != archive_digest:
            raise Conflict("The image is not the one that was signed. Build it again.", field="tag")
        if digest((folder / "sbom.cdx.json").read_bytes()) != annotations["com.0711.sbom.digest"]:
            raise Conflict("The bill of materials is not the one that was signed. Build the image again.", field="tag")
        return annotations

    def _payload(self, path: Path) -> dict[str, Any]:
        try:
            outer = orjson.loads(path.read_bytes())
            payload = base64.b64decode(outer["payload"], validate=True)
            signature = base64.b64decode(outer["signature"], validate=True)
            key_id = outer["key_id"]
        except FileNotFoundError:
            raise Conflict("The image is not signed. Build it again.", field="tag") from None
        except (ValueError, KeyError, TypeError):
            raise Conflict("The image's signature is damaged. Build the image again.", field="tag") from None
        if key_id != self.verifier.key_id:
            raise Conflict("The image is signed by another key than this platform's.", field="tag")
        if not self.verifier.valid(payload, signature):
            raise Conflict("The image's signature does not fit what it signs: it was altered.", field="tag")
        try:
            found = orjson.loads(payload)
            if found["critical"]["type"] == _TYPE and found["optional"].keys() >= _ANNOTATIONS:
                return found
        except (ValueError, LookupError, TypeError, AttributeError):
            pass  # the key signs other things too
        raise Conflict("The image's signature is of another kind. Build the image again.", field="tag")


def _create(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    make_secret(path, key.private_bytes(*form))
