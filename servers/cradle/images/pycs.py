"""Byte code for the image, so that an instance starts in a second or two although its file system is read-only.

CPython's own files would differ from run to run: they hold a time, the path of the machine, and flags that depend on
reference counts. These hold none of that: unchecked-hash headers (PEP 552), the path inside the image, and marshal's
format 2, which writes no references. Slices, which are constants from Python 3.14 on, are no part of that format, and
every such Python reads them in it: they are put in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
from collections.abc import Iterable
from pathlib import Path
from types import CodeType
from typing import Any

from servers.cradle.images.layers import Entry

_UNCHECKED_HASH = 0b01
_MARSHAL_VERSION = 2
_SLICE = b":"  # TYPE_SLICE of CPython's Python/marshal.c; start, stop and step follow


def with_byte_code(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, and byte code beside every Python file among them that compiles."""
    found = list(entries)
    for entry in list(found):
        if entry.name.endswith(".py") and isinstance(entry.source, Path):
            source = entry.source.read_bytes()
            compiled = byte_code(source, "/" + entry.name)
            if compiled is not None:
                found.append(Entry(importlib.util.cache_from_source(entry.name), compiled))
    return found


def byte_code(source: bytes, name: str) -> bytes | None:
    """The `.pyc` of a source file that the image has at `name`; none where it is not valid Python (a template, say)."""
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + _marshalled(code)


def _marshalled(code: CodeType) -> bytes:
    slices: dict[bytes, bytes] = {}

    def without_slices(value: Any) -> Any:
        if isinstance(value, CodeType):
            return value.replace(co_consts=tuple(map(without_slices, value.co_consts)))
        if isinstance(value, tuple):
            return tuple(map(without_slices, value))
        if not isinstance(value, slice):
            return value
        bounds = b"".join(marshal.dumps(each, _MARSHAL_VERSION) for each in (value.start, value.stop, value.step))
        stands_for_it = hashlib.sha256(bounds).digest()
        slices[marshal.dumps(stands_for_it, _MARSHAL_VERSION)] = _SLICE + bounds
        return stands_for_it

    content = marshal.dumps(without_slices(code), _MARSHAL_VERSION)
    for stand_in, written in slices.items():
        content = content.replace(stand_in, written)
    return content
