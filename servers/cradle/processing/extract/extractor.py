"""The interface behind which each family of formats stands, and the one error it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from servers.cradle.processing.extraction import Item


class Unreadable(Exception):
    """A file that cannot be read. `code` is for counting, `reason` a sentence for people; neither holds content."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class File:
    """One file in memory. `depth` counts the files around it (an attachment of a mail has 1)."""

    data: bytes
    name: str
    media_type: str
    depth: int = 0


Inner = Callable[[bytes, str, int], Iterator[Item]]
"""Reads a file found inside another one: its bytes, name and depth."""


class Extractor(Protocol):
    """Reads one family of formats.

    `version` changes with every change of what is read; it is part of the parameters' fingerprint. `extract` yields
    items in reading order and raises `Unreadable`, at any point. It opens no file and no socket.
    """

    name: str
    version: str
    media_types: frozenset[str]

    def extract(self, file: File, inner: Inner) -> Iterator[Item]: ...
