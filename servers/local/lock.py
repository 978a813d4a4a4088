"""One platform per home folder: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.errors import Conflict, Unavailable

RESTORING = "restoring"
"""A file in a home folder while all of it is made out of a backup: the last of it that goes."""


class HomeLock:
    """Holds `home/up.lock` while a platform runs. The file stays; only the lock on it counts, so it is never stale."""

    def __init__(self, home: Path) -> None:
        self._path = home / "up.lock"
        self._file: int | None = None

    def __enter__(self) -> HomeLock:
        home = self._path.parent
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"The home folder {home} cannot be used ({error.strerror}). "
                "Give this user the right to write there, or choose another: --home."
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Conflict(
                f"This home folder is in use: process {holder} is `0711 up`, `backup` or `restore`. Stop the first, let"
                " the others end, or choose another: --home."
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def require_whole(home: Path) -> None:
    """Refuses a home folder in which a restore was killed; called under its lock.

    Raises:
        Conflict: it is half a platform.
    """
    if (home / RESTORING).exists():
        raise Conflict(
            f"A restore into {home} was killed before its end: this is half a platform. Call it again, `0711 restore "
            "BACKUP`: what is here goes first."
        )


def holder(home: Path) -> str | None:
    """The process that holds a home folder, `unknown` where it has not said so yet; None: nobody does."""
    try:
        with (home / "up.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        return (home / "up.lock").read_text(errors="replace")[:20].strip() or "unknown"
    except FileNotFoundError:
        return None
