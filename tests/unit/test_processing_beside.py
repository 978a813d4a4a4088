"""What texts and presentations hold beside running text: text boxes, charts, notes, pictures, files."""

from __future__ import annotations

import io

import docx
import pytest

from tests.office_rig import changed, part, related
from tests.tables_rig import extracted, texts

BOX = (
    '<w:p xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><w:r><mc:AlternateContent><mc:Choice>'
    "<w:drawing><w:txbxContent><w:p><w:r><w:t>{0}</w:t></w:r></w:p></w:txbxContent></w:drawing></mc:Choice>"
    "<mc:Fallback><w:pict><w:txbxContent><w:p><w:r><w:t>{0}</w:t></w:r></w:p></w:txbxContent></w:pict></mc:Fallback>"
    "</mc:AlternateContent></w:r></w:p>"
)
TABLE = b"Artikelnummer;Bezeichnung;Preis\n4711;Klemme;1,20\n4712;Schiene;3,40\n"


def document(*paragraphs: str, box: str = "", picture: bytes = b"") -> bytes:
    made = docx.Document()
    for text in paragraphs:
        made.add_paragraph(text)
    if box:
        made.element.body.insert(0, docx.oxml.parse_xml(BOX.format(box)))
    if picture:
        made.add_picture(io.BytesIO(picture))
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def png(grey: int = 255) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (300, 80), grey).save(out, "PNG")
    return out.getvalue()


def test_a_text_box_is_read_where_its_paragraph_holds_nothing_else() -> None:
    assert texts(extracted(document("Danach", box="Im Kasten"), "a.docx")) == ["Im Kasten", "Danach"]


def test_a_text_of_nothing_but_pictures_goes_to_ocr_and_one_with_words_does_not() -> None:
    assert len(extracted(document(picture=png()), "a.docx").scans) == 1
    assert not extracted(document("Ein Wort", picture=png()), "a.docx").scans


def test_a_text_saved_in_the_strict_form_reads_the_same() -> None:
    usual = docx.Document()
    usual.add_heading("Netzteile", 2)
    usual.add_table(2, 2).cell(1, 1).text = "24 V"
    out = io.BytesIO()
    usual.save(out)
    data = out.getvalue()
    main = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    names = ("word/document.xml", "word/styles.xml")
    strict = {
        name: part(data, name).replace(main, b"http://purl.oclc.org/ooxml/wordprocessingml/main") for name in names
    }
    assert main not in strict["word/document.xml"]
    found = extracted(changed(data, strict), "a.docx")
    assert found == extracted(data, "a.docx")
    assert [(block.kind, block.level) for block in found.blocks] == [("heading", 2), ("table", 0)]


def test_a_text_whose_main_part_is_numbered_is_read() -> None:
    data = document("Aus dem Browser")
    top = part(data, "_rels/.rels").replace(b"word/document.xml", b"word/document2.xml")
    rels = "word/_rels/document.xml.rels"
    renamed = {"word/document.xml": "word/document2.xml", rels: "word/_rels/document2.xml.rels"}
    assert texts(extracted(changed(data, {"_rels/.rels": top}, renamed), "a.docx")) == ["Aus dem Browser"]


def test_a_file_inside_a_text_is_read_by_its_own_reader() -> None:
    data = related(document("Siehe Liste"), "word/document.xml", "package", "embeddings/Preise.csv")
    found = extracted(changed(data, {"word/embeddings/Preise.csv": TABLE}), "a.docx")
    assert [(each.article_number, each.source) for each in found.products] == [
        ("4711", "Preise.csv"), ("4712", "Preise.csv")
    ]  # fmt: skip
    assert [(each.name, each.code) for each in found.attachments] == [("Preise.csv", "")]


def test_a_chart_of_a_text_says_its_values() -> None:
    chart = b'<c:chart xmlns:c="urn:c"><c:v>Umsatz</c:v><c:v>2.5</c:v></c:chart>'
    data = related(document("Siehe Bild"), "word/document.xml", "chart", "charts/chart1.xml")
    assert texts(extracted(changed(data, {"word/charts/chart1.xml": chart}), "a.docx")) == [
        "Siehe Bild",
        "Umsatz | 2.5",
    ]


RELS = "word/_rels/document.xml.rels"
NOTE = b'<w:footnotes xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:footnote><w:p><w:r>'
NOTE += b"<w:t>Fussnote</w:t></w:r></w:p></w:footnote></w:footnotes>"


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [("chart", b"", "damaged"), ("footnotes", b"<cut", "damaged"), ("package", b"\0" * 9, "unsupported_format")],
)
def test_a_damaged_part_costs_a_text_nothing_else_and_is_said(kind: str, content: bytes, code: str) -> None:
    data = changed(
        related(document("Text"), "word/document.xml", kind, "more/part1.bin"), {"word/more/part1.bin": content}
    )
    found = extracted(data, "a.docx")
    assert (texts(found), [(each.name, each.code) for each in found.attachments]) == (["Text"], [("part1.bin", code)])


@pytest.mark.parametrize("rels", [RELS, "_rels/.rels"])
def test_a_text_whose_relations_are_damaged_is_read(rels: str) -> None:
    found = extracted(changed(document("Text"), {rels: b"<cut", "word/footnotes.xml": NOTE}), "a.docx")
    assert texts(found) == ["Text", "Fussnote"]


