"""How a full disk or bucket says so: operating systems, object stores and the libraries between them use words of their
own, and an error of Delta Lake or LanceDB has no number to ask for."""

from __future__ import annotations

import errno

NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SIGNS = (
    "No space left",
    "Disk quota exceeded",
    *(f"(os error {number})" for number in NUMBERS),
    "XMinioStorageFull",
    "QuotaExceeded",
    "InsufficientStorage",
)


def says_full(error: BaseException | str) -> bool:
    """Whether an error, or what a program said of one, means that there was no room."""
    if isinstance(error, OSError) and error.errno in NUMBERS:
        return True
    text = str(error)
    return any(sign in text for sign in _SIGNS)
