"""Images: the header decides whether they are opened; each frame is a page for OCR."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence

from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extraction import About, Item, Scan
from servers.cradle.processing.page_image import is_page, to_png
from shared.values import MAX_PIXELS

MAX_FRAMES = 500
_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
_CHANGED = {"transparency", "exif", "loop"}
"""What makes of a PNG's own bytes another picture than Pillow shows: clear pixels, a turn, or several frames."""
_DAMAGED = "The image is cut off or damaged. Send it again from its source."


class Image:
    name = "image"
    version = "3"
    media_types = frozenset(_FORMATS)

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """One scan a frame, as PNG.

        Raises:
            Unreadable: `image_too_large` and `too_many_pages` from the header alone, `damaged`.
        """
        del inner
        import PIL.Image

        # The bound is checked below, on every frame, and refuses; Pillow's own only warns.
        PIL.Image.MAX_IMAGE_PIXELS = None
        try:
            image = PIL.Image.open(io.BytesIO(file.data), formats=[_FORMATS[file.media_type]])
            frames = _frames(image)
            yield About(pages=len(frames))
            for page, index in enumerate(frames, 1):
                image.seek(index)
                check_size(*image.size)
                yield Scan(_png(image, file), page)
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, MemoryError):
            raise Unreadable("damaged", _DAMAGED) from None


def check_size(width: int, height: int) -> None:
    """Raises `Unreadable` (`image_too_large`) over 40 megapixels."""
    if width * height > MAX_PIXELS:
        megapixels = width * height // 1_000_000
        raise Unreadable(
            "image_too_large", f"The image has {megapixels} megapixels; {MAX_PIXELS // 1_000_000} is the limit."
        )


def _frames(image) -> Sequence[int]:
    """Where its pages are."""
    check_size(*image.size)
    count, frames = 0, []
    while True:
        try:
            image.seek(count)
        except EOFError:
            break
        check_size(*image.size)
        if is_page(image):
            frames.append(count)
        count += 1
        if count > MAX_FRAMES:
            raise Unreadable("too_many_pages", f"The image has more than {MAX_FRAMES} pages. Split it.")
    return frames or range(count)


def _png(image, file: File) -> bytes:
    import PIL.ImageOps

    image.load()
    if file.media_type == "image/png" and image.mode in ("L", "RGB") and not image.info.keys() & _CHANGED:
        return file.data
    return to_png(PIL.ImageOps.exif_transpose(image))
