"""Files that other programmes put into a document, as Windows, Office, Acrobat and LibreOffice store them."""

from __future__ import annotations

import io
import struct

import docx
import olefile
import openpyxl
import pytest
import xlwt

from servers.cradle.processing.extract.compound_file import Tree, compound
from servers.cradle.processing.extract.ole_object import NATIVE, Held, unpacked
from servers.cradle.processing.extraction import Extraction
from tests.office_rig import changed, part
from tests.office_rig import related as with_part
from tests.outlook_message import message
from tests.tables_rig import extracted
from tests.word_file import word_file

TABLE = b"Artikelnummer;Preis\r\n4711;1,20\r\n"
EMBEDDED, LINKED = 3, 1


def packed(data: bytes, name: str = "Preise grün.csv", kind: int = EMBEDDED, long: bool = True) -> bytes:
    """What Windows' packager writes: names in the code page, the file, the names in UTF-16."""
    short, place = name.encode("cp1252", "replace") + b"\0", b"C:\\Temp\\" + name.encode("cp1252", "replace") + b"\0"
    names = (f"C:\\Temp\\{name}", name, f"C:\\Temp\\{name}")
    wide = b"".join(struct.pack("<I", len(each)) + each.encode("utf-16-le") for each in names)
    held = struct.pack("<HHI", 0, kind, len(place)) + place + struct.pack("<I", len(data)) + data
    return b"\x02\0" + short + place + held + (wide if long else b"")


def native(content: bytes) -> Tree:
    return {NATIVE: struct.pack("<I", len(content)) + content, "\x01CompObj": bytes(70)}


def workbook() -> bytes:
    book, out = xlwt.Workbook(), io.BytesIO()
    sheet = book.add_sheet("Preise")
    for row, cells in enumerate((("Artikelnummer", "Preis"), ("4711", "1,20"))):
        for column, cell in enumerate(cells):
            sheet.write(row, column, cell)
    book.save(out)
    return out.getvalue()


def streams(data: bytes) -> Tree:
    with olefile.OleFileIO(io.BytesIO(data)) as file:
        return {path[0]: file.openstream(path).read() for path in file.listdir()}


def in_a_sheet(held: bytes) -> bytes:
    """A workbook in whose sheet an object lies."""
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active["A1"] = "Siehe Anlage"  # pyright: ignore[reportOptionalSubscript]
    book.save(out)
    named = b'<r><Relationship Id="r1" Type="x/oleObject" Target="../embeddings/oleObject1.bin"/></r>'
    rels = "xl/worksheets/_rels/sheet1.xml.rels"
    return changed(out.getvalue(), {"xl/embeddings/oleObject1.bin": held, rels: named})


def numbers(found: Extraction) -> dict[str, str]:
    """Article numbers, each with the file that it was found in."""
    return {each.article_number: each.source for each in found.products}


def told(found: Extraction) -> list[tuple[str, str]]:
    return [(each.name, each.code) for each in found.attachments]


def test_a_file_that_was_put_into_a_sheet_is_read_by_its_own_reader_under_its_own_name() -> None:
    found = extracted(in_a_sheet(compound(native(packed(TABLE)))), "a.xlsx")
    assert numbers(found) == {"4711": "Preise grün.csv"}
    assert told(found) == [("oleObject1.bin", ""), ("Preise grün.csv", "")]


@pytest.mark.parametrize("stream", ["Package", "EmbeddedOdf", "package_stream", "CONTENTS"])
def test_a_file_in_a_stream_of_its_own_is_read(stream: str) -> None:
    found = extracted(in_a_sheet(compound({stream: workbook(), "\x01Ole": bytes(20)})), "a.xlsx")
    assert numbers(found) == {"4711": "oleObject1.bin"}


def test_an_old_document_whose_streams_lie_in_a_text_is_read_with_what_is_embedded_in_it() -> None:
    innermost: Tree = {"ObjectPool": {"_1": native(packed(TABLE, "liste.csv"))}}
    pool: Tree = {"_7": streams(word_file("Innen\r", more=innermost)) | innermost, "_8": streams(workbook())}
    found = extracted(word_file("Außen\r", more={"ObjectPool": pool}), "a.doc")
    assert [(each.text, each.source) for each in found.blocks if each.kind == "paragraph"] == [
        ("Außen", ""), ("Innen", "object-1")
    ]  # fmt: skip
    assert told(found) == [("object-1", ""), ("liste.csv", ""), ("object-2", "")]
    assert len(found.products) == 2


