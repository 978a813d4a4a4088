"""The pictures that stand in documents of running text, for OCR."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from msgspec.structs import replace

from servers.cradle.processing.extract.extractor import Exhausted, Inner, Unreadable
from servers.cradle.processing.extract.metafile import bitmap_file, bitmaps
from servers.cradle.processing.extraction import Attachment, Block, Item, Scan

MAX_PICTURE = 64 * 2**20
FEW_CHARS = 100
PAGE_PIXELS = 500_000
"""A4 in 72 dpi has as many; a logo has fewer."""
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")
_DAMAGED = "The picture is cut off or damaged. Open the document in Word and save it as DOCX."
_LONG = f"The picture unpacks to more than {MAX_PICTURE >> 20} MiB; it was not read."


class Picture(NamedTuple):
    """A picture as it is stored: an image file, a bitmap without a file's header, or a metafile.

    `unpacked` is its length after zlib's inflation as the file states it, 0 where it is not packed.
    """

    data: bytes
    unpacked: int = 0


def chars_of(item: Item) -> int:
    """How much text an item is: characters that are no white space."""
    return len("".join(item.text.split())) if isinstance(item, Block) else 0


def for_ocr(chars: int, pictures: Iterator[Item]) -> Iterator[Item]:
    """What OCR is to read of a document with so many characters of text: all pictures where it has none; where it has a
    line or two, as a scan with a heading has, those as large as a page."""
    if chars >= FEW_CHARS:
        return
    for item in pictures:
        if not chars or not isinstance(item, Scan):
            yield item
        elif _pixels(item.png) >= PAGE_PIXELS:
            yield replace(item, stamped=True)


def _pixels(png: bytes) -> int:
    width, height = struct.unpack_from(">II", png, 16)
    return width * height


def scans(pictures: Iterable[Picture], page: int, depth: int, inner: Inner) -> Iterator[Item]:
    """Scans of the pictures, each once; one that is damaged is an `Attachment` with why.

    Drawings (EMF, WMF) hold no scan but the bitmaps in them.

    Raises:
        Exhausted: they come to more than a file of its size holds.
    """
    seen: set[bytes] = set()
    left = inner.left
    for number, picture in enumerate(pictures, 1):
        left -= max(len(picture.data), picture.unpacked if picture.unpacked <= MAX_PICTURE else 0)
        if left < 0:
            raise Exhausted
        try:
            for image in _images(picture):
                mark = sha256(image).digest()
                if mark not in seen:
                    seen.add(mark)
                    read = inner(image, f"picture-{number}", depth + 1)
                    yield from (Scan(each.png, page) for each in read if isinstance(each, Scan))
        except Exhausted:
            raise
        except Unreadable as error:
            if error.code != "unsupported_format":
                yield Attachment(f"picture-{number}", "", len(picture.data), error.code, error.reason)


def _images(picture: Picture) -> list[bytes]:
    """The image files that a picture is or holds."""
    data = _unpacked(picture)
    if data.startswith(_IMAGES):
        return [data]
    file = bitmap_file(data)
    return [file] if file else bitmaps(data)


def _unpacked(picture: Picture) -> bytes:
    if not picture.unpacked:
        return picture.data
    if picture.unpacked > MAX_PICTURE:
        raise Unreadable("zip_bomb", _LONG)
    try:
        return zlib.decompressobj().decompress(picture.data, picture.unpacked)
    except zlib.error:
        raise Unreadable("damaged", _DAMAGED) from None
