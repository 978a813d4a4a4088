"""Pictures of sheets: of one with next to no text they go to OCR."""

from __future__ import annotations

import io
import struct

import olefile
import openpyxl
import xlwt
from openpyxl.drawing.image import Image

from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extraction import Extraction
from tests.office_rig import changed, opendocument
from tests.tables_rig import extracted
from tests.word_pictures import art, blip, entry, group, image, opened, shape, store

END, CONTINUED = 0x000A, 0x003C
PICTURES, DRAWING = 0x00EB, 0x00EC
PIECE = 2000


def widths(found: Extraction) -> list[tuple[int, int]]:
    """The scans, told by their width, each with its sheet."""
    return [(opened(scan.png).width, scan.page) for scan in found.scans]


def record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def in_pieces(kind: int, content: bytes) -> bytes:
    """The content in a record that others continue."""
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    return record(kind, pieces[0]) + b"".join(record(CONTINUED, each) for each in pieces[1:])


def old(pictures: bytes, *sheets: tuple[str, bytes]) -> bytes:
    """An XLS file with this store of pictures, and sheets, each with the text of its first cell and a drawing."""
    book, out = xlwt.Workbook(), io.BytesIO()
    for number, (text, _) in enumerate(sheets):
        book.add_sheet(f"Blatt {number}").write(0, 0, text)
    book.save(out)
    with olefile.OleFileIO(io.BytesIO(out.getvalue())) as container:
        stream = container.openstream("Workbook").read()
    ends, at = list[int](), 0
    while len(ends) <= len(sheets):
        kind, size = struct.unpack_from("<HH", stream, at)
        ends += [at] if kind == END else []
        at += 4 + size
    parts = [stream[start:end] for start, end in zip((0, *ends), (*ends, len(stream)), strict=True)]
    added = [in_pieces(PICTURES, pictures), *(drawn and in_pieces(DRAWING, drawn) for _, drawn in sheets), b""]
    whole = b"".join(part + more for part, more in zip(parts, added, strict=True))
    moved = 0
    for number, more in enumerate(added[:-2]):
        moved += len(more)
        place = stream.index(struct.pack("<I", ends[number] + 4), 0)
        whole = whole[:place] + struct.pack("<I", ends[number] + 4 + moved) + whole[place + 4 :]
    return compound({"Workbook": whole.ljust(4096, b"\0")})


def shows(*numbers: int) -> bytes:
    return art(0xF002, group(*(shape(1025 + number, number) for number in numbers)), version=15)


def test_pictures_of_sheets_with_next_to_no_text_go_to_ocr() -> None:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for title, text, width in (("Zeichnung", "", 40), ("Liste", "x" * 200, 41), ("Titel", "Massblatt", 42)):
        sheet = book.create_sheet(title)
        sheet["A1"] = text
        sheet.add_image(Image(io.BytesIO(image(width))), "A3")
    del book["Sheet"]
    book.save(out)
    assert widths(extracted(out.getvalue(), "a.xlsx")) == [(40, 1)]  # the last has a line, and a picture like a logo


def test_a_sheet_with_a_product_keeps_its_pictures() -> None:
    book, out = openpyxl.Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    for row in (("Artikelnummer", "Preis"), ("4711", "1,20")):
        sheet.append(row)
    sheet.add_image(Image(io.BytesIO(image(1000))), "A9")
    book.save(out)
    found = extracted(out.getvalue(), "a.xlsx")
    assert (len(found.products), len(found.scans)) == (1, 0)


def test_pictures_of_an_opendocument_sheet_go_to_ocr_and_what_an_object_looks_like_does_not() -> None:
    from odf import draw
    from odf.table import Shapes

    def fill(table) -> None:
        shapes = Shapes()
        picture, chart = draw.Frame(), draw.Frame()
        picture.addElement(draw.Image(href="Pictures/p.png"))
        chart.addElement(draw.Object(href="./Object 1"))
        chart.addElement(draw.Image(href="Pictures/q.png"))
        for frame in (picture, chart):
            shapes.addElement(frame)
        table.addElement(shapes)

    data = changed(opendocument(fill), {"Pictures/p.png": image(40), "Pictures/q.png": image(41)})
    assert widths(extracted(data, "a.ods")) == [(40, 1)]


def test_pictures_of_an_old_sheet_come_from_the_store_of_the_file_each_once() -> None:
    pictures = store(*(entry(blip(image(width))) for width in (40, 41, 42)))
    data = old(pictures, ("", shows(2, 1)), ("x" * 200, shows(3)), ("", shows(2, 3)), ("", b""))
    assert widths(extracted(data, "a.xls")) == [(41, 1), (40, 1), (42, 3)]


def test_a_picture_that_is_damaged_is_said_and_the_rest_is_read() -> None:
    pictures = store(entry(blip(image(40)[:60])), entry(blip(image(41))))
    found = extracted(old(pictures, ("", shows(1, 9)), ("", shows(2))), "a.xls")
    assert [each.code for each in found.attachments] == ["damaged"]
    assert widths(found) == [(41, 2)]
