"""Compound files (MS-CFB: Outlook's messages, DOC), opened within bounds that are checked before olefile goes by them.

olefile takes as many sectors as a file declares, also where their chain is a circle.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

_COUNTS = (44, 64, 72)  # sectors of the table of sectors, of that of small sectors, and of the first one's own table
BROKEN = (OSError, ValueError, IndexError, KeyError, OverflowError, RecursionError, struct.error)
"""What olefile, or reading what it gives, raises at damaged files."""


class Compound:
    """Streams by path; storages are the folders. Names are compared without regard to case."""

    def __init__(self, container: Any, size: int) -> None:
        self._container = container
        self._size = size

    @cached_property
    def paths(self) -> list[list[str]]:
        """Of all streams and storages, sorted within each."""
        return self._container.listdir(streams=True, storages=True)

    def below(self, *place: str) -> Iterator[list[str]]:
        """The paths of what is in a storage, at any depth."""
        deep = len(place)
        return (path for path in self.paths if len(path) > deep and tuple(path[:deep]) == place)

    def has(self, *path: str) -> bool:
        """Whether there is such a stream or storage."""
        return bool(self._container.get_type([*path]))

    def size(self, *place: str) -> int:
        """The sum of the lengths of the streams in a storage."""
        streams = (path for path in self.below(*place) if self._container.get_type(path) == 2)
        return sum(map(self._container.get_size, streams))

    def read(self, *path: str) -> bytes:
        """The stream, empty where there is none.

        Raises:
            OSError: it is longer than the whole file.
        """
        if self._container.get_type([*path]) != 2:
            return b""
        if self._container.get_size([*path]) > self._size:
            raise OSError
        return self._container.openstream([*path]).read()


@contextmanager
def opened(data: bytes) -> Iterator[Compound]:
    """The file's streams.

    Raises:
        OSError and others of `BROKEN`: it is damaged.
    """
    import olefile

    shift, *counts = (struct.unpack_from("<H", data, 30)[0], *(struct.unpack_from("<I", data, at)[0] for at in _COUNTS))
    if shift > 12 or max(counts) > len(data) >> shift:
        raise OSError
    with olefile.OleFileIO(io.BytesIO(data)) as container:
        root: Any = container.root
        if root is None or root.size > len(data):
            raise OSError
        yield Compound(container, len(data))
