"""The access key of a customer's instances: a file for its owner only, made at the first deployment."""

from __future__ import annotations

import secrets
from pathlib import Path

from shared.secret_files import make_secret


def key_file(home: Path, customer: str) -> Path:
    """Where the customer's key lies."""
    return home / "keys" / "instances" / customer


def access_key(home: Path, customer: str) -> str:
    """The customer's key, made where there is none; of two processes that make one, the first one's stays. Blocking."""
    path = key_file(home, customer)
    if not path.exists():
        make_secret(path, secrets.token_urlsafe(32).encode())
    return path.read_text()
