"""The frames between the platform and a child process that reads a file.

A child that a hostile file took over must not gain the parent: a part is msgpack, and is checked against the types of
`extraction` as it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

import orjson
from msgspec import msgpack

from servers.cradle.processing.extraction import PART_CHARS, Extraction

IDENTIFIED, PART, ERROR, DONE = b"I", b"P", b"E", b"D"
HEADER = 9
MAX_FRAME = 256 * 2**20
_CODE = re.compile(r"[a-z_]{0,40}")


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


Record = TypeVar("Record", Identified, Failure)


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
    return _checked(raw, Identified)


def load_failure(raw: bytes) -> Failure:
    return _checked(raw, Failure)


def _checked(raw: bytes, kind: type[Record]) -> Record:
    """What a child says of a file.

    Raises:
        ValueError: it is anything else, or its code is none: codes are counted in the job's row.
    """
    try:
        told = kind(**{name: str(value)[:1000] for name, value in orjson.loads(raw).items()})
    except (AttributeError, TypeError):
        raise ValueError("not a record") from None
    if not _CODE.fullmatch(told.code):
        raise ValueError("not a code")
    return told


def dump_part(part: Extraction) -> bytes:
    """A part of a file.

    Raises:
        MemoryError: a text in it is too long for what this process may use.
    """
    longest = max((len(block.text) for block in part.blocks), default=0)
    if longest > PART_CHARS:  # otherwise parts are small; msgspec 0.22 ends the process where it gets no memory
        bytes(6 * longest)  # text and cells, and what the encoder's buffer grows by
    return _ENCODER.encode(part)


def load_part(raw: bytes) -> Extraction:
    """A part of a file.

    Raises:
        ValueError: it is anything but an `Extraction`.
    """
    return _DECODER.decode(raw)


def _plain(value: object) -> str:
    """A text of a kind that only readers know (`columns.Figure`) arrives as a plain one."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


_ENCODER = msgpack.Encoder(enc_hook=_plain)
_DECODER = msgpack.Decoder(Extraction)
