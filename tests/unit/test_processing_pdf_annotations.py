"""Form fields, stamps, comments and files of a PDF: what a reader sees on its pages and beside them."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path

import pytest
from fpdf import FPDF

from servers.cradle.processing.children import ExtractionPool, Limits
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.pdf_annotations import Files
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.pdf_forms import MAX_ANNOTATIONS, MAX_WIDGETS
from servers.cradle.vision.pages import page_images
from tests.unit.test_processing_pdf_layout import extracted, texts

FONTS = b"/Resources<</Font<</F1 5 0 R/ZaDb 6 0 R>>>>"
DRAWN = b"/Type/XObject/Subtype/Form/BBox[0 0 100 15]" + FONTS
INVOICE = b'<?xml version="1.0"?><Invoice><ID>RE-4711</ID></Invoice>'
TABLE = b"Artikelnummer;Bezeichnung;Preis\n4711;Klemme;1,20\n4712;Schiene;3,40\n"


def stream(dictionary: bytes, content: bytes) -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (dictionary, len(content), content)


def writes(text: bytes, font: bytes = b"F1") -> bytes:
    """What draws a field, stamp or text."""
    return stream(DRAWN, b"q BT /%s 10 Tf 0 g 1 0 0 1 2 3 Tm (%s) Tj ET Q" % (font, text))


def page_with(content: str, *annotations: bytes, objects: tuple[bytes, ...] = (), resources: bytes = FONTS) -> bytes:
    """A PDF of one page; `annotations` are objects 7 onwards, `objects` follow them."""
    places = b" ".join(b"%d 0 R" % number for number in range(7, 7 + len(annotations)))
    body = (
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[%s]/DR<</Font<</F1 5 0 R>>>>/DA(/F1 10 Tf 0 g)>>>>" % places,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R%s/Annots[%s]>>" % (resources, places),
        stream(b"", content.encode("cp1252")),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/ZapfDingbats>>",
        *(b"<</Type/Annot%s>>" % each for each in annotations),
        *objects,
    )
    numbered = b"".join(b"%d 0 obj\n%s\nendobj\n" % each for each in enumerate(body, 1))
    return b"%PDF-1.4\n" + numbered + b"trailer\n<</Root 1 0 R>>\n%%EOF"


def listing(names: bytes, pdf: bytes) -> bytes:
    """The PDF with a list of attachments."""
    return pdf.replace(b"/Type/Catalog", b"/Type/Catalog/Names<</EmbeddedFiles<</Names[%s]>>>>" % names)


def labels(*texts: str) -> str:
    """Labels on the left, one below the other from 700 points on."""
    lines = "".join(f"1 0 0 1 50 {700 - 20 * row} Tm ({text}) Tj " for row, text in enumerate(texts))
    return f"BT /F1 10 Tf {lines}ET"


def field(row: int, entries: bytes, flags: int = 4) -> bytes:
    place = 697 - 20 * row
    return b"/Subtype/Widget%s/Rect[140 %d 240 %d]/F %d" % (entries, place, place + 15, flags)


PICTURE = stream(b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8", b"\x80")


def test_what_is_written_in_a_form_stands_beside_its_label() -> None:
    """The first field brings its own appearance, the second leaves it to the reader, the third is hidden."""
    pdf = page_with(
        labels("Bestellnummer", "Menge", "Farbe"),
        field(0, b"/FT/Tx/T(nr)/V(KL-4711)/AP<</N 10 0 R>>"),
        field(1, b"/FT/Tx/T(menge)/V(25)/DA(/F1 10 Tf 0 g)"),
        field(2, b"/FT/Tx/T(geheim)/V(GEHEIM)/AP<</N 11 0 R>>", flags=2),
        objects=(writes(b"KL-4711"), writes(b"GEHEIM")),
    )
    [table, rest] = extracted(pdf).blocks
    assert table.rows == (("Bestellnummer", "KL-4711"), ("Menge", "25"))
    assert rest.text == "Farbe"


def test_a_box_that_is_ticked_is_a_tick_and_the_other_nothing() -> None:
    box = b"/FT/Btn/T(%s)/V/%s/AS/%s/AP<</N<</Yes 9 0 R>>>>"
    pdf = page_with(
        labels("Express", "Teillieferung"),
        field(0, box % (b"a", b"Yes", b"Yes")),
        field(1, box % (b"b", b"Off", b"Off")),
        objects=(writes(b"4", b"ZaDb"),),
    )
    assert texts(pdf) == ["Express \N{HEAVY CHECK MARK}", "Teillieferung"]


def test_stamps_and_texts_are_read_where_they_stand_and_comments_after_the_page() -> None:
    pdf = page_with(
        labels("Angebot 26-0815"),
        b"/Subtype/Text/Contents(Preis noch offen)/Rect[300 600 320 620]/F 4",
        b"/Subtype/Stamp/Contents()/Rect[140 597 240 612]/F 4/AP<</N 11 0 R>>",
        b"/Subtype/Link/Contents(Verweis)/Rect[50 50 90 60]/F 4",
        b"/Subtype/Text/Contents(versteckt)/Rect[300 500 320 520]/F 2",
        objects=(writes(b"Freigegeben"),),
    )
    assert texts(pdf) == ["Angebot 26-0815", "Freigegeben", "Preis noch offen"]


def test_a_scan_that_lies_in_a_form_is_a_scan() -> None:
    form = stream(
        b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]/Resources<</XObject<</Im 8 0 R>>>>",
        b"q 595 0 0 842 0 0 cm /Im Do Q",
    )
    pdf = page_with(
        f"q /Fm Do Q {labels('Seite 1 von 1')}",
        objects=(form, PICTURE),
        resources=b"/Resources<</Font<</F1 5 0 R>>/XObject<</Fm 7 0 R>>>>",
    )
    found = extracted(pdf)
    assert [block.text for block in found.blocks] == ["Seite 1 von 1"]
    assert [scan.stamped for scan in found.scans] == [True]


def test_files_in_a_pdf_are_read_or_named_with_the_reason(tmp_path: Path) -> None:
    """A file that is pinned to a page lies in the document's list too: it is one."""
    (tmp_path / "preise.csv").write_bytes(TABLE)
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.cell(text="Rechnung 4711")
    pdf.embed_file(bytes=INVOICE, basename="factur-x.xml")
    pdf.embed_file(bytes=b"\0\1\2", basename="anlage.bin")
    pdf.file_attachment_annotation(str(tmp_path / "preise.csv"), 50, 50)
    found = extracted(bytes(pdf.output()))
    assert {(each.name, each.code) for each in found.attachments} == {
        ("factur-x.xml", ""), ("anlage.bin", "unsupported_format"), ("preise.csv", "")
    }  # fmt: skip
    assert len(found.attachments) == 3
    assert [(block.text, block.source) for block in found.blocks] == [
        ("Rechnung 4711", ""), ("Invoice/ID: RE-4711", "factur-x.xml")
    ]  # fmt: skip
    assert [each.article_number for each in found.products] == ["4711", "4712"]