def test_a_broken_picture_of_a_text_of_pictures_is_said_and_the_next_is_read() -> None:
    made = docx.Document()
    for value in (0, 255):
        made.add_picture(io.BytesIO(png(value)))
    out = io.BytesIO()
    made.save(out)
    found = extracted(changed(out.getvalue(), {"word/media/image1.png": b"\x89PNG\r\n\x1a\ncut"}), "a.docx")
    assert (len(found.scans), [each.code for each in found.attachments]) == (1, ["damaged"])


def test_styles_and_notes_are_found_under_the_names_that_the_text_gives_them() -> None:
    made = docx.Document()
    made.add_heading("Netzteile", 2)
    out = io.BytesIO()
    made.save(out)
    data = related(out.getvalue(), "word/document.xml", "footnotes", "footnotes2.xml")
    data = changed(
        data, {RELS: part(data, RELS).replace(b"styles.xml", b"styles2.xml")}, {"word/styles.xml": "word/styles2.xml"}
    )
    found = extracted(changed(data, {"word/footnotes2.xml": NOTE}), "a.docx")
    assert [(block.kind, block.level, block.text) for block in found.blocks] == [
        ("heading", 2, "Netzteile"), ("paragraph", 0, "Fussnote")
    ]  # fmt: skip


@pytest.mark.parametrize("gone", ["del", "moveFrom"])
@pytest.mark.parametrize("in_cell", [False, True])
def test_a_text_box_that_was_deleted_or_moved_away_is_not_read(gone: str, in_cell: bool) -> None:
    made = docx.Document()
    place = made.add_table(1, 1).cell(0, 0)._tc if in_cell else made.element.body
    box = (
        BOX.format("Weg")
        .replace("<w:r><mc:", f"<w:{gone}><w:r><mc:")
        .replace("Content></w:r>", f"Content></w:r></w:{gone}>")
    )
    place.insert(1, docx.oxml.parse_xml(box))
    out = io.BytesIO()
    made.save(out)
    assert "Weg" not in " ".join(texts(extracted(out.getvalue(), "a.docx")))


def test_an_equation_is_no_file_and_a_file_that_is_named_twice_is_one() -> None:
    data = related(document("Text"), "word/document.xml", "oleObject", "embeddings/oleObject1.bin")
    native = b"\xd0\xcf\x11\xe0" + "Equation Native".encode("utf-16-le")
    assert not extracted(changed(data, {"word/embeddings/oleObject1.bin": native}), "a.docx").attachments
    twice = related(
        related(document("Text"), "word/document.xml", "package", "a.csv"), "word/document.xml", "package", "b.csv"
    )
    rels = part(twice, RELS).replace(b"b.csv", b"a.csv").replace(b'Target="a.csv"', b'Target="document.xml"', 1)
    found = extracted(changed(twice, {RELS: rels, "word/a.csv": TABLE}), "a.docx")
    assert [each.name for each in found.attachments] == ["a.csv"]
    assert texts(found) == ["Text"]


def test_a_workbook_that_two_slides_name_is_read_once() -> None:
    from pptx import Presentation

    deck = Presentation()
    for title in ("Eins", "Zwei"):
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = title
    out = io.BytesIO()
    deck.save(out)
    data = out.getvalue()
    for number in (1, 2):
        data = related(data, f"ppt/slides/slide{number}.xml", "package", "../embeddings/Preise.csv")
    found = extracted(changed(data, {"ppt/embeddings/Preise.csv": TABLE}), "a.pptx")
    assert [each.article_number for each in found.products] == ["4711", "4712"]


def test_parts_come_in_the_order_of_their_numbers() -> None:
    data = document("Text")
    for number in (10, 2, 1):
        data = related(data, "word/document.xml", "chart", f"charts/chart{number}.xml")
        data = changed(data, {RELS: part(data, RELS).replace(b"rNew", b"r%d" % (900 + number))})
    charts = {f"word/charts/chart{n}.xml": f"<c><v>Bild {n}</v></c>".encode() for n in (1, 2, 10)}
    assert texts(extracted(changed(data, charts), "a.docx")) == ["Text", "Bild 1", "Bild 2", "Bild 10"]


def test_a_width_that_is_no_number_costs_a_table_nothing() -> None:
    made = docx.Document()
    made.add_table(1, 2).cell(0, 0).merge(made.tables[0].cell(0, 1)).text = "A"
    out = io.BytesIO()
    made.save(out)
    xml = part(out.getvalue(), "word/document.xml")
    assert b'gridSpan w:val="2"' in xml
    odd = changed(
        out.getvalue(), {"word/document.xml": xml.replace(b'gridSpan w:val="2"', 'gridSpan w:val="²"'.encode())}
    )
    assert texts(extracted(odd, "a.docx")) == ["A"]


@pytest.mark.parametrize(
    ("font", "code", "sign"), [("Symbol", "F057", "Ω"), ("Wingdings", "F0FC", "\uf0fc"), ("Symbol", "x", "")]
)
def test_a_sign_of_the_font_symbol_is_read_as_what_it_looks_like(font: str, code: str, sign: str) -> None:
    made = docx.Document()
    made.add_paragraph("100 ")
    symbol = f'<w:sym xmlns:w="{docx.oxml.ns.nsmap["w"]}" w:font="{font}" w:char="{code}"/>'
    made.paragraphs[0].runs[0]._r.append(docx.oxml.parse_xml(symbol))
    out = io.BytesIO()
    made.save(out)
    assert texts(extracted(out.getvalue(), "a.docx")) == [f"100 {sign}"]
