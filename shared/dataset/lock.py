"""One writer at a time: an advisory lock that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.errors import Unavailable

LOCK = ".writer.lock"
RETRY_AFTER_S = 5.0


class WriterLock:
    """Held from `acquire` to `release` or the end of the process. The empty file stays; only the lock on it counts."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises Unavailable where another writer holds it: a cancelled one still ends what it is writing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise Unavailable(
                "Another process is writing this customer's dataset. Wait for its job to end or cancel it; "
                "the lock goes with the process, so there is nothing to remove by hand.",
                retry_after=RETRY_AFTER_S,
            ) from None
        self._handle = handle

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