def test_a_file_that_the_pdf_only_names_is_said_to_be_missing() -> None:
    pdf = page_with(labels("Angebot"), b"/Subtype/FileAttachment/Rect[50 50 60 60]/F 4/FS<</F(preise.csv)>>")
    [attachment] = extracted(pdf).attachments
    assert (attachment.name, attachment.code) == ("preise.csv", "not_a_file")


def test_a_page_of_countless_annotations_is_refused() -> None:
    pdf = page_with(labels("Angebot"), *[b"/Subtype/Link/Rect[0 0 1 1]"] * (MAX_ANNOTATIONS + 1))
    with pytest.raises(Unreadable, match="annotations"):
        extracted(pdf)


def test_the_page_that_a_vision_model_sees_shows_what_is_written_in_a_form() -> None:
    from PIL import Image

    filled = page_with(labels("Menge"), field(0, b"/FT/Tx/T(menge)/V(25)/DA(/F1 10 Tf 0 g)"))
    [(_, png)] = page_images(filled)
    page = Image.open(io.BytesIO(png)).convert("L")
    scale = 200 / 72
    beside = page.crop((int(140 * scale), int(130 * scale), int(240 * scale), int(146 * scale)))
    assert beside.getextrema()[0] < 64  # pyright: ignore[reportOperatorIssue]


def test_a_scan_whose_form_is_filled_goes_to_ocr_all_the_same() -> None:
    value = b"/FT/Tx/T(f%d)/V(Musterstrasse 12, 70173 Stuttgart)/DA(/F1 10 Tf 0 g)"
    pdf = page_with(
        "q 595 0 0 842 0 0 cm /Im Do Q",
        *(field(row, value % row) for row in range(5)),
        objects=(PICTURE,),
        resources=b"/Resources<</XObject<</Im 12 0 R>>>>",
    )
    found = extracted(pdf)
    assert len(found.blocks) == 5
    assert [scan.stamped for scan in found.scans] == [True]


