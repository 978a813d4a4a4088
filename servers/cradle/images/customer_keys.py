"""A key per customer, with which the archive encrypts: whoever destroys it has erased every copy of that customer's
images, wherever they lie. Format: age (https://age-encryption.org/v1), so that a restore needs no platform.

`folder/<customer>.age` holds the secret (readable by its owner only), `folder/<customer>.erased` says that it was
destroyed: a customer that was erased gets no second key under the same id by accident.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from servers.cradle.images.files import write_new
from servers.cradle.images.streams import Hashing
from shared.durable import sync_folder
from shared.errors import Conflict, NotFound
from shared.ids import DIGEST_PATTERN, Digest, digest
from shared.secret_files import make_secret
from shared.settings import Settings
from shared.stopping import Stopped, stop_if_told


class CustomerKey:
    """One customer's key. Use `CustomerKey.open`."""

    def __init__(self, identity: Any) -> None:
        self._identity = identity

    @classmethod
    def open(cls, folder: Path, customer_id: str, *, create: bool) -> CustomerKey:
        """The customer's key; blocking.

        Raises:
            NotFound: there is none, and `create` is false.
            Conflict: it was destroyed.
        """
        path, erased = _places(folder, customer_id)
        if erased.exists():
            raise Conflict("This customer's archive was erased: its key is destroyed and nothing can be restored.")
        if not path.exists():
            if not create:
                raise NotFound("There is no archive key for this customer: nothing was archived.")
            make_secret(path, str(_age().x25519.Identity.generate()).encode() + b"\n")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> CustomerKey:
        """The key in a file; blocking."""
        return cls(_age().x25519.Identity.from_str(path.read_text().strip()))

    @property
    def fingerprint(self) -> Digest:
        """The digest of the public half."""
        return digest(str(self._identity.to_public()).encode())

    def encrypt(self, source: IO[bytes], target: IO[bytes] | Hashing) -> None:
        """Encrypt a stream.

        Raises:
            OSError: as reading and writing raise it.
        """
        watched = _Watched(target)
        try:
            _age().encrypt_io(source, watched, [self._identity.to_public()])
        except _age().EncryptError:
            raise watched.failure or OSError("encryption failed") from None

    def decrypt(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Decrypt a stream.

        Raises:
            Conflict: it was encrypted for another key, altered or cut off.
        """
        watched = _Watched(target)
        try:
            _age().decrypt_io(source, watched, [self._identity])
        except _age().DecryptError:
            if watched.failure is not None:
                raise watched.failure from None
            raise Conflict("The archived image is damaged, or it is encrypted for another key.") from None


class _Watched:
    """A writer that keeps its own failure, which the library turns into an error of encryption."""

    def __init__(self, target: IO[bytes] | Hashing) -> None:
        self._target = target
        self.failure: OSError | Stopped | None = None

    def write(self, data: bytes) -> int:
        try:
            stop_if_told()
            return self._target.write(data)
        except (OSError, Stopped) as error:
            self.failure = error
            raise

    def flush(self) -> None:
        try:
            self._target.flush()
        except OSError as error:
            self.failure = error
            raise


def key_folder(settings: Settings) -> Path:
    """Where the customers' keys lie."""
    return settings.home / "keys" / "customers"


def was_made(folder: Path, customer_id: str) -> bool:
    """Whether the customer has a key, or had one that was destroyed; blocking."""
    return any(place.exists() for place in _places(folder, customer_id))


def was_erased(folder: Path, customer_id: str) -> bool:
    """Whether the customer's key was destroyed; blocking."""
    return _places(folder, customer_id)[1].exists()


def require_not_erased(folder: Path, customer_id: str) -> None:
    """Make sure, before any work, that the customer can be archived in the end; blocking.

    Raises:
        Conflict: a customer of this id was erased.
    """
    if was_erased(folder, customer_id):
        raise Conflict(
            "A customer of this name was erased here, so nothing of this name is archived any more. Choose another "
            "company name; or the operator, who lets it come back, removes "
            f"{customer_id}.erased from HOME/keys/customers.",
            field="company_name",
        )


def destroy(folder: Path, customer_id: str) -> Digest | None:
    """Destroy the customer's key for ever; blocking. Returns its fingerprint, None where there was none.

    May be repeated after a crash. The file is overwritten before it is removed. Where the file system keeps old blocks
    (snapshots, some solid-state disks), the keys' folder belongs on an encrypted volume.
    """
    path, erased = _places(folder, customer_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fingerprint = None
    if path.exists():  # as it was noted before a crash, after which the key may be overwritten already; else its own
        fingerprint = destroyed(folder, customer_id) or CustomerKey.read(path).fingerprint
    with suppress(FileExistsError):
        write_new(erased, (fingerprint or "no key").encode() + b"\n")
    sync_folder(folder)
    if path.exists():
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_folder(folder)
    return fingerprint


def destroyed(folder: Path, customer_id: str) -> Digest | None:
    """The fingerprint of the customer's key that was destroyed, as noted; None where none was. Blocking."""
    _, erased = _places(folder, customer_id)
    noted = erased.read_text().strip() if erased.exists() else ""
    return noted if re.fullmatch(DIGEST_PATTERN, noted) else None


def _age() -> Any:
    import pyrage

    return pyrage


def _places(folder: Path, customer_id: str) -> tuple[Path, Path]:
    return folder / f"{customer_id}.age", folder / f"{customer_id}.erased"
