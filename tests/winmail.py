"""Messages as Outlook and Exchange put them into `winmail.dat` (MS-OXTNEF 2.1), for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

WIDE, NARROW, BINARY, OBJECT, LONG, TIME = 0x1F, 0x1E, 0x102, 0x0D, 3, 0x40
Property = tuple[int, int, bytes]  # type, number, value
MESSAGE = bytes.fromhex("0703020000000000c000000000000046")  # IID_IMessage


def attribute(level: int, identifier: int, value: bytes) -> bytes:
    return struct.pack("<BII", level, identifier, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


def properties(listed: Iterable[Property]) -> bytes:
    values = list(listed)
    return struct.pack("<I", len(values)) + b"".join(map(_written, values))


def _written(given: Property) -> bytes:
    kind, number, value = given
    named = bytes(16) + struct.pack("<II", 1, 6) + "abc".encode("utf-16-le") + b"\0\0" if number >= 0x8000 else b""
    counted = struct.pack("<II", 1, len(value)) if kind in (WIDE, NARROW, BINARY, OBJECT) else b""
    return struct.pack("<HH", kind, number) + named + counted + value + bytes(-len(value) % 4)


def wide(number: int, text: str) -> Property:
    return WIDE, number, (text + "\0").encode("utf-16-le")


def winmail(
    subject: str,
    body: Iterable[Property] = (),
    files: Mapping[str, bytes] | None = None,
    messages: Iterable[bytes] = (),
) -> bytes:
    """A message in TNEF. `body` are its properties, after some that no reader needs."""
    before: list[Property] = [(LONG, 0x0E08, bytes(4)), (WIDE, 0x8005, "x\0".encode("utf-16-le"))]
    out = struct.pack("<IH", 0x223E9F78, 1)
    out += attribute(1, 0x00089006, bytes((0, 0, 1, 0)))
    out += attribute(1, 0x00069007, struct.pack("<II", 1252, 0))
    out += attribute(1, 0x00018004, subject.encode("cp1252") + b"\0")
    out += attribute(1, 0x00069003, properties([*before, *body]))
    for name, data in (files or {}).items():
        out += attribute(2, 0x00069002, bytes(14))
        out += attribute(2, 0x0006800F, data)
        out += attribute(2, 0x00018010, b"KURZ~1.TXT\0")
        out += attribute(2, 0x00069005, properties([wide(0x3707, name)]))
    for data in messages:
        out += attribute(2, 0x00069002, bytes(14))
        out += attribute(2, 0x00069005, properties([wide(0x3001, "Anfrage"), (OBJECT, 0x3701, MESSAGE + data)]))
    return out