def test_a_blank_page_with_a_drawn_stamp_is_still_a_scan() -> None:
    stamp = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 100 15]", b"0 0 50 10 re f")
    pdf = page_with("", b"/Subtype/Stamp/Rect[140 597 240 612]/F 4/AP<</N 8 0 R>>", objects=(stamp,))
    assert [scan.stamped for scan in extracted(pdf).scans] == [False]


@pytest.mark.parametrize(
    ("matrix", "size", "scans"), [(b"", 0, 0), (b"/Matrix[0.5 0 0 0.5 0 0]", 842, 0), (b"", 842, 1)]
)
def test_a_form_counts_with_the_images_in_it_where_they_lie(matrix: bytes, size: int, scans: int) -> None:
    """A page wrapped in a form with a logo, one whose image is made small by the form, and a scan."""
    form = stream(
        b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]%s/Resources<</XObject<</Im 8 0 R>>>>" % matrix,
        b"q 0.9 g 0 0 595 842 re f Q q %d 0 0 %d 0 0 cm /Im Do Q" % (size or 40, size or 20),
    )
    resources = b"/Resources<</Font<</F1 5 0 R>>/XObject<</Fm 7 0 R>>>>"
    pdf = page_with(f"q /Fm Do Q {labels('Produktkatalog')}", objects=(form, PICTURE), resources=resources)
    assert len(extracted(pdf).scans) == scans


def test_a_text_without_an_appearance_is_a_comment() -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.cell(text="Rechnung 4711")
    pdf.free_text_annotation("Bitte nachreichen", x=50, y=50, w=80, h=20)
    assert texts(bytes(pdf.output())) == ["Rechnung 4711", "Bitte nachreichen"]


def test_what_the_page_says_is_not_said_again_by_a_mark_but_by_a_note() -> None:
    """A marked text, a stamp and its words, a mark with words of its own, two that repeat a part of a word."""
    pdf = page_with(
        labels("Wichtiger Satz"),
        b"/Subtype/Highlight/Contents(Wichtiger\nSatz)/Rect[50 695 130 710]/F 4",
        b"/Subtype/Stamp/Contents(Genehmigt)/Rect[140 597 240 612]/F 4/AP<</N 13 0 R>>",
        b"/Subtype/Highlight/Contents(Preis?)/Rect[50 695 130 710]/F 4",
        b"/Subtype/Highlight/Contents(ichtiger)/Rect[50 695 130 710]/F 4",
        b"/Subtype/Highlight/Contents(Wichtig)/Rect[50 695 130 710]/F 4",
        b"/Subtype/Text/Contents(Satz)/Rect[50 695 130 710]/F 4",
        objects=(writes(b"Genehmigt"),),
    )
    assert texts(pdf) == ["Wichtiger Satz", "Genehmigt", "Preis?", "ichtiger", "Wichtig", "Satz"]


def test_what_is_not_for_the_screen_is_not_read() -> None:
    pdf = page_with(
        labels("Menge"),
        b"/Subtype/FreeText/Contents(NUR DRUCK)/Rect[140 597 240 612]/F 32/AP<</N 10 0 R>>",
        b"/Subtype/Text/Contents(NUR DRUCK)/Rect[140 597 240 612]/F 32",
        field(0, b"/FT/Tx/T(menge)/V(25)/DA(/F1 10 Tf 0 g)"),
        objects=(writes(b"NUR DRUCK"),),
    )
    assert texts(pdf) == ["Menge 25"]


@pytest.mark.parametrize("appearance", [b"", b"/AP<</N 8 0 R>>"])
def test_a_value_that_is_spread_over_cells_is_one_word(appearance: bytes) -> None:
    cells = b" ".join(b"1 0 0 1 %d 3 Tm (%c) Tj" % (10 * at, char) for at, char in enumerate(b"DE12345678"))
    value = b"/FT/Tx/T(iban)/V(DE12345678)/Ff 16777216/MaxLen 10/DA(/F1 10 Tf 0 g)"
    pdf = page_with(
        labels("IBAN"), field(0, value + appearance), objects=(stream(DRAWN, b"BT /F1 10 Tf 0 g %s ET" % cells),)
    )
    assert texts(pdf) == ["IBAN DE12345678"]


