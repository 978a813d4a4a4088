"""Pages as images for OCR: of a PDF rendered, any image as PNG. Loads little: a process is started for each file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from shared.values import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 200


def rendered(page, *, grayscale: bool = False) -> Image:
    """A page of pdfium's in `DPI` dots an inch, in fewer where they were over `MAX_PIXELS`."""
    (width, height), scale = page.get_size(), DPI / 72
    if width * height * scale * scale > MAX_PIXELS:
        scale = (MAX_PIXELS / (width * height)) ** 0.5 * 0.99
    bitmap = page.render(scale=scale, grayscale=grayscale)
    try:
        return bitmap.to_pil().copy()  # the bitmap's memory goes with it
    finally:
        bitmap.close()


def is_page(image: Image) -> bool:
    """Whether the frame is one of its own: none that shows another in fewer pixels, as scanners keep for a look, or its
    mask (TIFF 6.0, NewSubfileType), and nothing that follows a phone's photo in its file, such as its depth."""
    if image.format == "MPO":
        return image.tell() == 0
    return not getattr(image, "tag_v2", {}).get(254, 0) & 0b101


def to_png(image: Image) -> bytes:
    """The image as an 8-bit grey or colour PNG on white, in few bytes and little time."""
    import PIL.Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        flat = PIL.Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image.convert("RGBA"))
        image = flat.convert("RGB")
    elif image.mode in ("1", "L", "F"):
        image = image.convert("L")
    elif image.mode.startswith("I"):  # 16 bits of grey, of which Pillow shows all above 255 as white
        image = image.point(lambda grey: grey * (1 / 256)).convert("L")
    else:
        image = image.convert("RGB")
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def smaller(png: bytes, side: int) -> bytes:
    """The page as a JPEG whose longer side has at most so many pixels."""
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(png), formats=["PNG"])
    image.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.convert("L" if image.mode in ("1", "L") else "RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


def turned(png: bytes, quarters: int) -> bytes:
    """The page turned counter-clockwise by so many quarters."""
    import PIL.Image

    return to_png(PIL.Image.open(io.BytesIO(png), formats=["PNG"]).rotate(90 * quarters, expand=True))
