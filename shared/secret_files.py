"""Files that only their owner can read, such as keys and passwords: whole or not there, and on the disk when a call
returns. All of it blocks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shared.durable import sync_folder


def make_secret(path: Path, data: bytes) -> None:
    """Write a file that is not there yet; of two processes that make one, the first one's stays."""
    draft = _draft(path, data)
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    sync_folder(path.parent)


def make_first(folder: Path, pattern: str, make: Callable[[], None]) -> None:
    """Have a folder hold a secret of this pattern, which `make` writes; processes that start together make one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(folder.glob(pattern)):
            make()
    finally:
        os.close(lock)


def replace_secret(path: Path, data: bytes) -> None:
    """Write a file, in place of the one that is there."""
    _draft(path, data).replace(path)
    sync_folder(path.parent)


def _draft(path: Path, data: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
