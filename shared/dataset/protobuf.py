"""The wire format of protocol buffers, just enough to rewrite single fields of a message without its schema."""

from __future__ import annotations

import struct
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a message: its number, wire type and value (an int for VARINT, else bytes)."""

    number: int
    wire: int
    value: int | bytes

    @property
    def raw(self) -> bytes:
        if not isinstance(self.value, bytes):
            raise ValueError("not a field of bytes")
        return self.value


def decode(data: bytes) -> list[Entry]:
    """The fields of a message in their order. Raises ValueError where the bytes are none."""
    found, at = [], 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _read_varint(data, at)
            found.append(Entry(number, wire, value))
            continue
        size, at = _read_varint(data, at) if wire == BYTES else (_WIDTHS.get(wire), at)
        if size is None or at + size > len(data):
            raise ValueError("not a protocol buffer message")
        found.append(Entry(number, wire, data[at : at + size]))
        at += size
    return found


def encode(entries: list[Entry]) -> bytes:
    """The message that these fields make."""
    out = bytearray()
    for entry in entries:
        out += _varint(entry.number << 3 | entry.wire)
        if isinstance(entry.value, int):
            out += _varint(entry.value)
            continue
        if entry.wire == BYTES:
            out += _varint(len(entry.value))
        out += entry.value
    return bytes(out)


def number(field: int, value: int) -> Entry:
    return Entry(field, VARINT, value)


def text(field: int, value: bytes) -> Entry:
    return Entry(field, BYTES, value)


def section(data: bytes, at: int) -> bytes:
    """The message at an offset that follows its own length (u32, little-endian)."""
    (size,) = struct.unpack_from("<I", data, at)
    if at + 4 + size > len(data):
        raise ValueError("a section ends beyond its file")
    return data[at + 4 : at + 4 + size]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("not a protocol buffer message")
