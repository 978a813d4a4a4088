"""Streams of a layer, hashed while they are written, unpacked while they are read."""

from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import IO, Any, BinaryIO, Protocol

from servers.cradle.images.spec import SOURCE_EPOCH
from shared.stopping import stop_if_told

BLOCK = 1 << 20
_WORTH_A_THREAD = 1 << 16


class Writable(Protocol):
    """What these streams write to."""

    def write(self, data: bytes, /) -> int: ...


class Readable(Protocol):
    """What these streams read."""

    def read(self, size: int, /) -> bytes: ...


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="reading")


@cache
def _hashers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="hashing")


class Hash:
    """A SHA-256 that is computed beside what else is done with the data, block by block."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()
        self._running: Future[None] | None = None

    def update(self, data: bytes) -> None:
        self._settle()
        if len(data) < _WORTH_A_THREAD:
            self._state.update(data)
        else:
            self._running = _hashers().submit(self._state.update, data)

    def hexdigest(self) -> str:
        self._settle()
        return self._state.hexdigest()

    def _settle(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None


class Hashing:
    """A writer that passes on what it gets and keeps its SHA-256 and length. What it gets must not change after."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._state = Hash()
        self.size = 0

    def write(self, data: bytes) -> int:
        stop_if_told()
        self._state.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing waits here; whoever opened the target flushes it."""

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()


class Ahead(io.RawIOBase):
    """A source, of which the next block is read while the last one is used. Close it before the source."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._block = memoryview(b"")
        self._next = _readers().submit(source.read, BLOCK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._block and (block := self._next.result()):
            self._block = memoryview(block)
            self._next = _readers().submit(self._source.read, BLOCK)
        size = min(len(buffer), len(self._block))
        buffer[:size], self._block = self._block[:size], self._block[size:]
        return size

    def close(self) -> None:
        wait([self._next])
        super().close()


def tar_onto(target: Hashing | BinaryIO) -> tarfile.TarFile:
    """A tar that is written to a stream in large pieces: tarfile's own stream mode copies everything many times."""
    return tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, copybufsize=BLOCK)  # pyright: ignore[reportCallIssue]


def add_file(tar: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    """Add a plain file that anyone may read, of the image's time."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, SOURCE_EPOCH
    tar.addfile(info, source)
