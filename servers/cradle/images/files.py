"""Whole files on disk: written once, durable, shared instead of copied where the file system can."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

_BLOCK = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: share a file's blocks, copy on write


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_new(path: Path, data: bytes) -> None:
    """Create a file that does not exist yet; durable when it returns."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def reflink(source: Path, target: Path) -> bool:
    """Create `target` sharing the source's blocks; False, and no file, where the file system cannot."""
    with source.open("rb") as original, target.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
            os.fsync(clone.fileno())
        except OSError:
            target.unlink()
            return False
    return True


def copy(source: Path, target: Path) -> None:
    """Create `target` as a copy; durable when it returns. A failed copy is removed, an existing file is not touched."""
    with source.open("rb") as original, target.open("xb") as out:
        try:
            shutil.copyfileobj(original, out, _BLOCK)
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise


def share(source: Path, target: Path) -> None:
    """Create `target` with the source's content: by reflink, else by hard link, else by copying."""
    if reflink(source, target):
        return
    try:
        os.link(source, target)
    except OSError:
        copy(source, target)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, beginning: str = ".building-") -> None:
    """Remove what dead processes left behind in a folder: `BEGINNING…-PROCESS-RANDOM`, and what was set aside."""
    for stale in folder.glob(f"{beginning}*"):
        if not _alive(stale.name.rsplit("-", 2)[1]):
            _remove(stale)
    for stale in folder.glob(".replaced-*"):
        _remove(stale)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
