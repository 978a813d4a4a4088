"""Lines from recognised pieces, pages from files within their bounds, and what may be given to be read."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import struct
import typing
from typing import Any

import pytest
from PIL import Image

from servers.cradle.tools import vision
from servers.cradle.vision.layout import markdown, of_words, text
from servers.cradle.vision.lines import Piece, rows, skew
from servers.cradle.vision.pages import MAX_PAGES, page_images
from servers.cradle.vision.resources import contents_of, key_of
from servers.orchestrator.tools import models
from shared.contracts.vision import ResourceContents, VisionRequest, Word
from shared.errors import InvalidInput, TooLarge
from tests.vision_rig import png_header, tiff_of


def piece(word: str, x: float, y: float, width: float = 100, turn: float = 0.0) -> Piece:
    """A piece of height 20 whose place and edges lie on a page turned by `turn` radians."""

    def turned(px: float, py: float) -> tuple[float, float]:
        return px * math.cos(turn) - py * math.sin(turn), px * math.sin(turn) + py * math.cos(turn)

    return Piece(
        word, 0.9, tuple(turned(*corner) for corner in ((x, y), (x + width, y), (x + width, y + 20), (x, y + 20)))
    )


def test_pieces_of_one_line_are_read_from_left_to_right() -> None:
    assert text([piece("rechts", 400, 11), piece("links", 10, 10), piece("unten", 10, 35)]) == "links rechts\nunten"


@pytest.mark.parametrize("degrees", [-3, 2, 3])
def test_a_skewed_page_keeps_its_lines(degrees: int) -> None:
    turn = math.radians(degrees)
    pieces = [piece(f"{row}.{column}", column * 600, row * 40, turn=turn) for row in range(4) for column in range(3)]
    assert [[each.piece.text for each in row] for row in rows(pieces)] == [
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
    ((number, png),) = page_images(image_bytes(kind))
    assert number == 1
    assert Image.open(io.BytesIO(png)).size == (40, 30)


def test_what_is_transparent_or_has_16_bits_of_grey_is_seen_as_on_paper() -> None:
    clear, deep = Image.new("RGBA", (3, 1), (0, 0, 0, 0)), Image.new("I;16", (3, 1), 65535)
    clear.putpixel((1, 0), (0, 0, 0, 255))
    deep.putpixel((1, 0), 600)
    for image in (clear, deep):
        out = io.BytesIO()
        image.save(out, "PNG")
        ((_, png),) = page_images(out.getvalue())
        assert Image.open(io.BytesIO(png)).convert("L").tobytes() in (b"\xff\x00\xff", b"\xff\x02\xff")


def test_every_frame_of_a_tiff_is_a_page() -> None:
    assert len(list(page_images(image_bytes("TIFF", frames=3)))) == 3


@pytest.mark.requirement("I-06")
def test_an_image_over_forty_megapixels_is_refused_from_its_header() -> None:
    header_only = image_bytes("BMP", (8, 8))
    huge = header_only[:18] + (20_000).to_bytes(4, "little") + (20_000).to_bytes(4, "little") + header_only[26:]
    for image in (huge, png_header(8000, 5001)):
        with pytest.raises(TooLarge, match="megapixels"):
            list(page_images(image))
    with pytest.raises(InvalidInput, match="damaged"):  # its size is allowed, and only then is it decoded
        list(page_images(png_header(8000, 5000)))


@pytest.mark.requirement("I-06")
def test_the_size_is_refused_before_frames_are_decoded_to_reach_a_later_one() -> None:
    animated = (
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"fcTL", struct.pack(">IIIIIHHBB", 0, 8000, 5001, 0, 0, 1, 1, 0, 0)),
    )
    with pytest.raises(TooLarge, match="megapixels"):
        list(page_images(png_header(8000, 5001, *animated), "2"))


@pytest.mark.requirement("I-06")
@pytest.mark.parametrize(
    ("frames", "pages", "says"),
    [(MAX_PAGES + 1, None, "at most 200 in one call"), (10_000, None, "Split it"), (10_000, "1", "Split it")],
)
def test_an_image_of_very_many_frames_is_refused(frames: int, pages: str | None, says: str) -> None:
    with pytest.raises(TooLarge, match=says):
        list(page_images(tiff_of(frames), pages))


@pytest.mark.requirement("I-06")
@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a" + bytes(40), b"<svg/>", b"%PDF-1.7 cut", *map(image_bytes, ("GIF", "ICO", "PPM", "TGA", "PCX"))],
)
def test_what_is_no_listed_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        list(page_images(data))


@pytest.mark.requirement("I-06")
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF data
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PDF"])
def test_an_image_that_is_cut_or_has_a_wrong_byte_is_refused_with_a_reason_or_read(kind: str) -> None:
    data = pdf_of(2) if kind == "PDF" else image_bytes(kind, frames=2 if kind in ("TIFF", "WEBP") else 1)
    for at in range(1, len(data), 1 + len(data) // 100):
        for spoilt in (data[:at], data[:at] + b"\xff" + data[at + 1 :], data[:at] + b"\0" + data[at + 1 :]):
            with contextlib.suppress(InvalidInput):
                list(page_images(spoilt))


def test_a_cut_image_says_that_it_is_damaged() -> None:
    for cut in (20, 50, 200):
        with pytest.raises(InvalidInput, match="damaged"):
            list(page_images(image_bytes("PNG", (400, 300))[:cut]))


def pdf_of(pages: int) -> bytes:
    from fpdf import FPDF

    pdf = FPDF(unit="pt", format=(72, 36))
    for _ in range(pages):
        pdf.add_page()
    return bytes(pdf.output())


@pytest.mark.parametrize("data", [pdf_of(5), image_bytes("TIFF", frames=5)], ids=["pdf", "tiff"])
def test_only_the_wanted_pages_are_given_each_with_its_number(data: bytes) -> None:
    assert [number for number, _ in page_images(data, "2-4")] == [2, 3, 4]
    assert [number for number, _ in page_images(data, "5")] == [5]
    assert [number for number, _ in page_images(data, "4-")] == [4, 5]
    for wrong in ("6", "4-6", "4-2", "6-"):
        with pytest.raises(InvalidInput, match="There are 5 pages"):
            list(page_images(data, wrong))


def test_a_long_pdf_is_read_by_ranges() -> None:
    data = pdf_of(MAX_PAGES + 3)
    with pytest.raises(TooLarge, match="Name a range"):
        list(page_images(data))
    assert [number for number, _ in page_images(data, "202-203")] == [202, 203]


@pytest.mark.parametrize("pages", ["0", "-3", "1-0", "1,2", "123456", "1-2-3", "٣"])
def test_what_is_no_range_of_pages_is_refused(pages: str) -> None:
    with pytest.raises(ValueError, match="pages"):
        VisionRequest(image_base64="AAAA", pages=pages)


BLOB = base64.b64encode(b"an image").decode()


@pytest.mark.parametrize(
    "resource",
    [
        f"data:image/png;base64,{BLOB}", f"DATA:;name=a.png;BASE64,{BLOB}", {"uri": f"data:;base64,{BLOB}"},
        {"uri": "file:///etc/passwd", "mimeType": "image/png", "blob": BLOB},  # a name; what counts is in the blob
    ],
)  # fmt: skip
def test_a_resource_brings_its_contents(resource: Any) -> None:
    given = VisionRequest(resource=resource).resource
    assert given is not None
    assert contents_of(given) == b"an image"


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data", "https://example.com/a.png", "file:///etc/passwd", "/etc/passwd",
        "s3://customer-berg/a.png", "s3://customer-acme@evil/a.png", "bucket://customer-berg/a.png", "bucket:", "ui://a",
        "bucket:a.png?versionId=1", "s3://customer-acme", "gopher://[::1", "data", "",
    ],
)  # fmt: skip
def test_a_resource_of_any_other_place_is_not_resolved(uri: str) -> None:
    for resource in (uri, ResourceContents.model_construct(uri=uri)):
        assert contents_of(resource) is None
        with pytest.raises(InvalidInput, match="Nothing is fetched"):
            key_of(resource, "customer-acme")


def test_a_resource_that_is_no_base64_is_refused_and_one_of_the_own_bucket_is_named_by_its_key() -> None:
    for wrong in ("data:image/png,text", "data:image/svg+xml;utf8,<svg/>", "data:image/png;base64,@@@"):
        with pytest.raises(InvalidInput, match="base64"):
            contents_of(wrong)
    named = ("bucket:inbox/a%20b.png", "bucket:/inbox/a b.png", "s3://customer-acme/inbox/a b.png")
    assert {key_of(uri, "customer-acme") for uri in named} == {"inbox/a b.png"}


def test_orchestrator_and_cradle_read_the_same_with_the_same_arguments() -> None:
    class Offered:
        """What a server is offered."""

        def __init__(self) -> None:
            self.tools: dict[str, Any] = {}

        def tool(self, function: Any, **_: object) -> None:
            self.tools[function.__name__] = function

    def unused() -> Any:
        raise AssertionError("no tool is called here")

    cradle, orchestrator = Offered(), Offered()
    vision.register(typing.cast(Any, cradle), unused, lambda *_: None)
    models.register(orchestrator, unused)
    theirs, ours = (typing.get_type_hints(each.tools["ocr"], include_extras=True) for each in (cradle, orchestrator))
    assert {name: hint for name, hint in ours.items() if name != "customer_id"} == theirs
    assert set(theirs) - {"return"} == set(VisionRequest.model_fields)


def word(text: str, x: float, y: float, height: float = 20) -> Word:
    return Word(text=text, confidence=1, box=(x, y, x + 10 * len(text), y + height))


def test_words_become_headings_paragraphs_and_tables() -> None:
    words = [
        word("Datenblatt", 10, 10, 40),
        *(word(text, 10 + 110 * at, 80) for at, text in enumerate(("Die Klemme", "ist grau"))),
        word("und *klein*.", 10, 104),
        word("Neuer Absatz.", 10, 170),
        *(word(text, x, 230) for text, x in (("Größe", 10), ("Wert", 300))),
        *(word(text, x, 260) for text, x in (("Strom", 10), ("16 A", 300))),
        *(word(text, x, 290) for text, x in (("a|b", 10), ("2 V", 300))),
    ]
    assert markdown(of_words(words)) == (
        "## Datenblatt\n\nDie Klemme ist grau\nund \\*klein\\*.\n\nNeuer Absatz.\n\n"
        "| Größe | Wert |\n| --- | --- |\n| Strom | 16 A |\n| a\\|b | 2 V |"
    )
    assert markdown([]) == ""
