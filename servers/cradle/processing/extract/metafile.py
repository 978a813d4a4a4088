"""The bitmaps in Windows metafiles (MS-EMF, MS-WMF): a scan that was pasted through the clipboard is often one of them,
and the metafile only its wrapping. What else a metafile draws is not drawn."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_CORE, _INFO, _MASKED = 12, 40, 3  # BITMAPCOREHEADER, BITMAPINFOHEADER, and BI_BITFIELDS (MS-WMF 2.2.2)
_HEADERS, _DEPTHS = (_CORE, _INFO, 52, 56, 108, 124), (1, 4, 8, 16, 24, 32)
_EMF_MARK, _EMF_MARK_AT = b" EMF", 40
_EMF_BITMAPS = {76: (84, 40), 77: (84, 40), 80: (48, None), 81: (48, 68)}
"""Kind of record → where the places of header and pixels stand in it, and the raster operation (MS-EMF 2.3.1)."""
_PLACEABLE, _PLACEABLE_SIZE = b"\xd7\xcd\xc6\x9a", 22
_WMF_MARK, _WMF_HEAD = struct.Struct("<HHH"), 18
_WMF_MARKS = frozenset((place, 9, version) for place in (1, 2) for version in (0x100, 0x300))
_WMF_BITMAPS = {0x0940: (22, 6), 0x0B41: (26, 6), 0x0D33: (24, None), 0x0F43: (28, 6)}
"""Kind of record → where its bitmap begins, and the raster operation (MS-WMF 2.3.1)."""
_COPY, _SIZE = 0x00CC0020, slice(18, 26)  # SRCCOPY; width and height in a BMP file


class _Bitmap(NamedTuple):
    """A BMP file; `whole` where it is drawn as it is, not mixed with what was drawn before."""

    file: bytes
    whole: bool


def bitmap_file(dib: bytes, head: int = 0) -> bytes:
    """A bitmap without its file header as a BMP file, '' where it is none.

    Args:
        head: length of header and colours, where the pixels begin; 0 where only the header tells it.
    """
    size = int.from_bytes(dib[:4], "little")
    if size not in _HEADERS or len(dib) < size:
        return b""
    planes, depth = struct.unpack_from("<HH", dib, 8 if size == _CORE else 12)
    if planes != 1 or depth not in _DEPTHS:
        return b""
    begin = min(head or _head(dib, size, depth), len(dib))
    return struct.pack("<2sIII", b"BM", 14 + len(dib), 0, 14 + begin) + dib


def _head(dib: bytes, size: int, depth: int) -> int:
    """The length of header, masks and colours."""
    if size == _CORE:
        return size + (3 << depth if depth <= 8 else 0)
    (kind,), (used,) = struct.unpack_from("<I", dib, 16), struct.unpack_from("<I", dib, 32)
    masks = 12 if size == _INFO and kind == _MASKED else 0
    return size + masks + 4 * (used or (1 << depth if depth <= 8 else 0))


def bitmaps(metafile: bytes) -> list[bytes]:
    """The bitmaps that a metafile draws, as BMP files in their order; none where it is no metafile.

    A bitmap with holes is drawn in two steps, one of which is only its mask: that has fewer colours, or comes first.
    """
    is_emf = metafile[_EMF_MARK_AT : _EMF_MARK_AT + 4] == _EMF_MARK
    found: list[_Bitmap] = []
    for each in _of_emf(metafile) if is_emf else _of_wmf(metafile):
        if not found or each.whole or found[-1].whole or each.file[_SIZE] != found[-1].file[_SIZE]:
            found.append(each)
        elif len(each.file) >= len(found[-1].file):
            found[-1] = each
    return [each.file for each in found]


def _of_emf(data: bytes) -> Iterator[_Bitmap]:
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if size < 8:
            return
        record, at = data[at : at + size] if kind in _EMF_BITMAPS else b"", at + size
        if record and (file := _emf_bitmap(record, _EMF_BITMAPS[kind][0])):
            yield _Bitmap(file, _is_whole(record, _EMF_BITMAPS[kind][1]))


def _emf_bitmap(record: bytes, at: int) -> bytes:
    if len(record) < at + 16:
        return b""
    head, head_size, pixels, size = struct.unpack_from("<IIII", record, at)
    return bitmap_file(record[head : head + head_size] + record[pixels : pixels + size], head_size)


def _of_wmf(data: bytes) -> Iterator[_Bitmap]:
    at = _PLACEABLE_SIZE if data.startswith(_PLACEABLE) else 0
    if len(data) < at + _WMF_HEAD or _WMF_MARK.unpack_from(data, at) not in _WMF_MARKS:
        return
    at += _WMF_HEAD
    while at + 6 <= len(data):
        words, kind = struct.unpack_from("<IH", data, at)
        if words < 3:
            return
        record, at = data[at : at + 2 * words] if kind in _WMF_BITMAPS else b"", at + 2 * words
        if record and (file := bitmap_file(record[_WMF_BITMAPS[kind][0] :])):
            yield _Bitmap(file, _is_whole(record, _WMF_BITMAPS[kind][1]))


def _is_whole(record: bytes, at: int | None) -> bool:
    return at is None or int.from_bytes(record[at : at + 4], "little") == _COPY
