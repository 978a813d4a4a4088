"""Writes compound files (MS-CFB version 3) of storages and streams: a document that lies in the streams of another one
as a file of its own. olefile only reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias

Tree: TypeAlias = "Mapping[str, bytes | Tree]"
_SECTOR, _SMALL, _CUTOFF = 512, 64, 4096
_FREE, _END, _TABLE, _LIST, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC, 0xFFFFFFFF
_ROOT, _STORAGE, _STREAM = 5, 1, 2
_IN_TABLE, _IN_HEADER, _IN_LIST = 128, 109, 127


def compound(tree: Tree) -> bytes:
    """The file with these storages (mappings) and streams (bytes)."""
    return _Writer(tree).file()


class _Writer:
    def __init__(self, tree: Tree) -> None:
        self._entries: list[tuple[str, int, bytes, list[int]]] = [("Root Entry", _ROOT, b"", [])]
        self._add(0, tree)
        self._sectors: list[bytes] = []
        self._next: list[int] = []  # after each sector

    def _add(self, parent: int, tree: Tree) -> None:
        for name, content in tree.items():
            self._entries[parent][3].append(len(self._entries))
            if isinstance(content, bytes):
                self._entries.append((name, _STREAM, content, []))
            else:
                self._entries.append((name, _STORAGE, b"", []))
                self._add(len(self._entries) - 1, content)

    def file(self) -> bytes:
        small, small_next, starts = bytearray(), list[int](), list[int]()
        for _, kind, data, _ in self._entries:
            if 0 < len(data) < _CUTOFF:  # streams so short lie together in one
                first, count = len(small) // _SMALL, -(-len(data) // _SMALL)
                small += data.ljust(count * _SMALL, b"\0")
                small_next += [*range(first + 1, first + count), _END]
                starts.append(first)
            else:
                starts.append(self._chain(data) if kind == _STREAM else 0)
        starts[0] = self._chain(bytes(small))
        small_table = _numbers(small_next)
        small_first = self._chain(small_table)
        directory = self._chain(self._directory(starts, len(small)))
        places, lists, more = self._tables()
        table = _numbers([*self._next, *[_TABLE] * len(places), *[_LIST] * more])
        header = struct.pack(
            "<8s16sHHHHH6s9I", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"", 0, len(places),
            directory, 0, _CUTOFF, small_first, len(small_table) // _SECTOR, places[-1] + 1 if more else _END, more,
        )  # fmt: skip
        return b"".join((header + lists[: 4 * _IN_HEADER], *self._sectors, table, lists[4 * _IN_HEADER :]))

    def _tables(self) -> tuple[range, bytes, int]:
        """Where the table of sectors will lie, the list of its sectors, which begins in the header and goes on behind
        the table, and how many sectors it takes there."""
        used, tables, more = len(self._next), 0, 0
        while used + tables + more > tables * _IN_TABLE:
            tables += 1
            more = max(0, -(-(tables - _IN_HEADER) // _IN_LIST))
        places = range(used, used + tables)
        listed = [*places, *[_FREE] * (_IN_HEADER - tables)]
        rest = listed[_IN_HEADER:]
        for number in range(more):
            held = rest[number * _IN_LIST : (number + 1) * _IN_LIST]
            following = places[-1] + 2 + number if number + 1 < more else _END
            listed[_IN_HEADER + number * _SECTOR // 4 :] = [*held, *[_FREE] * (_IN_LIST - len(held)), following]
        return places, struct.pack(f"<{len(listed)}I", *listed), more

    def _chain(self, data: bytes) -> int:
        """Puts the data in sectors; the first one's number."""
        if not data:
            return _END
        first = len(self._sectors)
        self._sectors += [data[at : at + _SECTOR].ljust(_SECTOR, b"\0") for at in range(0, len(data), _SECTOR)]
        self._next += [*range(first + 1, len(self._sectors)), _END]
        return first

    def _directory(self, starts: list[int], small_size: int) -> bytes:
        """The entries. Those of a storage hang one on the right of the other."""
        right = dict.fromkeys(range(len(self._entries)), _NONE)
        for *_, children in self._entries:
            right.update(pairwise(children))
        out = bytearray()
        for number, (name, kind, data, children) in enumerate(self._entries):
            raw = (name + "\0").encode("utf-16-le")
            place = (_NONE, right[number], children[0] if children else _NONE)
            out += struct.pack("<64sHBBIII36x", raw, len(raw), kind, 1, *place)
            out += struct.pack("<IQ", starts[number], len(data) if number else small_size)
        empty = struct.pack("<64sHBBIII48x", b"", 0, 0, 0, _NONE, _NONE, _NONE)
        return bytes(out) + empty * (-len(self._entries) % (_SECTOR // 128))


def _numbers(table: list[int]) -> bytes:
    """Numbers of sectors in whole sectors."""
    raw = struct.pack(f"<{len(table)}I", *table)
    return raw + b"\xff" * (-len(raw) % _SECTOR)
