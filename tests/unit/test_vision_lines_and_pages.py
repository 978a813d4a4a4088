"""Lines from recognised pieces, and pages from files within their bounds."""

from __future__ import annotations

import io
import math

import pytest
from PIL import Image

from servers.cradle.vision.lines import Piece, group, skew, text
from servers.cradle.vision.pages import page_images
from shared.errors import InvalidInput, TooLarge


def piece(word: str, x: float, y: float, width: float = 100, turn: float = 0.0) -> Piece:
    """A piece of height 20 whose place and edges lie on a page turned by `turn` radians."""

    def turned(px: float, py: float) -> tuple[float, float]:
        return px * math.cos(turn) - py * math.sin(turn), px * math.sin(turn) + py * math.cos(turn)

    return Piece(
        word, 0.9, tuple(turned(*corner) for corner in ((x, y), (x + width, y), (x + width, y + 20), (x, y + 20)))
    )


def test_pieces_of_one_line_are_read_from_left_to_right() -> None:
    assert text([piece("rechts", 400, 11), piece("links", 10, 10), piece("unten", 10, 60)]) == "links rechts\nunten"


@pytest.mark.parametrize("degrees", [-3, 2, 3])
def test_a_skewed_page_keeps_its_lines(degrees: int) -> None:
    turn = math.radians(degrees)
    pieces = [piece(f"{row}.{column}", column * 600, row * 40, turn=turn) for row in range(4) for column in range(3)]
    assert [[each.text for each in line] for line in group(pieces)] == [
        [f"{row}.{column}" for column in range(3)] for row in range(4)
    ]
    assert skew(pieces) == pytest.approx(turn, abs=1e-6)


def test_a_page_without_text_is_empty() -> None:
    assert text([]) == ""


def image_bytes(kind: str, size: tuple[int, int] = (40, 30), frames: int = 1) -> bytes:
    out = io.BytesIO()
    first, *rest = [Image.new("RGB", size, (shade, 0, 0)) for shade in range(frames)]
    first.save(out, kind, **({"save_all": True, "append_images": rest} if rest else {}))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_every_listed_format_gives_one_png(kind: str) -> None:
    (png,) = page_images(image_bytes(kind))
    assert Image.open(io.BytesIO(png)).size == (40, 30)


def test_every_frame_of_a_tiff_is_a_page() -> None:
    assert len(list(page_images(image_bytes("TIFF", frames=3)))) == 3


@pytest.mark.requirement("I-06")
def test_an_oversize_image_is_refused_from_its_header() -> None:
    header_only = image_bytes("BMP", (8, 8))
    huge = header_only[:18] + (20_000).to_bytes(4, "little") + (20_000).to_bytes(4, "little") + header_only[26:]
    with pytest.raises(TooLarge, match="megapixels"):
        list(page_images(huge))


@pytest.mark.requirement("I-06")
@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(40), b"<svg/>", b"%PDF-1.7 cut"])
def test_what_is_no_listed_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        list(page_images(data))


def test_a_cut_image_is_refused_with_a_reason() -> None:
    with pytest.raises(InvalidInput, match="damaged"):
        list(page_images(image_bytes("PNG", (400, 300))[:200]))
