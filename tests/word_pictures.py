"""Writes pictures for tests: images, metafiles that wrap them, and Word 97 files that hold them (MS-DOC, MS-ODRAW)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from tests.word_file import TEXT, narrow, pieces, word_file_of

IN_STREAM = TEXT + 1024
"""Where in the main stream the bytes begin that `picture_doc` puts there."""
PICTURE, DELETED, FORM_DATA = 0x6A03, 0x0800, 0x0806
_STORE, _DRAWINGS, _ANCHORS, _CHARACTERS = 0xF001, 50, 40, 12


def image(width: int, form: str = "PNG", mode: str = "RGB") -> bytes:
    """An image file that is 20 pixels high, so that its width tells it from others; one corner of it is black."""
    from PIL import Image

    (drawn := Image.new("L", (width, 20), 255)).paste(0, (0, 0, width // 2, 5))
    out = io.BytesIO()
    drawn.convert(mode).save(out, form)
    return out.getvalue()


def opened(data: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(data))


def dib(width: int, mode: str = "RGB") -> bytes:
    """A bitmap without a file's header."""
    return image(width, "BMP", mode)[14:]


def emf(*bitmaps: bytes, operation: int = 0x00CC0020) -> bytes:
    """An enhanced metafile that draws BMP files (EMR_STRETCHDIBITS), each by the raster operation."""
    head = struct.pack("<II32x4sI", 1, 88, b" EMF", 0x10000).ljust(88, b"\0")
    return head + b"".join(stretched(each, operation) for each in bitmaps) + struct.pack("<IIIII", 14, 20, 0, 16, 20)


def stretched(bmp: bytes, operation: int = 0x00CC0020) -> bytes:
    """A record of an enhanced metafile that draws a BMP file."""
    (begin,) = struct.unpack_from("<I", bmp, 10)
    head, pixels = bmp[14:begin], bmp[begin:]
    places = struct.pack("<IIII", 80, len(head), 80 + len(head), len(pixels))
    record = bytes(40) + places + struct.pack("<II8x", 0, operation) + head + pixels
    return struct.pack("<II", 81, len(record) + 8) + record


def wmf(bitmap: bytes, *, placeable: bool = False) -> bytes:
    """A Windows metafile that draws a bitmap (META_STRETCHDIB)."""
    content = struct.pack("<IH16x", 0x00CC0020, 0) + bitmap + b"\0" * (len(bitmap) % 2)
    record = struct.pack("<IH", 3 + len(content) // 2, 0x0F43) + content
    before = struct.pack("<I18x", 0x9AC6CDD7) if placeable else b""
    return before + struct.pack("<HHH12x", 1, 9, 0x300) + record + struct.pack("<IH", 3, 0)


def art(kind: int, content: bytes, instance: int = 0, version: int = 0) -> bytes:
    """A record of a drawing."""
    return struct.pack("<HHI", instance << 4 | version, kind, len(content)) + content


def blip(data: bytes, kind: int = 0xF01E, *, digests: int = 1) -> bytes:
    """A picture as a record, by default of PNG."""
    return art(kind, bytes(16 * digests + 1) + data, 0x6E0 + digests - 1)


def packed(metafile: bytes, kind: int = 0xF01A, size: int | None = None) -> bytes:
    """A metafile as a record, deflated; `size` is what it says that it comes to."""
    head = struct.pack("<I28xBB", len(metafile) if size is None else size, 0, 0xFE)
    return art(kind, bytes(16) + head + zlib.compress(metafile), 0x3D4)


def entry(content: bytes = b"", place: int = 0xFFFFFFFF, name: bytes = b"") -> bytes:
    """An entry of the store, with its picture in it or at a place of the main stream."""
    return art(0xF007, struct.pack("<28xIBBH", place, 0, len(name), 0) + name + content, 6, 2)


def store(*entries: bytes) -> bytes:
    return art(0xF000, art(0xF006, bytes(16)) + art(_STORE, b"".join(entries), len(entries), 15), 0, 15)


def shape(number: int, *shown: int) -> bytes:
    """A shape with this id that shows these entries of the store."""
    properties = b"".join(struct.pack("<HI", 0x4104, each) for each in shown) + struct.pack("<HI", 0x0181, 1)
    said = art(0xF00A, struct.pack("<II", number, 0), 75, 2) + art(0xF00B, properties, len(shown) + 1, 3)
    return art(0xF004, said, 0, 15)


def group(*members: bytes) -> bytes:
    return art(0xF003, b"".join(members), 0, 15)


def drawing(*members: bytes) -> bytes:
    """The body's drawing, which follows the store."""
    return b"\0" + art(0xF002, art(0xF008, bytes(8)) + group(shape(1024), *members), 0, 15)


def in_line(*records: bytes, kind: int = 0x64, name: bytes | None = None) -> bytes:
    """What the data stream holds for a picture in the line."""
    content = (b"" if name is None else bytes((len(name),)) + name) + b"".join(records)
    return struct.pack("<IHH", 0x44 + len(content), 0x44, kind).ljust(0x44, b"\0") + content


def said(*modifiers: tuple[int, int]) -> bytes:
    """Properties of a character."""
    return b"".join(struct.pack("<HI" if code == PICTURE else "<HB", code, value) for code, value in modifiers)


def picture_doc(
    text: str,
    characters: Mapping[int, bytes] = {},
    data: bytes = b"",
    drawings: bytes = b"",
    anchors: Mapping[int, int] = {},
    stream: bytes = b"",
    stories: Sequence[int] = (),
    parts: Mapping[int, bytes] = {},
) -> bytes:
    """A Word file: characters by their place with what is said of them, and shapes by the place of their anchor;
    `parts` are further ones of the table stream."""
    raw = text.encode("latin-1")
    table = struct.pack(f"<{len(anchors) + 1}I", *anchors, len(raw))
    table += b"".join(struct.pack("<I22x", each) for each in anchors.values())
    pages = struct.pack("<III", TEXT, TEXT + len(raw), TEXT // 512 + 1)
    return word_file_of(
        raw.ljust(512, b"\r") + _page(len(raw), characters) + stream,
        pieces([(len(raw), narrow(TEXT))]),
        stories or (len(raw),),
        more={"Data": data} if data else None,
        parts={_CHARACTERS: pages, _ANCHORS: table, _DRAWINGS: drawings, **parts},
    )


def in_lines(*pictures: bytes) -> bytes:
    """A Word file of nothing but pictures in the line, as `in_line` gives them."""
    places = accumulate(map(len, pictures), initial=0)
    characters = {index: said((PICTURE, at)) for index, at in zip(range(len(pictures)), places, strict=False)}
    return picture_doc("\x01" * len(pictures) + "\r", characters, b"".join(pictures))


def _page(count: int, characters: Mapping[int, bytes]) -> bytes:
    """A formatted disk page with a run for each character up to the last of these, and one for the rest."""
    runs = min(max(characters, default=0) + 2, count)
    places = struct.pack(f"<{runs + 1}I", *range(TEXT, TEXT + runs), TEXT + count)
    page = bytearray(places.ljust(512, b"\0"))
    at = 510
    for index, properties in characters.items():
        at -= (len(properties) + 2) // 2 * 2
        page[at : at + 1 + len(properties)] = bytes((len(properties),)) + properties
        page[len(places) + index] = at // 2
    page[511] = runs
    return bytes(page)
