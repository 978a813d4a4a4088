"""PPT of PowerPoint 97-2003: one that LibreOffice wrote, and what PowerPoint writes, made record by record (MS-PPT).

`tests/samples/schulung.ppt.gz` was written by LibreOffice 7.4 (`soffice --headless --convert-to ppt`) from two
slides of python-pptx. No file of PowerPoint itself was at hand.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Extraction, joined, parts
from tests.word_pictures import art, blip, entry, group, image, store

SAMPLE = Path(__file__).parents[1] / "samples" / "schulung.ppt.gz"
TITLE, BODY, OTHER = 0, 1, 4
ENCRYPTED = 0xF3D1C4DF


def holding(kind: int, *records: bytes, instance: int = 0) -> bytes:
    return art(kind, b"".join(records), instance, 15)


def text(content: str, kind: int = OTHER, *more: bytes, narrow: bool = False) -> bytes:
    """A text with its header, in UTF-16 or in the low bytes of it."""
    said = art(0xFA8, content.encode("latin-1")) if narrow else art(0xFA0, content.encode("utf-16-le"))
    return art(0xF9F, struct.pack("<I", kind)) + said + b"".join(more)


def shape(said: bytes = b"", box: tuple[int, ...] = (), placeholder: int = 0, properties: bytes = b"") -> bytes:
    inside = art(0xF00A, bytes(8)) + properties
    inside += art(0xF00F, struct.pack("<4i", *box)) if box else b""
    if placeholder:
        inside += holding(0xF011, art(0xBC3, struct.pack("<IBBH", 0, placeholder, 0, 0)))
    return holding(0xF004, inside, art(0xF00D, said, 0, 15) if said else b"")


def outline(index: int) -> bytes:
    return art(0xF9E, struct.pack("<I", index))


def slide(*shapes: bytes, notes: int = 0, kind: int = 0x3EE, more: bytes = b"") -> bytes:
    atom = art(0x3EF, struct.pack("<16xII", notes, 0)) if kind == 0x3EE else b""
    drawing = holding(0x40C, holding(0xF002, group(holding(0xF004), *shapes)))
    return holding(kind, atom, drawing, more)


def listed(kind: int, *slides: tuple[int, int, bytes]) -> bytes:
    """A list of slides (0) or notes (2): the number of each in the directory, its own number, and its texts."""
    atoms = (art(0x3F3, struct.pack("<I8xI4x", place, number)) + texts for place, number, texts in slides)
    return holding(0xFF0, *atoms, instance=kind)


def document(*records: bytes) -> bytes:
    return holding(0x3E8, *records)


def ppt(*edits: dict[int, bytes], token: int = 0, streams: dict[str, bytes] | None = None) -> bytes:
    """A file of edits, each writing records anew under their numbers; that of the document is 1."""
    stream, last = b"", 0
    for edit in edits:
        places = {}
        for number, record in edit.items():
            places[number] = len(stream)
            stream += record
        entries = b"".join(struct.pack("<II", 1 << 20 | number, place) for number, place in places.items())
        directory, stream = len(stream), stream + art(0x1772, entries)
        last, before = len(stream), last
        stream += art(0xFF5, struct.pack("<8xIII8x", before, directory, 1))
    user = art(0xFF6, struct.pack("<III", 20, token, last))
    return compound({"PowerPoint Document": stream, "Current User": user, **(streams or {})})


def extracted(data: bytes) -> Extraction:
    return joined(parts(read(*identify(data, "a.ppt"))))


def said(found: Extraction) -> list[tuple[str, str, int]]:
    return [(block.kind, block.text, block.page) for block in found.blocks]


def test_a_presentation_as_libreoffice_writes_it() -> None:
    found = extracted(gzip.decompress(SAMPLE.read_bytes()))
    assert (found.title, found.pages, found.dated) == ("Produktschulung", 2, "2013-01-27T09:15:58")
    assert said(found) == [
        ("heading", "Netzteile für Gehäuse", 1),
        ("list", "- 24 V\n- 10 A – größer", 1),
        ("paragraph", "Auf den Wirkungsgrad hinweisen.", 1),
        ("table", "Reihe | Wert\nNT | 24\nNT | 48", 2),
    ]
    assert not found.attachments


def test_texts_stand_in_the_document_or_the_shape_and_the_newest_edit_holds() -> None:
    texts = text("Netzteile für\rSchaltschränke", TITLE) + text("24 V\v10 A", BODY, narrow=True) + text("übrig", BODY)
    shapes = (
        shape(outline(1)),
        shape(outline(0)),
        shape(text("im Kasten *", OTHER, art(0xFD8, struct.pack("<I", 10)))),
        shape(text("Fußzeile"), placeholder=9),
    )
    comment = holding(0x1388, holding(0x138A, art(0x138B, holding(0x2EE0, *(
        art(0xFBA, word.encode("utf-16-le"), at) for at, word in enumerate(("K. Maier", "Bitte prüfen", "KM"))
    )))))  # fmt: skip
    order = listed(0, (3, 256, text("zuerst", TITLE)), (2, 257, texts))
    deck = {
        1: document(order, listed(2, (4, 900, b""))),
        2: slide(*shapes, notes=900, more=comment),
        3: slide(shape(text("alt"))),
        4: slide(shape(text("Sagen!", 2)), shape(text("*", OTHER, art(0xFD8, bytes(4)))), kind=0x3F0),
    }
    found = extracted(ppt(deck, {3: slide(shape(outline(0)), group(shape(text("in der Gruppe"))))}))
    assert found.pages == 2
    assert said(found) == [
        ("heading", "zuerst", 1),
        ("paragraph", "in der Gruppe", 1),
        ("heading", "Netzteile für Schaltschränke", 2),
        ("list", "- 24 V\n- 10 A", 2),
        ("paragraph", "im Kasten", 2),
        ("paragraph", "übrig", 2),
        ("paragraph", "Bitte prüfen", 2),
        ("paragraph", "Sagen!", 2),
    ]


def test_the_cells_of_a_table_are_put_where_they_stand() -> None:
    def cell(content: str, left: int, top: int, height: int = 10) -> bytes:
        return shape(text(content), (left, top, left + 10, top + height))

    mark = holding(0xF004, art(0xF122, struct.pack("<HI", 0x39F, 1), 1, 3))
    cells = (cell("48", 10, 20), cell("Volt", 10, 0), cell("NT", 0, 10, 20), cell("24", 10, 10), cell("Reihe", 0, 0))
    line, loose = shape(b"", (0, 0, 20, 0)), shape(text("ohne Platz"))
    shapes = (group(mark, *cells, line, loose), group(mark, line))
    table, rest = extracted(ppt({1: document(listed(0, (2, 256, b""))), 2: slide(*shapes)})).blocks
    assert (rest.kind, rest.text) == ("paragraph", "ohne Platz")
    assert (table.rows, table.header_rows) == ((("Reihe", "Volt"), ("NT", "24"), ("NT", "48")), 1)


def test_a_slide_that_is_a_picture_goes_to_ocr_and_an_embedded_sheet_to_its_reader() -> None:
    import xlwt

    book: Any = xlwt.Workbook()
    sheet = book.add_sheet("Preise")
    for row, cells in enumerate((("Artikelnummer", "Bezeichnung"), ("4712", "innen"))):
        for column, content in enumerate(cells):
            sheet.write(row, column, content)
    out = io.BytesIO()
    book.save(out)
    data = out.getvalue()
    stored = art(0x1011, struct.pack("<I", len(data)) + zlib.compress(data), 1)
    embedded = holding(0x409, holding(0xFCC, art(0xFC3, struct.pack("<16xII", 3, 0))))
    pictures = blip(image(31)) + blip(image(32))
    drawings = holding(0x40B, store(entry(place=0), entry(place=len(pictures) // 2)))
    shown = art(0xF00B, struct.pack("<HI", 0x4104, 2), 1, 3)
    deck = {1: document(drawings, listed(0, (2, 256, b"")), embedded), 2: slide(shape(properties=shown)), 3: stored}
    found = extracted(ppt(deck, streams={"Pictures": pictures}))
    assert [(struct.unpack_from(">I", scan.png, 16)[0], scan.page) for scan in found.scans] == [(32, 1)]
    assert [(each.article_number, each.source) for each in found.products] == [("4712", "object-1")]
    lying = art(0x1011, struct.pack("<I", 10) + zlib.compress(data), 1)
    assert [each.code for each in extracted(ppt({**deck, 3: lying})).attachments] == ["zip_bomb"]


@pytest.mark.requirement("F-13")
def test_a_protected_or_broken_presentation_says_why_it_was_not_read() -> None:
    order = listed(0, (2, 256, b""))
    whole = {1: document(order), 2: slide(shape(text("x")))}
    twice = {**whole, 1: document(listed(0, (2, 256, b""), (2, 257, b"")))}
    for data, code in (
        (ppt(whole, token=ENCRYPTED), "encrypted"),
        (ppt({1: document(order)}), "damaged"),
        (ppt(twice), "damaged"),
        (ppt({2: slide()}), "damaged"),
        (ppt({**whole, 2: holding(0x3EE)}), "damaged"),
        (ppt({**whole, 2: slide(shape(outline(0)))}), "damaged"),
        (compound({"PowerPoint Document": b"x" * 40, "Current User": b""}), "damaged"),
    ):
        with pytest.raises(Unreadable) as caught:
            extracted(data)
        assert caught.value.code == code