@pytest.mark.parametrize("version", ["BIFF8", "BIFF5"])
def test_what_is_embedded_in_an_old_sheet_is_read(version: str) -> None:
    outer = dict(streams(workbook()))
    if version == "BIFF5":
        outer = {"Workbook": bytes(outer["Workbook"]).replace(b"\x09\x08\x10\0\0\x06", b"\x09\x08\x10\0\0\x05")}
    data = compound({**outer, "MBD0003A2C1": streams(word_file("Anleitung\r")), "MBD00000002": native(packed(TABLE))})
    found = extracted(data, "a.xls")
    assert told(found) == [("Preise grün.csv", ""), ("object-2", "")]
    assert [each.text for each in found.blocks if each.source == "object-2"] == ["Anleitung"]


def test_an_object_that_outlook_attached_is_read_and_a_message_stays_one() -> None:
    attached: dict[str, bytes | Tree] = {"Preise": native(packed(TABLE)), "Anfrage": message("Innen", "Text")}
    found = extracted(compound(message("Außen", "Siehe Anlage", attached)), "a.msg")
    assert told(found) == [("Preise grün.csv", ""), ("Anfrage", "")]
    assert numbers(found) == {"4711": "Preise grün.csv"}


def test_a_packed_file_in_rtf_is_read_under_its_own_name() -> None:
    held = packed(TABLE)
    names = b"".join(struct.pack("<I", len(name)) + name for name in (b"Package\0", b"", b""))
    digits = (struct.pack("<II", 0x501, 2) + names + struct.pack("<I", len(held)) + held).hex()
    text = rf"{{\rtf1\ansi Siehe {{\object\objemb{{\*\objclass Package}}{{\*\objdata {digits}}}}}\par}}"
    found = extracted(text.encode(), "a.rtf")
    assert told(found) == [("Preise grün.csv", "")]
    assert numbers(found) == {"4711": "Preise grün.csv"}


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (packed(TABLE, "größe.csv", long=False), Held(TABLE, "größe.csv")),
        (packed(TABLE, "Ω.csv"), Held(TABLE, "Ω.csv")),
        (packed(TABLE, r"D:\Daten\liste.csv", long=False), Held(TABLE, "liste.csv")),
        (packed(TABLE, kind=LINKED), None),
        (b"BM" + bytes(60), Held(b"BM" + bytes(60))),
        (packed(TABLE)[:40], Held(packed(TABLE)[:40])),
    ],
)
def test_what_the_packager_wrote_is_unpacked_and_what_it_did_not_is_the_file(content: bytes, held: Held | None) -> None:
    assert unpacked(content) == held


def test_equations_are_no_files_and_what_is_none_or_damaged_is_said() -> None:
    pool: Tree = {
        "_1": {"Equation Native": b"x" * 40}, "_2": {"\x01Ole": bytes(20)}, "_3": native(packed(TABLE, kind=LINKED)),
    }  # fmt: skip
    found = extracted(word_file("Text\r", more={"ObjectPool": pool}), "a.doc")
    assert told(found) == [("object-2", "unsupported_format"), ("object-3", "unsupported_format")]
    cut = compound({"Package": TABLE * 400})[:700]
    assert ("oleObject1.bin", "damaged") in told(extracted(in_a_sheet(cut), "a.xlsx"))
    assert told(extracted(in_a_sheet(compound({"\x01Ole": bytes(20)})), "a.xlsx")) == [
        ("oleObject1.bin", ""), ("oleObject1.bin", "unsupported_format")
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4095, 4096, 4097, 5_000_000])
def test_a_compound_file_has_the_streams_that_it_was_given(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    tree: Tree = {"eins": content[:size], "Ordner": {"zwei": content[: size // 2], "Innen": {"drei": b"3"}}}
    with olefile.OleFileIO(io.BytesIO(compound(tree)), raise_defects=olefile.DEFECT_INCORRECT) as file:
        assert file.openstream("eins").read() == content[:size]
        assert file.openstream(["Ordner", "zwei"]).read() == content[: size // 2]
        assert file.openstream(["Ordner", "Innen", "drei"]).read() == b"3"


def test_a_word_document_with_a_drawing_of_a_paint_programme_gives_it_to_ocr() -> None:
    from PIL import Image

    out, document = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (40, 20), "white").save(out, "BMP")
    docx.Document().save(document)
    data = changed(document.getvalue(), {"word/embeddings/oleObject1.bin": compound(native(out.getvalue()))})
    data = with_part(data, "word/document.xml", "oleObject", "embeddings/oleObject1.bin")
    assert part(data, "word/embeddings/oleObject1.bin")
    assert len(extracted(data, "a.docx").scans) == 1
