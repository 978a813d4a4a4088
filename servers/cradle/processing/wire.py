"""The frames between the platform and a child process that reads a file.

A child that a hostile file took over must not gain the parent: parts are unpickled with the classes of `extraction`
and plain texts alone.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Literal

import orjson

from servers.cradle.processing import extraction
from servers.cradle.processing.extraction import Extraction

Kind = Literal[b"I", b"P", b"E", b"D"]
IDENTIFIED, PART, ERROR, DONE = b"I", b"P", b"E", b"D"
HEADER = 9
MAX_FRAME = 256 * 2**20

_CLASSES = frozenset(
    {
        "Attachment",
        "Block",
        "Classification",
        "Extraction",
        "Feature",
        "Group",
        "Localised",
        "Media",
        "Membership",
        "Price",
        "Product",
        "Reference",
        "Scan",
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read. `cpu_s` is the processor time that the child may spend on it."""

    name: str
    size: int
    cpu_s: int


@dataclass(frozen=True, slots=True)
class Identified:
    """What the file is and who reads it; `code` and `reason` note what the customer should know all the same."""

    media_type: str
    extractor: str
    version: str
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file could not be read (on)."""

    code: str
    reason: str
    media_type: str = ""


def frame(kind: bytes, payload: bytes) -> bytes:
    """One byte of kind, eight of length, the payload."""
    return kind + len(payload).to_bytes(8, "little") + payload


def header(raw: bytes) -> tuple[bytes, int]:
    """Kind and length of the frame that begins with these `HEADER` bytes.

    Raises:
        ValueError: not a frame, or longer than `MAX_FRAME`.
    """
    kind, length = raw[:1], int.from_bytes(raw[1:HEADER], "little")
    if kind not in (IDENTIFIED, PART, ERROR, DONE) or length > MAX_FRAME:
        raise ValueError("not a frame")
    return kind, length


def dump_record(record: Request | Identified | Failure) -> bytes:
    """A small record as JSON."""
    return orjson.dumps(record)


def load_request(raw: bytes) -> Request:
    return Request(**orjson.loads(raw))


def load_identified(raw: bytes) -> Identified:
    return Identified(**{name: str(value)[:1000] for name, value in orjson.loads(raw).items()})


def load_failure(raw: bytes) -> Failure:
    return Failure(**{name: str(value)[:1000] for name, value in orjson.loads(raw).items()})


def dump_part(part: Extraction) -> bytes:
    """A part of a file."""
    return pickle.dumps(part, protocol=pickle.HIGHEST_PROTOCOL)


def load_part(raw: bytes) -> Extraction:
    """A part of a file.

    Raises:
        ValueError: it is anything but an `Extraction` made of the classes of `extraction`.
    """
    try:
        part = _Parts(io.BytesIO(raw)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise ValueError("not a part") from error
    if not isinstance(part, Extraction):
        raise ValueError("not a part")
    return part


class _Parts(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> type:
        if module_name == extraction.__name__ and global_name in _CLASSES:
            return getattr(extraction, global_name)
        if (module_name, global_name) == ("builtins", "str"):
            return str
        raise pickle.UnpicklingError("a class that no part holds")
