"""One version of a Lance table as files that depend on its content alone.

A Lance table names its data and index files by random uuids, and its manifest holds these names, the time of writing
and the last transaction. Here files are named by their place, times are zero, the transaction is left out (it serves
writers that compete), and maps of metadata are put in order. Formats: lance 13 `table.proto`, `file2.proto`; a manifest
file is sections of (u32 length, message), then u64 position of the manifest, u16 major, u16 minor, `LANC`; a data file
ends in u64 ×3 offsets, u32 number of global buffers, u32 number of columns, u16, u16, `LANC`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from shared.dataset import protobuf
from shared.dataset.protobuf import Entry

MAGIC = b"LANC"
_MANIFEST_TAIL, _FILE_TAIL = struct.Struct("<QHH4s"), struct.Struct("<QQQIIHH4s")
_FRAGMENT, _VERSION, _INDEX_SECTION, _TIME, _TRANSACTION, _TRANSACTION_SECTION = 2, 3, 6, 7, 12, 21
_FRAGMENT_FILE, _FILE_PATH = 2, 1
_INDEX, _INDEX_UUID, _INDEX_NAME, _INDEX_CREATED, _INDEX_FILE = 1, 1, 3, 8, 10
_SCHEMA, _SCHEMA_METADATA = 1, 5

Read = Callable[[str], bytes]
"""Reads a file of the table by its name below the table's folder."""


class _Names:
    """Old and new names of files, found while the manifest is rewritten."""

    def __init__(self) -> None:
        self.data: list[tuple[str, str]] = []
        self.indexes: list[tuple[str, str, str]] = []


def canonical_files(names: list[str], read: Read) -> Iterator[tuple[str, str | bytes]]:
    """New name and either the old name (the bytes stay as they are) or new bytes, of the newest version's files.

    Raises:
        ValueError: the files are not what this release of Lance writes.
    """
    newest = min(name for name in names if name.startswith("_versions/") and name.endswith(".manifest"))
    found = _Names()
    version, manifest = _manifest(read(newest), found)
    yield f"_versions/{2**64 - 1 - version:020d}.manifest", manifest
    for old, new in found.data:
        yield f"data/{new}", f"data/{old}"
    for old, new, file in found.indexes:
        yield f"_indices/{new}/{file}", _ordered_metadata(read(f"_indices/{old}/{file}"))


def _manifest(raw: bytes, found: _Names) -> tuple[int, bytes]:
    position, major, minor, magic = _MANIFEST_TAIL.unpack(raw[-_MANIFEST_TAIL.size :])
    if magic != MAGIC:
        raise ValueError("not a Lance manifest")
    entries = protobuf.decode(protobuf.section(raw, position))
    version = next(
        int.from_bytes(e.value) if isinstance(e.value, bytes) else e.value for e in entries if e.number == _VERSION
    )
    at = next((e.value for e in entries if e.number == _INDEX_SECTION and isinstance(e.value, int)), None)
    indexes = b"" if at is None else _section(_indexes(protobuf.section(raw, at), found))
    kept = [
        _rewritten(entry, found)
        for entry in entries
        if entry.number not in {_TIME, _TRANSACTION, _TRANSACTION_SECTION, _INDEX_SECTION}
    ]
    kept.append(protobuf.text(_TIME, b""))
    if at is not None:
        kept.append(protobuf.number(_INDEX_SECTION, 0))
    tail = _MANIFEST_TAIL.pack(len(indexes), major, minor, MAGIC)
    return version, indexes + _section(protobuf.encode(kept)) + tail


def _section(message: bytes) -> bytes:
    return struct.pack("<I", len(message)) + message


def _rewritten(entry: Entry, found: _Names) -> Entry:
    if entry.number != _FRAGMENT:
        return entry
    parts = [_renamed(part, found) if part.number == _FRAGMENT_FILE else part for part in protobuf.decode(entry.raw)]
    return replace(entry, value=protobuf.encode(parts))


def _renamed(file: Entry, found: _Names) -> Entry:
    parts = protobuf.decode(file.raw)
    path = next(part for part in parts if part.number == _FILE_PATH)
    name = f"{len(found.data):08d}.lance"
    found.data.append((path.raw.decode(), name))
    return replace(file, value=protobuf.encode([replace(p, value=name.encode()) if p is path else p for p in parts]))


def _indexes(message: bytes, found: _Names) -> bytes:
    entries = protobuf.decode(message)
    return protobuf.encode([_index(each, found) if each.number == _INDEX else each for each in entries])


def _index(entry: Entry, found: _Names) -> Entry:
    parts = protobuf.decode(entry.raw)
    name = next(part.raw for part in parts if part.number == _INDEX_NAME)
    holder = next(part for part in parts if part.number == _INDEX_UUID)
    old, new = protobuf.decode(holder.raw)[0].raw, _uuid(name)
    files = sorted((part for part in parts if part.number == _INDEX_FILE), key=lambda part: part.raw)
    for file in files:
        path = next(part.raw for part in protobuf.decode(file.raw) if part.number == 1).decode()
        found.indexes.append((_dashed(old), _dashed(new), path))
    kept = [part for part in parts if part.number not in {_INDEX_UUID, _INDEX_CREATED, _INDEX_FILE}]
    uuid = protobuf.text(_INDEX_UUID, protobuf.encode([protobuf.text(1, new)]))
    return replace(entry, value=protobuf.encode([uuid, *kept, protobuf.number(_INDEX_CREATED, 0), *files]))


def _uuid(name: bytes) -> bytes:
    raw = bytearray(hashlib.sha256(b"index " + name).digest()[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
    return bytes(raw)


def _dashed(uuid: bytes) -> str:
    text = uuid.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _ordered_metadata(raw: bytes) -> bytes:
    """A Lance file whose schema's metadata, a map written in random order, is in order; no offset changes."""
    *_, buffers_at, buffers, _, _, _, magic = _FILE_TAIL.unpack(raw[-_FILE_TAIL.size :])
    if magic != MAGIC or not buffers:
        raise ValueError("not a Lance file")
    start, size = struct.unpack_from("<QQ", raw, buffers_at)
    descriptor = protobuf.decode(raw[start : start + size])
    ordered = protobuf.encode([_ordered_schema(each) if each.number == _SCHEMA else each for each in descriptor])
    if len(ordered) != size:
        raise ValueError("a Lance file's schema is written in an unknown way")
    return raw[:start] + ordered + raw[start + size :]


def _ordered_schema(schema: Entry) -> Entry:
    parts = protobuf.decode(schema.raw)
    kept = [part for part in parts if part.number != _SCHEMA_METADATA]
    pairs = sorted((part for part in parts if part.number == _SCHEMA_METADATA), key=lambda part: part.raw)
    return replace(schema, value=protobuf.encode([*kept, *pairs]))
