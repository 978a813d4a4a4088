"""Turns one file (PNG, JPEG, TIFF, WebP, BMP or PDF) into page images, within stated bounds, in memory only."""

from __future__ import annotations

import io
from collections.abc import Iterator

from shared.contracts.vision import MAX_IMAGE_BYTES, MAX_PIXELS
from shared.errors import InvalidInput, TooLarge

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
MAX_PAGES = 200
RENDER_DPI = 200


def page_images(data: bytes) -> Iterator[bytes]:
    """Each page as PNG bytes, in order. Blocking: run it in a worker.

    Raises:
        InvalidInput: not one of the formats, damaged, or encrypted.
        TooLarge: over `MAX_IMAGE_BYTES`, `MAX_PIXELS` a page or `MAX_PAGES`; known from the header, before decoding.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLarge(f"The image is over {MAX_IMAGE_BYTES // 2**20} MB. Send a smaller one.", field="image_base64")
    if data[:5] == b"%PDF-":
        yield from _pdf_pages(data)
    else:
        yield from _image_frames(data)


def _pdf_pages(data: bytes) -> Iterator[bytes]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        raise InvalidInput("The PDF is damaged or protected by a password.", field="image_base64") from None
    try:
        if len(document) > MAX_PAGES:
            raise TooLarge(f"The PDF has {len(document)} pages; at most {MAX_PAGES} in one call.", field="image_base64")
        for page in document:
            scale = RENDER_DPI / 72
            width, height = page.get_size()
            if width * height * scale * scale > MAX_PIXELS:
                scale = (MAX_PIXELS / (width * height)) ** 0.5 * 0.99
            yield _png(page.render(scale=scale).to_pil())  # pyright: ignore[reportArgumentType]  its stub says int
            page.close()
    finally:
        document.close()


def _image_frames(data: bytes) -> Iterator[bytes]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise TooLarge(f"The image has over {MAX_PIXELS // 10**6} megapixels.", field="image_base64") from None
    except UnidentifiedImageError:
        raise InvalidInput(
            f"Not an image that can be read. Send {', '.join(FORMATS)} or PDF.", field="image_base64"
        ) from None
    frames = getattr(image, "n_frames", 1)
    if frames > MAX_PAGES:
        raise TooLarge(f"The image has {frames} frames; at most {MAX_PAGES} in one call.", field="image_base64")
    for frame in range(frames):
        try:
            image.seek(frame)
            if image.width * image.height > MAX_PIXELS:
                raise TooLarge(
                    f"The image has {image.width * image.height // 10**6} megapixels; at most {MAX_PIXELS // 10**6}.",
                    field="image_base64",
                )
            yield _png(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, ValueError, EOFError):
            raise InvalidInput("The image is damaged: it ends or breaks in the middle.", field="image_base64") from None


def _png(image: object) -> bytes:
    from PIL import Image

    assert isinstance(image, Image.Image)  # noqa: S101  narrows the type for the reader and the checker
    out = io.BytesIO()
    (image if image.mode in ("L", "RGB") else image.convert("RGB")).save(out, "PNG", compress_level=1)
    return out.getvalue()
