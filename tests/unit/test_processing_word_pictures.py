"""Pictures of texts and slides, above all of DOC and RTF: which go to OCR, in which order, what a metafile wraps."""

from __future__ import annotations

import io
import struct

import docx
import pptx
import pytest

from servers.cradle.processing.extract.metafile import bitmap_file, bitmaps
from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import extracted
from tests.word_pictures import (
    DELETED,
    FORM_DATA,
    IN_STREAM,
    PICTURE,
    art,
    blip,
    dib,
    drawing,
    emf,
    entry,
    group,
    image,
    in_line,
    in_lines,
    opened,
    packed,
    picture_doc,
    said,
    shape,
    store,
    stretched,
    wmf,
)


def widths(found: Extraction) -> list[int]:
    """The scans, told by their width."""
    return [opened(scan.png).width for scan in found.scans]


def rtf(content: str, more: bytes = b"") -> Extraction:
    """What is read of a text of this content, and bytes after it."""
    head = r"{\rtf1\ansi\deff0{\fonttbl{\f0\fcharset2 Symbol;}}\pard "
    return extracted(f"{head}{content}".encode("latin-1") + more + b"\\par}", "a.rtf")


def pict(data: bytes, words: str = r"\pngblip", width: int = 64) -> str:
    """A picture of RTF, in lines of digits."""
    digits = data.hex()
    lines = " \n".join(digits[at : at + width] for at in range(0, len(digits), width))
    return rf"{{\pict{{\*\picprop{{\sp{{\sn a}}{{\sv 1}}}}}}\picw10{words} {{\*\blipuid ab12}}{lines}}}"


def test_pictures_in_the_line_of_a_doc_without_text_go_to_ocr_in_their_order() -> None:
    found = extracted(
        in_lines(
            in_line(art(0xF004, b"", 0, 15), entry(blip(image(31)), name=b"B\0")),
            in_line(blip(image(32, "JPEG"), 0xF01D, digests=2), kind=0x66, name=b"C:\\scan.jpg"),
            in_line(entry(blip(dib(33), 0xF01F))),
            in_line(entry(packed(emf(image(34, "BMP"))))),
            in_line(entry(packed(wmf(dib(35)), 0xF01B))),
            in_line(entry(blip(image(36, "TIFF"), 0xF029))),
            in_line(wmf(dib(37)), kind=8),
        ),
        "a.doc",
    )
    assert widths(found) == [31, 32, 33, 34, 35, 36, 37]
    assert {(scan.page, scan.source) for scan in found.scans} == {(0, "")}
    assert not found.attachments


def test_pictures_of_drawings_follow_their_anchors_wherever_they_are_stored() -> None:
    first, second = blip(image(41)), packed(emf(image(42, "BMP")))
    entries = (entry(blip(image(43))), entry(place=IN_STREAM + len(first)), entry(place=IN_STREAM), entry(blip(b"x")))
    drawings = store(*entries) + drawing(shape(7, 1), group(shape(8), shape(88, 2), group(shape(89, 3))), shape(9, 99))
    data = in_line(blip(image(44)))
    characters = {1: said((PICTURE, 0))}
    text = "\x08\x01\x08\x08\x08\r"
    found = extracted(picture_doc(text, characters, data, drawings, {0: 8, 2: 7, 3: 7, 4: 9}, first + second), "a.doc")
    assert widths(found) == [42, 41, 44, 43]


def test_a_picture_that_stands_twice_in_a_doc_is_read_once() -> None:
    picture = in_line(blip(image(31)))
    assert widths(extracted(in_lines(picture, picture, in_line(blip(image(32)))), "a.doc")) == [31, 32]
    assert widths(
        extracted(picture_doc("\x01\x01\r", dict.fromkeys((0, 1), said((PICTURE, 0))), picture), "a.doc")
    ) == [31]
    drawings = store(entry(place=IN_STREAM)) + drawing(shape(7, 1), shape(8, 1))
    found = extracted(picture_doc("\x08\x08\r", {}, b"", drawings, {0: 7, 1: 8}, blip(image(33))), "a.doc")
    assert widths(found) == [33]


