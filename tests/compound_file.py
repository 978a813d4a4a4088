"""Writes Outlook messages for tests: a compound file (MS-CFB version 3) of storages and streams.

No library with a permissive licence writes MSG; what is written here is read back by olefile, which is not ours.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TypeAlias

Tree: TypeAlias = "dict[str, bytes | Tree]"
SECTOR, MINI, CUTOFF = 512, 64, 4096
FREE, END, FATSECT, NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def compound(tree: Tree) -> bytes:
    """The file with these storages (dicts) and streams (bytes)."""
    return _Writer(tree).file()


def message(subject: str, body: str, attachments: dict[str, bytes | Tree] | None = None, **more: bytes) -> Tree:
    """An Outlook message; an attachment that is a tree is an inner message."""
    tree: Tree = {
        "__properties_version1.0": bytes(32) + b"\x40\x00\x39\x00" + struct.pack("<IQ", 6, 134_000_000_000_000_000),
        "__substg1.0_0037001F": subject.encode("utf-16-le"),
        "__substg1.0_0C1A001F": "Müller".encode("utf-16-le"),
        "__substg1.0_5D01001F": "mueller@example.com".encode("utf-16-le"),
        "__substg1.0_0E04001F": "it@example.com".encode("utf-16-le"),
        **({"__substg1.0_1000001F": body.encode("utf-16-le")} if body else {}),
        **{f"__substg1.0_{name[1:]}": value for name, value in more.items()},
    }
    for number, (name, content) in enumerate((attachments or {}).items()):
        inner = isinstance(content, dict)
        tree[f"__attach_version1.0_#{number:08X}"] = {
            "__substg1.0_3707001F": name.encode("utf-16-le"),
            f"__substg1.0_3701{'000D' if inner else '0102'}": content,
        }
    return tree


class _Writer:
    def __init__(self, tree: Tree) -> None:
        self.entries: list[tuple[str, int, bytes, list[int]]] = [("Root Entry", 5, b"", [])]
        self._add(0, tree)
        self.sectors: list[bytes] = []
        self.fat: list[int] = []

    def _add(self, parent: int, tree: Tree) -> None:
        for name, content in tree.items():
            self.entries[parent][3].append(len(self.entries))
            if isinstance(content, dict):
                self.entries.append((name, 1, b"", []))
                self._add(len(self.entries) - 1, content)
            else:
                self.entries.append((name, 2, content, []))

    def _chain(self, data: bytes) -> int:
        """Puts the data in sectors; the first one's number."""
        if not data:
            return END
        first = len(self.sectors)
        pieces = [data[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(data), SECTOR)]
        self.sectors += pieces
        self.fat += [*range(first + 1, first + len(pieces)), END]
        return first

    def file(self) -> bytes:
        mini, mini_fat = b"", []
        starts = []
        for _, kind, data, _ in self.entries:
            if kind == 2 and 0 < len(data) < CUTOFF:
                first, count = len(mini) // MINI, -(-len(data) // MINI)
                mini += data.ljust(count * MINI, b"\0")
                mini_fat += [*range(first + 1, first + count), END]
                starts.append(first)
            else:
                starts.append(self._chain(data) if kind == 2 else 0)
        starts[0] = self._chain(mini)
        table = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
        table += b"\xff" * (-len(table) % SECTOR)
        mini_first = self._chain(table)
        directory = self._chain(self._directory(starts, len(mini)))
        needed = 1
        while (len(self.fat) + needed) > needed * (SECTOR // 4):
            needed += 1
        places = range(len(self.fat), len(self.fat) + needed)
        fat = [*self.fat, *[FATSECT] * needed]
        raw = struct.pack(f"<{len(fat)}I", *fat).ljust(needed * SECTOR, b"\xff")
        header = struct.pack(
            "<8s16sHHHHH6sIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"", 0, needed,
            directory, 0, CUTOFF, mini_first, len(table) // SECTOR, END, 0, places[0],
        )  # fmt: skip
        slots = [*places, *[FREE] * (109 - needed)][1:]
        return header + struct.pack("<108I", *slots) + b"".join(self.sectors) + raw

    def _directory(self, starts: list[int], mini_size: int) -> bytes:
        right = dict.fromkeys(range(len(self.entries)), NONE)
        for *_, children in self.entries:
            right.update(pairwise(children))
        out = b""
        for number, (name, kind, data, children) in enumerate(self.entries):
            raw = (name + "\0").encode("utf-16-le")
            size = mini_size if number == 0 else len(data)
            place = (NONE, right[number], children[0] if children else NONE)
            out += struct.pack("<64sHBBIII36x", raw, len(raw), kind, 1, *place) + struct.pack(
                "<IQ", starts[number], size
            )
        empty = struct.pack("<64sHBBIII48x", b"", 0, 0, 0, NONE, NONE, NONE)
        return out + empty * (-len(self.entries) % 4)
