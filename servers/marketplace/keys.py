"""The keys that sign tokens: a folder of ES256 private keys (0600). The newest signs, all of them verify.

Replicas share the folder; a rotation is a new file, seen by each at its next use. A key stays until the last token that
it signed has expired and every verifier's cache has gone over it; then its file may be removed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import Unavailable
from shared.ids import canonical_json
from shared.secret_files import make_first, make_secret

ALGORITHM = "ES256"
SETTLED_NS = 2 * 10**9


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair; `kid` is the RFC 7638 thumbprint of the public half."""

    kid: str
    private: ec.EllipticCurvePrivateKey

    @property
    def jwk(self) -> dict[str, str]:
        """The public half as a JSON Web Key."""
        return {**_public_members(self.private), "kid": self.kid, "use": "sig", "alg": ALGORITHM}


class KeyRing:
    """The keys in one folder. A folder without a key gets one; processes that start together agree on it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, str(folder)
        self._keys: list[SigningKey] = []
        self._document: dict[str, list[dict[str, str]]] = {"keys": []}
        self._seen = -1
        if not self._reload():
            make_first(folder, "*.pem", self._write_new)
            self._reload()

    @property
    def signing(self) -> SigningKey:
        """The newest key."""
        self._reload()
        return self._keys[-1]

    def key(self, kid: str) -> SigningKey | None:
        """The key of an id, while it is in the folder."""
        self._reload()
        return next((each for each in self._keys if each.kid == kid), None)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """All public keys, as served at `/.well-known/jwks.json`."""
        self._reload()
        return self._document

    def rotate(self) -> SigningKey:
        """Add a key that signs from now on; the older ones go on verifying."""
        self._write_new()
        return self.signing

    def ages(self) -> list[tuple[str, float]]:
        """Each key's id and its age in seconds, the oldest first."""
        names = [path.stem.split("-", 1) for path in self._files()]
        return [(kid, (time.time_ns() - int(made)) / 1e9) for made, kid in names]

    def retire(self, kid: str) -> None:
        """Remove a key: its tokens are refused as soon as the verifiers' caches have gone over it.

        Raises:
            Unavailable: it is the only key.
        """
        for path in self._files():
            if path.stem.split("-", 1)[1] == kid:
                if len(self._files()) == 1:
                    raise Unavailable("The last signing key cannot be removed: rotate first.")
                path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.pem"))

    def _reload(self) -> bool:
        try:
            changed = os.stat(self._path).st_mtime_ns  # noqa: PTH116  # each call of the gateway passes here
        except FileNotFoundError:
            return False
        if changed != self._seen:
            keys = [_read(path) for path in self._files()]
            if not keys:
                return False
            # A change in the same tick of the file system's clock leaves the time as it is: what is new is read again.
            self._keys, self._seen = keys, -1 if 0 <= time.time_ns() - changed <= SETTLED_NS else changed
            self._document = {"keys": [key.jwk for key in keys]}
        return True

    def _write_new(self) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        newest = max((int(path.stem.split("-", 1)[0]) for path in self._files()), default=0)
        made = max(time.time_ns(), newest + 1)  # the clock may have been ahead when the newest one was made
        path = self._folder / f"{made:020d}-{_thumbprint(private)}.pem"
        make_secret(path, pem)


def _read(path: Path) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Unavailable(
            f"The key {path} is damaged. Put it back from a backup, or remove it: what it signed is refused then."
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Unavailable(f"The key {path} is not an ES256 key: remove it and start again.")
    return SigningKey(_thumbprint(private), private)


def _thumbprint(private: ec.EllipticCurvePrivateKey) -> str:
    return _base64url(hashlib.sha256(canonical_json(_public_members(private))).digest())


def _public_members(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = private.public_key().public_numbers()
    x, y = (_base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