def test_a_doc_with_text_of_its_own_gives_no_picture_to_ocr() -> None:
    picture = in_line(blip(image(31)))
    assert widths(extracted(picture_doc("\x01\r", {0: said((PICTURE, 0))}, picture), "a.doc")) == [31]
    found = extracted(picture_doc("\x01Text\r", {0: said((PICTURE, 0))}, picture), "a.doc")
    assert ([block.text for block in found.blocks], found.scans) == (["Text"], ())


def test_deleted_pictures_those_of_headers_and_the_data_of_forms_are_no_scans() -> None:
    pictures = [in_line(blip(image(width))) for width in (31, 32, 33, 34, 35)]
    places = [sum(map(len, pictures[:index])) for index in range(len(pictures))]
    more = [(DELETED, 1), (FORM_DATA, 1), (FORM_DATA, 0)]
    characters = {index: said((PICTURE, places[index]), each) for index, each in enumerate(more)}
    characters |= {4: said((PICTURE, places[3])), 6: said((PICTURE, places[4]))}
    doc = picture_doc("\x01\x01\x01\r\x01\r\x01\r", characters, b"".join(pictures), stories=(4, 0, 2, 0, 0, 2))
    assert widths(extracted(doc, "a.doc")) == [33, 35]


def test_a_damaged_picture_of_a_doc_is_said_and_the_others_are_read() -> None:
    cut = in_line(blip(image(31)[:60]))
    broken = in_line(art(0xF01A, bytes(16) + struct.pack("<I28xBB", 1000, 0, 0xFE) + b"no zlib", 0x3D4))
    found = extracted(in_lines(cut, broken, in_line(packed(emf(), size=2**31)), in_line(blip(image(32)))), "a.doc")
    assert widths(found) == [32]
    assert [(each.name, each.code) for each in found.attachments] == [
        ("picture-1", "damaged"), ("picture-2", "damaged"), ("picture-3", "zip_bomb")
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_the_bitmap_that_a_metafile_wraps_keeps_every_pixel(mode: str) -> None:
    file = image(37, "BMP", mode)
    wrapped = (emf(file), wmf(file[14:]), wmf(file[14:], placeable=True))
    for bitmap in (bitmap_file(file[14:]), *(each for metafile in wrapped for each in bitmaps(metafile))):
        assert opened(bitmap).convert("RGB").tobytes() == opened(file).convert("RGB").tobytes()
    assert [len(bitmaps(each)) for each in wrapped] == [1, 1, 1]


def test_a_bitmap_of_os_2_and_one_with_masks_of_colours_are_read() -> None:
    core = struct.pack("<IHHHH", 12, 2, 1, 1, 8) + bytes((0, 0, 255)) * 256 + bytes(4)
    assert opened(bitmap_file(core)).convert("RGB").getpixel((1, 0)) == (255, 0, 0)
    fields = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0)
    masked = fields + struct.pack("<III", 0xFF0000, 0xFF00, 0xFF) + struct.pack("<I", 0x0000FF00)
    assert opened(bitmap_file(masked)).convert("RGB").getpixel((0, 0)) == (0, 255, 0)


@pytest.mark.parametrize("mode", ["1", "RGB"])
@pytest.mark.parametrize("operations", [(0x008800C6, 0x00EE0086), (0x00EE0086, 0x008800C6), (0x008800C6, 0x00660046)])
def test_of_a_bitmap_with_holes_the_mask_is_no_scan(operations: tuple[int, int], mode: str) -> None:
    mask, drawn = image(32, "BMP", "1")[:-1] + b"\x55", image(32, "BMP", mode)
    first, second = stretched(mask, operations[0]), stretched(drawn, operations[1])
    assert bitmaps(emf()[:88] + first + second) == [drawn]
    assert len(bitmaps(emf()[:88] + first + stretched(image(33, "BMP"), operations[1]))) == 2
    assert len(bitmaps(emf(mask, drawn))) == 2


def test_a_drawing_without_a_bitmap_is_no_scan_and_nothing_is_said_of_it() -> None:
    found = extracted(in_lines(in_line(entry(packed(emf()))), in_line(blip(b"GIF89a" + bytes(50)))), "a.doc")
    assert (found.scans, found.attachments) == ((), ())


