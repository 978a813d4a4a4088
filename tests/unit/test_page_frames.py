"""Image files of several frames, and PNGs that show another picture than their bytes: both ways to a page agree."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from servers.cradle.processing.extraction import Scan
from servers.cradle.vision.pages import page_images
from tests.tables_rig import extracted

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def tiff(*, small: int) -> bytes:
    """A fax of two pages, the first with a small picture of it (NewSubfileType) or a mask."""
    first, look, second = (Image.new("1", size, 1) for size in ((200, 300), (20, 30), (200, 290)))
    told = ImageFileDirectory_v2()
    told[254] = small
    look.encoderinfo = {"tiffinfo": told}
    return saved(first, "TIFF", compression="group4", save_all=True, append_images=[look, second])


def turned() -> bytes:
    told = Image.Exif()
    told[Base.Orientation] = 6
    return saved(Image.new("RGB", (30, 60), RED), "PNG", exif=told)


FILES = {
    "a phone's photo and its depth": (
        saved(Image.new("RGB", (60, 30), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (60, 30), BLUE)]),
        [((60, 30), (254, 0, 0))],
    ),
    "a look at a page": (tiff(small=1), [((200, 300), 255), ((200, 290), 255)]),
    "a mask of a page": (tiff(small=4), [((200, 300), 255), ((200, 290), 255)]),
    "an animation": (
        saved(Image.new("RGB", (9, 9), RED), "PNG", save_all=True, append_images=[Image.new("RGB", (9, 9), BLUE)]),
        [((9, 9), RED), ((9, 9), BLUE)],
    ),
    "a turned PNG": (turned(), [((60, 30), RED)]),
    "a PNG with a clear colour": (
        saved(Image.new("RGB", (9, 9)), "PNG", transparency=(0, 0, 0)), [((9, 9), (255, 255, 255))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_each_page_of_an_image_file_is_one_page_as_it_is_seen(case: str) -> None:
    data, expected = FILES[case]
    for pages in (
        [png for _, png in page_images(data)],
        [item.png for item in extracted(data, "scan").flow if isinstance(item, Scan)],
    ):
        seen = [Image.open(io.BytesIO(png), formats=["PNG"]) for png in pages]
        assert [(each.size, each.getpixel((5, 5))) for each in seen] == expected
