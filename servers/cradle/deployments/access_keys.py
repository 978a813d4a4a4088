"""The access key of a customer's instances: a file for its owner only, made at the first deployment."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def key_file(home: Path, customer: str) -> Path:
    """Where the customer's key lies."""
    return home / "keys" / "instances" / customer


def access_key(home: Path, customer: str) -> str:
    """The customer's key, made where there is none; of two processes that make one, the first one's stays. Blocking."""
    path = key_file(home, customer)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
