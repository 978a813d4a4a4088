"""The interface behind which each family of formats stands, and the one error it raises."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from servers.cradle.processing.extract.body import HEAD, Body
from servers.cradle.processing.extraction import Attachment, Item


class Unreadable(Exception):
    """A file that cannot be read. `code` is for counting, `reason` a sentence for people; neither holds content."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class File:
    """One file. `depth` counts the files around it (an attachment of a mail has 1)."""

    content: bytes | Body
    name: str
    media_type: str
    depth: int = 0

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    @property
    def head(self) -> bytes:
        """The first bytes."""
        return self.content[:HEAD] if isinstance(self.content, bytes) else self.content.head

    @property
    def data(self) -> bytes:
        """The whole file. Ask for it once and not after `open`: it may come in only now."""
        return self.content if isinstance(self.content, bytes) else self.content.all()

    def open(self) -> BinaryIO:
        """The file as a stream, for readers that need not hold it."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open()


class Damaged(Unreadable):
    """The file is not whole."""

    def __init__(self) -> None:
        super().__init__("damaged", "The file is cut off or damaged. Send it again from its source.")


class Locked(Unreadable):
    """A password protects the file."""

    def __init__(self) -> None:
        super().__init__("encrypted", "The file is protected by a password. Save it without one and send it again.")


class Exhausted(Unreadable):
    """Files inside the file come to more than a file of its size holds. Ends the whole file, not one entry of it."""

    def __init__(self) -> None:
        super().__init__("zip_bomb", "What is packed in the file is far more than a file of its size holds.")


class Inner(Protocol):
    """Reads files found inside another one. Counts what came out of the outermost file, at every depth."""

    @property
    def left(self) -> int:
        """How many bytes may still come out."""
        ...

    def require(self, size: int) -> None:
        """Raises `Exhausted` where `size` more bytes are too many. Call it before unpacking."""
        ...

    def __call__(self, data: bytes, name: str, depth: int) -> Iterator[Item]:
        """The items of an inner file: its bytes, name and depth."""
        ...


def inner_items(inner: Inner, data: bytes, name: str, depth: int, media_type: str = "") -> Iterator[Item]:
    """The items of an inner file; where it cannot be read, an `Attachment` with why. A defect of its reader too ends it
    alone, and not the files around it.

    Raises:
        Exhausted: it is too much for the outermost file.
    """
    try:
        yield from inner(data, name, depth)
    except (Exhausted, MemoryError):
        raise
    except Unreadable as error:
        yield Attachment(name, media_type, len(data), error.code, error.reason)
    except Exception as error:  # noqa: BLE001  of any library
        reason = f"The reader failed on this file ({type(error).__name__})."
        yield Attachment(name, media_type, len(data), "reader_failed", reason)


class Extractor(Protocol):
    """Reads one family of formats.

    `version` changes with every change of what is read; it is part of the parameters' fingerprint. `extract` yields
    items in reading order and raises `Unreadable`, at any point. It opens no file and no socket.
    """

    name: str
    version: str
    media_types: frozenset[str]

    def extract(self, file: File, inner: Inner) -> Iterator[Item]: ...
