"""A spool on the local disk: a line for each answer, written before the answer leaves, so that a kill loses none.

One file belongs to one process, which holds a lock on it. `detach` closes it; what is closed, or was left behind by a
process that is gone, is a batch with a name of its own. A power cut may take what was written since the file was begun.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import orjson

from shared.errors import StorageFull
from shared.ids import new_handle
from shared.metering.units import Key, Units

OPEN, CLOSED, BROKEN = ".open", ".batch", ".broken"


@dataclass(frozen=True, slots=True)
class Batch:
    """A closed file of the spool."""

    path: Path

    @property
    def batch_id(self) -> str:
        """Names the batch wherever it is added."""
        return self.path.name.removesuffix(CLOSED)

    def sums(self) -> dict[Key, Units]:
        """What it holds, added up; blocking. A last line that was cut off belongs to an answer that never left.

        Raises:
            FileNotFoundError: another process has removed it.
            ValueError: a line is none of a spool.
        """
        found: dict[Key, Units] = {}
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    key, units = _read(line)
                    found[key] = found.get(key, Units()) + units
        return found

    def remove(self) -> None:
        """Forget it; blocking."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Keep it under a name that is no batch's; blocking."""
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_suffix(BROKEN))


class Spool:
    """The spool of this process in a folder that it may share with others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: tuple[int, Path] | None = None

    def append(self, key: Key, units: Units) -> None:
        """Write a line; when it returns, a kill of this process loses nothing.

        Raises:
            StorageFull: it cannot be written, so what it tells of must not be served.
        """
        told = key.customer, key.day.isoformat(), key.server, key.tool
        line = orjson.dumps(told + units.amounts) + b"\n"
        try:
            written = os.write(self._opened(), line)
        except OSError:
            written = 0
        if written != len(line):
            self._give_up()
            raise StorageFull("The platform cannot note what it serves: its disk is full. Try again later.")

    def detach(self) -> Callable[[], None]:
        """Begin a new file with the next line. The call that is returned closes the one before; it blocks."""
        taken, self._file = self._file, None
        return lambda: _close(*taken) if taken is not None else None

    def batches(self) -> Iterator[Batch]:
        """Everything that is closed or was left behind, the oldest first; blocking."""
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*" + OPEN):
            if self._file is None or path != self._file[1]:
                _adopt(path)
        yield from map(Batch, sorted(self._folder.glob("*" + CLOSED), key=_age))

    def _opened(self) -> int:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / (new_handle("use") + OPEN)
            draft = path.with_suffix(".new")  # a name that nobody adopts, until the lock is held
            descriptor = os.open(draft, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)
            self._file = descriptor, path
        return self._file[0]

    def _give_up(self) -> None:
        """After a line that was cut off nothing may follow in the same file."""
        with suppress(OSError):
            self.detach()()


def _close(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
        path.rename(path.with_suffix(CLOSED))
    finally:
        os.close(descriptor)  # with it goes the lock


def _adopt(path: Path) -> None:
    with suppress(OSError):  # its owner lives, or another replica was faster
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(path.with_suffix(CLOSED))
        finally:
            os.close(descriptor)


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except FileNotFoundError:  # another replica has removed it since the folder was listed
        return 0, path.name


def _read(line: bytes) -> tuple[Key, Units]:
    try:
        customer, day, server, tool, *amounts = orjson.loads(line)
        key, units = Key(customer, date.fromisoformat(day), server, tool), Units(*amounts)
    except (TypeError, ValueError):
        raise ValueError("This is no line of a spool.") from None
    if not all(isinstance(text, str) for text in (customer, server, tool)) or any(type(n) is not int for n in amounts):
        raise ValueError("This is no line of a spool.")
    return key, units
