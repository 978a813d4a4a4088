"""Superscript pieces of an XLSX file's texts (`encoding.raised`): calamine gives a text's pieces as one.

Texts: ECMA-376-1, 18.4.4 (r), 18.4.12 (t), 18.4.14 (vertAlign); they are rewritten in the part that all sheets share.
"""

from __future__ import annotations

import io
import re
import zipfile

from servers.cradle.processing.extract.containers import read_part, whole_blocks
from servers.cradle.processing.extract.encoding import raised

BLOCK = 2**20
_PART = re.compile(r"(^|[\\/])sharedstrings\.xml$", re.IGNORECASE)
_MARK = b"superscript"
_PIECE = re.compile(rb"<((?:[\w.-]+:)?)r>(?:(?!</\1r>).)*</\1r>", re.DOTALL)
_TEXT = re.compile(rb"(?<=>)([^<>]*)(?=</(?:[\w.-]+:)?t>)")


def with_raised(data: bytes, archive: zipfile.ZipFile) -> bytes:
    """The file, which `archive` is of, with such pieces in raised characters; as it came where it has none.

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`.
    """
    found = next((each for each in archive.infolist() if _PART.search(each.filename)), None)
    if found is None or not _is_marked(archive, found.filename):
        return data
    content = read_part(archive, found.filename) or b""
    if (shown := _PIECE.sub(_raised, content)) == content:
        return data
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        written.filelist.remove(written.NameToInfo.pop(found.filename))
        written.writestr(found.filename, shown)
    return out.getvalue()


def _is_marked(archive: zipfile.ZipFile, path: str) -> bool:
    """Whether any piece may be raised. Of most workbooks none is: the texts of a large one are not held for that."""
    held = b""
    blocks = whole_blocks(archive, path, BLOCK)
    return any(_MARK in (held := held[1 - len(_MARK) :] + block) for block in blocks)


def _raised(piece: re.Match[bytes]) -> bytes:
    if _MARK not in piece[0]:
        return piece[0]
    return _TEXT.sub(lambda text: raised(text[0].decode("utf-8", "replace")).encode(), piece[0])
