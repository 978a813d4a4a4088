"""The console's session: a signed expiry in a cookie; the access key that signs it is never stored in the browser."""

from __future__ import annotations

import hashlib
import hmac
from time import time

COOKIE = "instance_session"
LIFETIME_S = 8 * 3600


def issue(access_key: str) -> str:
    """A cookie value that is good for `LIFETIME_S`."""
    expiry = str(int(time() + LIFETIME_S))
    return f"{expiry}.{_sign(access_key, expiry)}"


def valid(access_key: str, cookie: str | None) -> bool:
    """Whether the cookie was issued with this key and has not expired."""
    expiry, _, signature = (cookie or "").partition(".")
    if not expiry.isascii() or not expiry.isdigit() or len(expiry) > 12:
        return False
    return same_key(_sign(access_key, expiry), signature) and int(expiry) > time()


def same_key(access_key: str, offered: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(access_key.encode(), offered.encode("utf-8", "replace"))


def _sign(access_key: str, expiry: str) -> str:
    return hmac.new(access_key.encode(), b"console-session|" + expiry.encode(), hashlib.sha256).hexdigest()