def test_pictures_of_an_rtf_without_text_go_to_ocr_in_their_order() -> None:
    shaped = r"{\shp{\*\shpinst\shpleft0{\sp{\sn pib}{\sv %s}}{\shptxt %s}}{\shprslt{\*\do %s}}}"
    jpeg = pict(image(32, "JPEG"), r"\jpegblip")
    found = rtf(
        pict(image(31))
        + rf"{{\*\shppict{jpeg}}}{{\nonshppict{pict(wmf(dib(91)))}}}"
        + shaped % (pict(image(33), width=61), pict(image(34)), pict(image(92)))
        + pict(emf(image(35, "BMP")), r"\emfblip")
        + pict(wmf(dib(36)), r"\wmetafile8")
        + pict(dib(37), r"\dibitmap0")
        + rf"{{\object\objemb{{\result {pict(image(38))}}}}}"
    )
    assert widths(found) == [31, 32, 33, 34, 35, 36, 37, 38]
    assert {(scan.page, scan.source) for scan in found.scans} == {(0, "")}
    assert not found.attachments


def test_a_picture_of_rtf_in_bytes_is_read_whatever_stands_in_it() -> None:
    picture = image(31, "BMP") + b"}}{{\\par"
    found = rtf("", rb"{\pict\dibitmap\bin%d " % len(picture) + picture + b"}" + pict(image(32)).encode())
    assert widths(found) == [31, 32]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "Text"),
        ("Text", ""),
        ("Text\\par ", ""),
        ("{\\header Kopf\\par}", ""),
        ("", "\\trowd\\cellx9 a\\cell\\row"),
    ],
)
def test_an_rtf_with_text_of_its_own_gives_no_picture_to_ocr(before: str, after: str) -> None:
    found = rtf(before + pict(image(31)) + after)
    assert (len(found.blocks), found.scans) == (1, ())


def test_an_rtf_gives_a_picture_once_and_none_that_is_deleted_or_beside_the_body() -> None:
    beside = "".join(rf"{{\{word} {pict(image(32))}}}" for word in ("header", "footerr", "footnote", "background"))
    found = rtf(pict(image(31)) + rf"{{\deleted {pict(image(33))}}}" + beside + pict(image(31)) + pict(image(34)))
    assert widths(found) == [31, 34]


def test_a_damaged_picture_of_rtf_is_said_and_a_drawing_is_not() -> None:
    found = rtf(pict(image(31)[:60]) + pict(emf(), r"\emfblip") + pict(b"", r"\wmetafile8") + pict(image(32)))
    assert widths(found) == [32]
    assert [(each.name, each.code) for each in found.attachments] == [("picture-1", "damaged")]


HEADING, TEXT = "Datenblatt Klemme", "Bemessungsstrom 32 A " * 6
LARGE, SMALL = image(25_000), image(24_999)


def texted(form: str, text: str, picture: bytes) -> Extraction:
    """What is read of a document of a line of text and a picture."""
    match form:
        case "doc":
            return extracted(picture_doc(f"\x01{text}\r", {0: said((PICTURE, 0))}, in_line(blip(picture))), "a.doc")
        case "rtf":
            return rtf(rf"{text}\par " + pict(picture))
        case "docx":
            made = docx.Document()
            made.add_paragraph(text)
            made.add_picture(io.BytesIO(picture))
        case _:
            made = pptx.Presentation()
            slide = made.slides.add_slide(made.slide_layouts[5])
            slide.shapes.title.text = text
            slide.shapes.add_picture(io.BytesIO(picture), 0, 0)
    made.save(out := io.BytesIO())
    return extracted(out.getvalue(), f"a.{form}")


@pytest.mark.parametrize("form", ["doc", "docx", "pptx", "rtf"])
def test_a_scan_below_a_heading_goes_to_ocr_and_a_logo_or_the_picture_of_a_text_does_not(form: str) -> None:
    found = texted(form, HEADING, LARGE)
    assert (len(found.blocks), [scan.stamped for scan in found.scans]) == (1, [True])
    assert not texted(form, HEADING, SMALL).scans
    assert not texted(form, TEXT, LARGE).scans
