"""Outlook messages for tests, as the storages and streams of a compound file.

No library with a permissive licence writes MSG; what is written here is read back by olefile, which is not ours.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from servers.cradle.processing.extract.compound_file import Tree


def message(subject: str, body: str, attachments: Mapping[str, bytes | Tree] | None = None, **more: bytes) -> Tree:
    """An Outlook message; an attachment that is a tree is an inner message."""
    tree: dict[str, bytes | Tree] = {
        "__properties_version1.0": bytes(32) + b"\x40\x00\x39\x00" + struct.pack("<IQ", 6, 134_000_000_000_000_000),
        "__substg1.0_0037001F": subject.encode("utf-16-le"),
        "__substg1.0_0C1A001F": "Müller".encode("utf-16-le"),
        "__substg1.0_5D01001F": "mueller@example.com".encode("utf-16-le"),
        "__substg1.0_0E04001F": "it@example.com".encode("utf-16-le"),
        **({"__substg1.0_1000001F": body.encode("utf-16-le")} if body else {}),
        **{f"__substg1.0_{name[1:]}": value for name, value in more.items()},
    }
    for number, (name, content) in enumerate((attachments or {}).items()):
        inner = not isinstance(content, bytes)
        tree[f"__attach_version1.0_#{number:08X}"] = {
            "__substg1.0_3707001F": name.encode("utf-16-le"),
            f"__substg1.0_3701{'000D' if inner else '0102'}": content,
        }
    return tree
