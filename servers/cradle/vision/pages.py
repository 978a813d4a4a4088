"""Turns one file (PNG, JPEG, TIFF, WebP, BMP or PDF) into page images, within stated bounds, in memory only.

It runs in a process of its own (`page_child`), for whose start's sake it loads little.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from servers.cradle.processing.page_image import is_page, rendered, to_png
from servers.cradle.processing.pdf_forms import fill_forms
from shared.errors import InvalidInput, TooLarge
from shared.values import MAX_IMAGE_BYTES, MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
MAX_PAGES = 200
MAX_FRAMES = 1000


def page_images(data: bytes, pages: str | None = None) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and PNG bytes of each page, in order.

    Args:
        pages: a page or a range, `3`, `2-5` or `8-`; others are not rendered. None: all.

    Raises:
        InvalidInput: not one of the formats, damaged, or encrypted; or it has no such pages.
        TooLarge: over `MAX_IMAGE_BYTES`, `MAX_PIXELS` a page, `MAX_PAGES` or `MAX_FRAMES`; known from headers, before
            anything is decoded.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLarge(f"The image is over {MAX_IMAGE_BYTES // 2**20} MB. Send a smaller one.", field="image_base64")
    if data[:5] == b"%PDF-":
        yield from _pdf_pages(data, pages)
    else:
        yield from _image_frames(data, pages)


def _chosen(pages: str | None, count: int) -> range:
    """The numbers of the pages that are wanted of so many."""
    first, dash, last = (pages or "1-").partition("-")
    wanted = range(int(first), int(last or (count if dash else first)) + 1)
    if pages and (not wanted or wanted[-1] > count):
        raise InvalidInput(f"There are {count} pages: name one of them, or a range such as 1-{count}.", field="pages")
    if len(wanted) > MAX_PAGES:
        hint = "Name a range in `pages`."
        raise TooLarge(f"These are {len(wanted)} pages; at most {MAX_PAGES} in one call. {hint}", field="pages")
    return wanted


def _pdf_pages(data: bytes, pages: str | None) -> Iterator[tuple[int, bytes]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        fill_forms(document)
        count = len(document)
    except pypdfium2.PdfiumError:
        raise InvalidInput("The PDF is damaged or protected by a password.", field="image_base64") from None
    try:
        for number in _chosen(pages, count):
            page = document[number - 1]
            yield number, to_png(rendered(page))
            page.close()
    except pypdfium2.PdfiumError:
        raise InvalidInput("The PDF is damaged: one of its pages cannot be read.", field="image_base64") from None
    finally:
        document.close()


def _image_frames(data: bytes, pages: str | None) -> Iterator[tuple[int, bytes]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image)  # here too: to go to a later frame may decode those before
        frames = _frames(image)
        for number in _chosen(pages, len(frames)):
            image.seek(frames[number - 1])
            _check_size(image)
            yield number, to_png(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise TooLarge(f"The image has over {MAX_PIXELS // 10**6} megapixels.", field="image_base64") from None
    except UnidentifiedImageError:
        raise InvalidInput(
            f"Not an image that can be read. Send {', '.join(FORMATS)} or PDF.", field="image_base64"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError):
        raise InvalidInput("The image is damaged: it ends or breaks in the middle.", field="image_base64") from None


def _frames(image: Image) -> Sequence[int]:
    """Where the pages are. A TIFF's are found one by one, so beyond `MAX_FRAMES` nobody goes on to count."""
    if image.format != "TIFF":
        return range(1 if image.format == "MPO" else getattr(image, "n_frames", 1))
    frames = []
    for number in range(MAX_FRAMES + 1):
        try:
            image.seek(number)
        except EOFError:
            return frames or range(number)
        if is_page(image):
            frames.append(number)
    raise TooLarge(f"The image has over {MAX_FRAMES} pages. Split it.", field="image_base64")


def _check_size(image: Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        megapixels = image.width * image.height // 10**6
        raise TooLarge(f"The image has {megapixels} megapixels; at most {MAX_PIXELS // 10**6}.", field="image_base64")
