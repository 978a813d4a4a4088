"""Superscript pieces of an XLSX file's texts (`encoding.raised`): calamine gives a text's pieces as one.

Texts: ECMA-376-1, 18.4.4 (r), 18.4.12 (t), 18.4.14 (vertAlign); they are rewritten in the part that all sheets share,
and in sheets that hold their own (18.3.1.53, is).
"""

from __future__ import annotations

import io
import re
import zipfile

from servers.cradle.processing.extract.containers import cut_behind, part_blocks, whole_blocks
from servers.cradle.processing.extract.encoding import raised

BLOCK = 2**20
_PART = re.compile(r"(^|[\\/])(sharedstrings|worksheets[\\/][^\\/]+)\.xml$", re.IGNORECASE)
_MARK = b"superscript"
_PIECE = re.compile(rb"<((?:[\w.-]+:)?)r>(?:(?!</?(?:[\w.-]+:)?r>).)*</\1r>", re.DOTALL)
"""Ends where any other piece begins: each byte is looked at once, however many pieces nobody closes."""
_TEXT = re.compile(rb"(?<=>)([^<>]*)(?=</(?:[\w.-]+:)?t>)")


def with_raised(data: bytes, archive: zipfile.ZipFile) -> bytes:
    """The file, which `archive` is of, with such pieces in raised characters; as it came where it has none.

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`.
    """
    parts = [each for each in archive.infolist() if _PART.search(each.filename) and _is_marked(archive, each.filename)]
    if not parts:
        return data
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        for each in parts:
            written.filelist.remove(written.NameToInfo.pop(each.filename))
            with written.open(each.filename, "w", force_zip64=each.file_size > 2**30) as part:
                for piece in cut_behind(part_blocks(archive, each.filename, BLOCK), b"si>", b"row>"):
                    part.write(_PIECE.sub(_raised, piece))
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
