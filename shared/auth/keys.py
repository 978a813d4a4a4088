"""Where the public keys come from that tokens are verified with.

A key that a token names and nobody knows costs at most one fetch in `RETRY_S` seconds, however many tokens name one. A
fetched document counts for `FRESH_S` seconds; while its address does not answer, the last one counts for `STALE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from jwt import PyJWK, PyJWTError

from shared.auth.remote import RemoteDocument
from shared.errors import Unavailable

FRESH_S = 60.0
STALE_S = 3600.0
RETRY_S = 5.0
LARGEST_DOCUMENT = 256 * 1024

Keys = dict[str, EllipticCurvePublicKey]
Key = TypeVar("Key")
Document = Mapping[str, Any]


class KeySource(Protocol):
    """Finds the key of a key id."""

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key, or None where no such key is current. The same object for as long as the key is current."""
        ...


def read_keys(document: Document) -> Keys:
    """The P-256 signing keys of a JSON Web Key Set, by id; others are left out."""
    found: Keys = {}
    for jwk in document.get("keys", []):
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or jwk.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK(dict(jwk), algorithm="ES256").key
        except PyJWTError:
            continue
        if isinstance(jwk.get("kid"), str) and isinstance(key, EllipticCurvePublicKey):
            found[jwk["kid"]] = key
    return found


class GivenKeys:
    """Keys of a document, of a file that is read again when it changes, or of a function that returns the document."""

    def __init__(self, source: Document | Path | Callable[[], Document]) -> None:
        self._source = source
        self._seen: object = None
        self._keys: Keys = {}

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        if isinstance(self._source, Path):
            await self._read_file(self._source)
        else:
            self._read(self._source() if callable(self._source) else self._source)
        return self._keys.get(kid)

    async def _read_file(self, path: Path) -> None:
        try:
            about = path.stat()  # noqa: ASYNC240  # one stat of a local file
            changed = about.st_ino, about.st_mtime_ns
            if changed != self._seen:
                text = await asyncio.to_thread(path.read_bytes)
                self._keys, self._seen = read_keys(orjson.loads(text)), changed
        except (OSError, ValueError):
            self._keys, self._seen = {}, None

    def _read(self, document: Document) -> None:
        if document is not self._seen and document != self._seen:
            fresh = read_keys(document)
            same = {kid for kid, key in fresh.items() if kid in self._keys and self._keys[kid] == key}
            self._keys = {kid: self._keys[kid] if kid in same else key for kid, key in fresh.items()}
            self._seen = document


class FetchedKeys(Generic[Key]):
    """Keys that are fetched when needed, never by two calls at once. `UNKNOWN`: what is said while none can be."""

    UNKNOWN: ClassVar[str]

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> Key | None:
        """The key.

        Raises:
            Unavailable: as `refreshed`.
        """
        await self.refreshed(missing=kid not in self._keys)
        return self._keys.get(kid)

    async def refreshed(self, *, missing: bool = False) -> None:
        """Fetch them where they are due, or where one is missing.

        Raises:
            Unavailable: no key is known and the address does not answer.
        """
        now = monotonic()
        due = now - self._fetched > FRESH_S or missing
        if due and now - self._tried > RETRY_S:
            self._tried = now
            self._fetching = asyncio.create_task(self._fetch())
        if due and self._fetching is not None and not self._fetching.done():
            await asyncio.shield(self._fetching)
        if monotonic() - self._fetched > STALE_S:
            raise Unavailable(self.UNKNOWN, retry_after=RETRY_S)

    async def load(self) -> dict[str, Key]:
        """The keys as they are now, by id.

        Raises:
            Exception: whatever is wrong with the connection or the answer.
        """
        raise NotImplementedError

    async def _fetch(self) -> None:
        try:
            fresh = await self.load()
        except Exception:  # noqa: BLE001  # whatever is wrong there, the last document counts until it is stale
            return
        self._keys = {kid: self._keys[kid] if self._keys.get(kid) == key else key for kid, key in fresh.items()}
        self._fetched = monotonic()


class RemoteKeys(FetchedKeys[EllipticCurvePublicKey]):
    """Keys served at an address (`/.well-known/jwks.json`)."""

    UNKNOWN = "Tokens cannot be checked: the marketplace does not answer. Start it with `0711 up`."

    def __init__(self, url: str) -> None:
        super().__init__()
        self._document = RemoteDocument(url, LARGEST_DOCUMENT)

    async def load(self) -> Keys:
        return read_keys(await self._document.fetch())

    async def aclose(self) -> None:
        """Close the connection."""
        await self._document.aclose()
