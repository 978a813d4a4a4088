"""Whole files on disk: written once, durable, shared instead of copied where the file system can."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20
_PROC = Path("/proc")
_FICLONE = 0x40049409  # linux/fs.h: share a file's blocks, copy on write


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that does not exist yet, to be written; durable after the block."""
    with path.open("xb", buffering=_BLOCK) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_new(path: Path, data: bytes) -> None:
    """Create a file that does not exist yet; durable when it returns."""
    with new_file(path) as file:
        file.write(data)


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


def work_name(beginning: str) -> str:
    """`BEGINNING-PROCESS-RANDOM`: a new name for what this process is making, by which `sweep` knows whose it is."""
    process = os.getpid()
    began = _began(process)
    return f"{beginning}-{process}{'.' if began else ''}{began}-{os.urandom(4).hex()}"


def sweep(folder: Path, beginning: str = ".building-") -> None:
    """Remove what dead processes left behind in a folder, by the names of `work_name`, and what was set aside."""
    for stale in folder.glob(f"{beginning}*"):
        if not maker_lives(stale.name):
            _remove(stale)
    for stale in folder.glob(".replaced-*"):
        _remove(stale)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def maker_lives(name: str) -> bool:
    """Whether the process lives that made a name of `work_name`, and not another one that has its number now: in a
    container they recur."""
    number, _, began = name.rsplit("-", 2)[1].partition(".")
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return not began or _began(int(number)) in (began, "")


def _began(process: int) -> str:
    """Eight digits of the boot and of the moment at which a process began (proc(5)); empty where it is not known."""
    boot = b""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_bytes()
    try:
        ticks = (_PROC / str(process) / "stat").read_bytes().rpartition(b")")[2].split()[19]  # the 22nd field of all
    except (OSError, IndexError):
        return ""
    return hashlib.sha256(boot + ticks).hexdigest()[:8]