def test_a_reference_to_nothing_in_the_list_of_attachments_costs_that_one_alone() -> None:
    held = (b"<</Type/Filespec/F(preise.csv)/EF<</F 8 0 R>>>>", stream(b"/Type/EmbeddedFile", TABLE))
    found = extracted(listing(b"(a) 99 0 R (b) 7 0 R", page_with(labels("Wichtig"), objects=held)))
    assert [block.text for block in found.blocks if not block.source] == ["Wichtig"]
    assert [(each.name, each.code) for each in found.attachments] == [
        ("attachment-1", "not_a_file"),
        ("preise.csv", ""),
    ]


async def test_fields_without_number_are_read_and_shown_without_comparing_each_with_all() -> None:
    """Comparing took longer for them than a file may take. Those with an appearance of their own are read all the
    same."""
    plain = field(1, b"/FT/Tx/T(a)/V(x)")
    drawn = field(0, b"/FT/Tx/T(nr)/V(KL-4711)/AP<</N %d 0 R>>" % (8 + 4 * MAX_WIDGETS))
    pdf = page_with(labels("Nummer"), drawn, *[plain] * (4 * MAX_WIDGETS), objects=(writes(b"KL-4711"),))
    limits = Limits(seconds=8, seconds_per_mib=0)
    async with ExtractionPool(1, limits) as pool, contextlib.aclosing(pool.read(pdf, "a.pdf")) as reading:
        await anext(reading)
        said = [block.text async for part in reading if isinstance(part, Extraction) for block in part.blocks]
    assert said == ["Nummer KL-4711"]
    assert len(list(page_images(pdf))) == 1


class Refusing:
    """Lets nothing be unpacked."""

    left = 0

    def require(self, size: int) -> None:
        if size:
            raise Unreadable("zip_bomb", "")

    def __call__(self, data: bytes, name: str, depth: int):
        raise AssertionError("unpacked")


def test_the_size_of_a_file_in_a_pdf_is_asked_for_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    from pypdfium2 import PdfDocument, raw

    from servers.cradle.processing.extract.pdf_annotations import embedded_files

    content = stream(b"/Type/EmbeddedFile/Filter/FlateDecode", zlib.compress(bytes(10_000)))
    pdf = listing(b"(a) 7 0 R", page_with("", objects=(b"<</Type/Filespec/F(x.bin)/EF<</F 8 0 R>>>>", content)))
    asked: list[int] = []
    ask = raw.FPDFAttachment_GetFile
    monkeypatch.setattr(raw, "FPDFAttachment_GetFile", lambda *given: asked.append(given[2]) or ask(*given))
    document = PdfDocument(pdf)
    with pytest.raises(Unreadable):
        list(Files(0, Refusing()).read(embedded_files(document)))
    document.close()
    assert asked == [0]


def test_pinned_files_are_read_page_by_page_and_the_same_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The annotation is a direct object here: it is gone when the page's fields are written in."""
    from pypdfium2 import raw

    content = stream(b"/Type/EmbeddedFile", TABLE)
    pinned = b"<</Type/Annot/Subtype/FileAttachment/Rect[50 50 60 60]/F 4/FS<</F(preise.csv)/EF<</F 8 0 R>>>>>>"
    twice = b"<</Type/Annot/Subtype/FileAttachment/Rect[50 50 60 60]/F 4/FS 9 0 R>>"
    spec = b"<</Type/Filespec/F(preise.csv)/EF<</F 8 0 R>>>>"
    pdf = page_with(
        labels("Menge"), field(0, b"/FT/Tx/T(menge)/V(25)/DA(/F1 10 Tf 0 g)"), objects=(content, spec)
    ).replace(b"/Annots[7 0 R]", b"/Annots[7 0 R %s %s %s]" % (pinned, twice, twice))
    unpacked: list[int] = []
    ask = raw.FPDFAttachment_GetFile
    monkeypatch.setattr(raw, "FPDFAttachment_GetFile", lambda *given: unpacked.append(given[2]) or ask(*given))
    found = extracted(listing(b"(a) 9 0 R", pdf))
    assert [block.text for block in found.blocks if not block.source] == ["Menge 25"]
    assert [each.name for each in found.attachments] == ["preise.csv"]
    assert len([size for size in unpacked if size]) == 3
