"""Every format read from small files made here: what they say is found, in order, and nothing else."""

from __future__ import annotations

import csv
import email.message
import io
import json
import zipfile
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from servers.cradle.processing.extract import identify, note
from servers.cradle.processing.extract.column_names import role_of
from servers.cradle.processing.extract.delimited import delimiter
from servers.cradle.processing.extract.encoding import clean, decode
from servers.cradle.processing.extract.product_table import header_position
from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import extracted


def texts(extraction: Extraction) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in extraction.blocks]


def pdf_with_table() -> bytes:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_title("Datenblatt")
    pdf.add_page()
    pdf.set_font("Helvetica", size=20)
    pdf.cell(text="Netzteil NT 24", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=11)
    pdf.multi_cell(0, text="Das Netzteil liefert 24 V und 10 A. " * 6, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(6)
    with pdf.table() as table:
        for row in (
            ("Merkmal", "Wert", "Einheit"),
            ("Spannung", "24", "V"),
            ("Strom", "10", "A"),
            ("Gewicht", "0,8", "kg"),
        ):
            table.row(row)
    pdf.add_page()
    pdf.rect(20, 20, 50, 50, style="F")
    pdf.add_page()
    return bytes(pdf.output())


def test_a_pdf_gives_headings_paragraphs_and_tables_and_a_page_without_text_a_scan() -> None:
    found = extracted(pdf_with_table(), "a.pdf")
    assert (found.title, found.pages) == ("Datenblatt", 3)
    heading, paragraph, table = found.blocks
    assert (heading.kind, heading.text, heading.page) == ("heading", "Netzteil NT 24", 1)
    assert paragraph.text == " ".join(["Das Netzteil liefert 24 V und 10 A."] * 6)
    assert table.rows == (
        ("Merkmal", "Wert", "Einheit"), ("Spannung", "24", "V"), ("Strom", "10", "A"), ("Gewicht", "0,8", "kg")
    )  # fmt: skip
    assert table.header_rows == 1
    assert [(scan.page, scan.png[:4]) for scan in found.scans] == [(2, b"\x89PNG")]


def test_two_columns_of_prose_are_read_one_after_the_other() -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=9)
    left = "Links steht ein langer Satz, der hier beginnt und in dieser Spalte bis zum Ende weitergeht. " * 6
    right = "Rechts steht ein anderer Satz, der allein in der zweiten Spalte zu Hause ist und bleibt. " * 6
    pdf.multi_cell(85, text=left)
    pdf.set_xy(110, 10)
    pdf.multi_cell(85, text=right)
    text = "\n".join(block.text for block in extracted(bytes(pdf.output()), "a.pdf").blocks)
    assert text.replace("\n", " ").split() == (left + right).split()


def test_a_docx_gives_headings_lists_and_tables() -> None:
    from docx import Document

    document = Document()
    document.core_properties.title = "Anleitung"
    document.add_heading("Montage", level=1)
    document.add_paragraph("Die Klemme einrasten.")
    for text in ("Erstens", "Zweitens"):
        paragraph = document.add_paragraph(text)
        properties = paragraph._p.get_or_add_pPr()
        properties.get_or_add_numPr()
    table = document.add_table(rows=0, cols=2)
    for row in (("Größe", "Moment"), ("4 mm²", "0,6 Nm")):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.sections[0].footer.paragraphs[0].text = "Fußzeile"
    out = io.BytesIO()
    document.save(out)
    found = extracted(out.getvalue(), "a.docx")
    assert found.title == "Anleitung"
    assert texts(found) == [
        ("heading", "Montage"),
        ("paragraph", "Die Klemme einrasten."),
        ("list", "- Erstens\n- Zweitens"),
        ("table", "Größe | Moment\n4 mm² | 0,6 Nm"),
        ("paragraph", "Fußzeile"),
    ]


def test_styles_of_a_docx_have_what_those_have_that_they_are_based_on_and_merged_cells_fall_down() -> None:
    from docx import Document
    from docx.enum.style import WD_STYLE_TYPE

    document = Document()
    for name, base in (("Firma Titel", "Heading 2"), ("Firma Punkt", "List Bullet")):
        document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH).base_style = document.styles[base]
    document.add_paragraph("Montage", "Firma Titel")
    document.add_paragraph("Klemme", "Firma Punkt")
    document.add_paragraph("Schraube", "List Number")
    plain = document.add_paragraph("ohne Zeichen", "Firma Punkt")
    plain._p.get_or_add_pPr().get_or_add_numPr().get_or_add_numId().val = 0
    table = document.add_table(rows=4, cols=3)
    for row, cells in enumerate((("Reihe", "V", "A"), ("NT", "24", "5"), ("", "48", ""), ("", "", "7"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(3, 0).merge(table.cell(3, 1))
    out = io.BytesIO()
    document.save(out)
    found = extracted(out.getvalue(), "a.docx")
    assert [(block.kind, block.text, block.level) for block in found.blocks] == [
        ("heading", "Montage", 2),
        ("list", "- Klemme\n- Schraube", 0),
        ("paragraph", "ohne Zeichen", 0),
        ("table", "Reihe | V | A\nNT | 24 | 5\nNT | 48\n |  | 7", 0),
    ]


def test_rows_and_cells_of_a_docx_that_stand_in_content_controls_are_read() -> None:
    def wrapped(name: str, content: str) -> str:
        return f"<w:sdt><w:sdtContent><w:customXml>{content}</w:customXml></w:sdtContent></w:sdt>" if name else content

    def cell(text: str, name: str = "") -> str:
        return wrapped(name, f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>")

    nested = f"<w:tc><w:tbl><w:tr>{cell('D')}{cell('E')}</w:tr></w:tbl></w:tc>"
    rows = f"<w:tr>{cell('A')}{cell('B', 'cell')}</w:tr>" + wrapped("row", f"<w:tr>{cell('C')}{nested}</w:tr>")
    name = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {name}><w:body><w:tbl>{rows}</w:tbl></w:body></w:document>")
    (table,) = extracted(out.getvalue(), "a.docx").blocks
    assert table.rows == (("A", "B"), ("C", "D E"))


def workbook(**sheets: list[list[object]]) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_price_list_gives_products_and_every_other_row_a_table() -> None:
    rows = [
        ["Preisliste 2026", None, None, None, None],
        ["Artikel-Nr.", "EAN", "Bezeichnung", "Preis (EUR)", "Breite [mm]"],
        ["RK-4", "4099000010207", "Reihenklemme", 1234.5, 6.2],
        [None, None, "ohne Nummer", None, 3],
        ["RK-6", None, "Reihenklemme groß", 0.99, None],
    ]
    found = extracted(workbook(Preise=rows, Leer=[], Notiz=[["a", "b"], ["x", 1], ["y", 2]]), "a.xlsx")
    first, second = found.products
    assert (first.article_number, first.gtin, first.name) == ("RK-4", "4099000010207", "Reihenklemme")
    assert [(price.amount, price.currency) for price in first.prices] == [("1234.5", "EUR")]
    assert [(f.name, f.values[0].text, f.unit) for f in first.features] == [("Breite", "6.2", "mm")]
    assert second.article_number == "RK-6"
    assert found.pages == 3
    assert texts(found) == [
        ("heading", "Preise"),
        ("paragraph", "Preisliste 2026"),
        ("table", "Artikel-Nr. | EAN | Bezeichnung | Preis (EUR) | Breite [mm]\n |  | ohne Nummer |  | 3"),
        ("heading", "Leer"),
        ("heading", "Notiz"),
        ("table", "a | b\nx | 1\ny | 2"),
    ]


def test_every_row_of_a_long_sheet_is_read() -> None:
    rows = [["Artikelnummer", "Bezeichnung"], *([f"A-{i}", f"Teil {i}"] for i in range(5003))]
    found = extracted(workbook(Liste=rows), "a.xlsx")
    assert [product.article_number for product in found.products] == [f"A-{i}" for i in range(5003)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("sign", [";", ",", "\t"])
def test_a_csv_is_read_in_any_encoding_and_dialect_with_decimal_commas(encoding: str, sign: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=sign)
    writer.writerow(["Artikelnummer", "Bezeichnung", "Listenpreis in EUR", "Höhe"])
    for i in range(20):
        writer.writerow([f"Ü-{i}", f"Größe {i}; groß, rund", f"1.0{i:02},50", "7,5"])
    found = extracted(out.getvalue().encode(encoding), "a.csv")
    assert [product.article_number for product in found.products] == [f"Ü-{i}" for i in range(20)]
    product = found.products[3]
    assert (product.name, product.prices[0].amount) == ("Größe 3; groß, rund", "1003.50")
    assert product.features[0].values[0].text == "7,5"


def test_html_gives_structure_without_scripts() -> None:
    page = """<!doctype html><html lang="de-DE"><head><title>Über uns</title><style>p{}</style></head><body>
    <script>alert('Schadcode')</script><h1>Über <b>uns</b></h1><p>Ein Satz<br>und noch einer.</p>
    <ul><li>Eins<ul><li>Eins A</li></ul></li><li>Zwei</li></ul>
    <table><tr><th>Typ</th><th>Wert</th></tr><tr><td>A</td><td>1</td></tr></table>
    <div>Lose <span>Worte</span></div><!-- Kommentar --></body></html>"""
    found = extracted(page.encode(), "a.html")
    assert (found.title, found.language) == ("Über uns", "de")
    assert texts(found) == [
        ("heading", "Über uns"),
        ("paragraph", "Ein Satz"),
        ("paragraph", "und noch einer."),
        ("list", "- Eins\n- Eins A\n- Zwei"),
        ("table", "Typ | Wert\nA | 1"),
        ("paragraph", "Lose Worte"),
    ]
    assert found.blocks[4].header_rows == 1


def test_what_a_page_does_not_show_is_left_out_wherever_it_stands() -> None:
    gone = "<!-- geheim --><span hidden>geheim</span><svg><text>geheim</text></svg>"
    page = f"""<body>{gone}<p>A{gone}</p><h2>B{gone}</h2><ul><li>C{gone}</li>{gone}</ul><table><tr><td>D{gone}</td></tr>
    <tr hidden><td>geheim</td></tr></table></body>"""
    assert [text for _, text in texts(extracted(page.encode(), "a.html"))] == ["A", "B", "- C", "D"]


def test_a_cell_over_several_rows_keeps_the_others_in_their_columns() -> None:
    page = """<table><tr><th rowspan=2>Typ<th colspan=2>Maß</tr><tr><th>Gewinde<th>Länge</tr><tbody>
    <tr><td rowspan=0>A1<td>M6<td rowspan=2>20</tr><tr><td>M8</tr><tr><td>M10<td>30</tr></tbody>
    <tbody><tr><td>B<td rowspan=99999999999>M4</tr></tbody></table>"""
    (table,) = extracted(page.encode(), "a.html").blocks
    assert table.rows == (
        ("Typ", "Maß", ""),
        ("Typ", "Gewinde", "Länge"),
        ("A1", "M6", "20"),
        ("A1", "M8", "20"),
        ("A1", "M10", "30"),
        ("B", "M4"),
    )


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("cp1252", ""), ("cp1252", "utf-8"), ("cp1252", "bogus"), ("cp1252", "hex"), ("utf-8", ""), ("utf-8-sig", "utf-8"),
     ("utf-8", "utf-16"), ("utf-16", ""), ("utf-16", "utf-8"), ("cp850", "cp850"), ("cp1251", "windows-1251")],
)  # fmt: skip
def test_a_page_is_read_in_the_encoding_it_declares_and_else_as_any_text(encoding: str, declared: str) -> None:
    text = "Винт М8" if encoding == "cp1251" else "Rohr Ø 12 mm, Größe wählen, für Maße"
    meta = f"<meta charset={declared}>" if declared else ""
    found = extracted(f"<html><head>{meta}</head><body><p>{text}</p></body></html>".encode(encoding), "a.html")
    assert [block.text for block in found.blocks] == [text]


@pytest.mark.parametrize("charset", ["iso-8859-1", "latin1", "us-ascii"])
def test_bytes_that_latin_1_leaves_empty_are_read_as_windows_writes_them(charset: str) -> None:
    page = f"<meta charset={charset}><p>12,50 \x80 für \x84Geh\xe4use\x93, \x81".encode("latin-1")
    header = f"From: a@x.example\nSubject: Preis\nTo: b@x.example\nContent-Type: text/plain; charset={charset}\n\n"
    for data, name in ((page, "a.html"), (header.encode() + page.partition(b"<p>")[2], "a.eml")):
        assert extracted(data, name).blocks[-1].text == "12,50 € für „Gehäuse“, \x81"


def test_markdown_gives_headings_lists_and_tables() -> None:
    text = "# Titel\nEin Absatz\nüber zwei Zeilen.\n\n- eins\n- zwei\n\n| A | B |\n|---|---|\n| 1 | 2 |\n\n"
    text += "```\n# kein Titel\n```\n"
    found = extracted(text.encode(), "a.md")
    assert found.title == "Titel"
    assert texts(found) == [
        ("heading", "Titel"),
        ("paragraph", "Ein Absatz\nüber zwei Zeilen."),
        ("list", "- eins\n- zwei"),
        ("table", "A | B\n1 | 2"),
        ("paragraph", "```\n# kein Titel\n```"),
    ]


def mail(depth: int = 0) -> email.message.EmailMessage:
    message = email.message.EmailMessage()
    message["Subject"], message["From"], message["To"] = f"Auftrag {depth}", "a@x.example", "b@y.example"
    message.set_content("Guten Tag,\n\nhier die Liste.")
    message.add_alternative("<p>Guten Tag, hier die Liste.</p>", subtype="html")
    return message


def test_a_mail_gives_its_text_once_and_its_attachments_by_their_own_readers() -> None:
    message = mail()
    message.add_attachment(b"Artikelnummer;Preis\nA-1;2,50\n", maintype="text", subtype="csv", filename="preise.csv")
    message.add_attachment(b"%PDF-1.4 cut", maintype="application", subtype="pdf", filename="kaputt.pdf")
    inner = mail(1)
    inner.add_attachment(b"innen", maintype="text", subtype="plain", filename="innen.txt")
    message.add_attachment(inner)
    found = extracted(message.as_bytes(), "a.eml")
    assert found.title == "Auftrag 0"
    said = [block.text for block in found.blocks]
    assert said.count("hier die Liste.") == 2
    assert "innen" in said
    assert [(product.article_number, product.source) for product in found.products] == [("A-1", "preise.csv")]
    assert [(each.name, each.code) for each in found.attachments] == [
        ("preise.csv", ""),
        ("kaputt.pdf", ""),
        ("kaputt.pdf", "damaged"),
        ("attachment-3.eml", ""),
        ("innen.txt", ""),
    ]


def mixed(subject: str, *parts: tuple[str, str]) -> MIMEMultipart:
    message = MIMEMultipart("mixed")
    message["Subject"], message["From"], message["To"] = subject, "a@x.example", "b@y.example"
    for text, subtype in parts:
        message.attach(MIMEText(text, subtype, "utf-8"))
    return message


def test_every_text_of_a_mail_is_read_that_is_no_other_form_of_one() -> None:
    page = "<p>Der Preis ist 12,50 EUR.</p>"
    banner = mixed("Preise", ("Achtung: externe E-Mail.", "plain"), (page, "html"))
    assert texts(extracted(banner.as_bytes(), "a.eml"))[2:] == [
        ("paragraph", "Achtung: externe E-Mail."),
        ("paragraph", "Der Preis ist 12,50 EUR."),
    ]
    around = mixed("Um eine Liste", ("<p>davor</p>", "html"), ("a;b\n1;2\n", "csv"), ("<p>danach</p>", "html"))
    assert [(each.text, each.source) for each in extracted(around.as_bytes(), "a.eml").blocks[2:]] == [
        ("davor", ""),
        ("a | b\n1 | 2", "attachment-1.csv"),
        ("danach", ""),
    ]
    below = mixed("Mit Kopf", ("Achtung: externe E-Mail.", "plain"))
    below.attach(mail())
    said = [block.text for block in extracted(below.as_bytes(), "a.eml").blocks]
    assert said[2:] == ["Achtung: externe E-Mail.", "Guten Tag,", "hier die Liste."]


@pytest.mark.parametrize(
    "header",
    [
        f"To: undisclosed-recipients:;{' ' * 80}",
        f"X-Sender: M\xfcller\t{'x' * 90}",
        "Content-Type: multipart/mixed",
    ],
)
def test_a_forwarded_mail_with_a_malformed_header_is_read(header: str) -> None:
    inner = f"Subject: Angebot\r\n{header}\r\n\r\nAchtung: 5 \u00b0C\r\n"
    parts = f"--B\r\n\r\nSiehe unten.\r\n--B\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--B--\r\n"
    mail = f'From: a@b.example\r\nContent-Type: multipart/mixed; boundary="B"\r\n\r\n{parts}'
    said = [text for _, text in texts(extracted(mail.encode("latin-1"), "a.eml"))]
    assert said[:2] == ["From: a@b.example", "Siehe unten."]
    assert any(text == "Angebot" for text in said)
    assert any(text.startswith("Achtung: 5") for text in said)


def test_a_page_stands_where_the_plain_text_beside_it_is_empty() -> None:
    message = email.message.EmailMessage()
    message["Subject"], message["From"], message["To"] = "Leer", "a@x.example", "b@y.example"
    message.set_content(" \n")
    message.add_alternative("<p>Nur hier steht es.</p>", subtype="html")
    assert extracted(message.as_bytes(), "a.eml").blocks[-1].text == "Nur hier steht es."


@pytest.mark.parametrize("name", ["Inbox.mbox", "Posteingang"])
def test_every_mail_of_a_mailbox_is_read(name: str) -> None:
    box = b"".join(
        b"From - Mon Jan 01 00:00:00 2024\n" + mixed(subject, (text, "plain")).as_bytes() + b"\n\n"
        for subject, text in (("Eins", "Erste.\n\nFrom hier on: weiter"), ("Zwei", "Zweite.\nFrom here\nweiter"))
    )
    said = [block.text for block in extracted(box, name).blocks if not block.text.startswith("From: ")]
    assert said == ["Eins", "Erste.", "From hier on: weiter", "Zwei", "Zweite.\nFrom here\nweiter"]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_an_image_is_a_scan_and_each_frame_of_a_tiff_a_page(form: str) -> None:
    from PIL import Image

    out = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.new("L", (40, 30), 128)] * 2} if form == "TIFF" else {}
    Image.new("RGB", (40, 30), "white").save(out, form, **more)
    found = extracted(out.getvalue(), "a.bin")
    assert [scan.page for scan in found.scans] == ([1, 2, 3] if form == "TIFF" else [1])
    assert all(scan.png.startswith(b"\x89PNG") for scan in found.scans)


def test_other_xml_and_json_give_every_text_with_its_path() -> None:
    found = extracted(b'<?xml version="1.0"?><a n="1">vor <b>drin</b> nach</a>', "a.xml")
    assert texts(found) == [("paragraph", "a@n: 1\na: vor\na/b: drin\na: nach")]
    found = extracted(json.dumps({"a": {"b": [1, "zwei"]}, "c": None, "d": True}).encode(), "a.json")
    assert texts(found) == [("paragraph", "a.b: 1\na.b: zwei\nd: true")]
    rows = [{"sku": "A-1", "name": "Klemme", "price": 2.5}, {"sku": "A-2", "name": "Leuchte"}]
    found = extracted("\n".join(json.dumps(row) for row in rows).encode(), "a.jsonl")
    assert [(product.article_number, product.name) for product in found.products] == [
        ("A-1", "Klemme"),
        ("A-2", "Leuchte"),
    ]


def test_content_decides_over_the_extension_and_the_ledger_says_so() -> None:
    file, extractor = identify(pdf_with_table(), "bild.png")
    assert extractor.name == "pdf"
    assert note(file)[0] == "extension_mismatch"
    file, extractor = identify(b"Nur ein Text.", "a.pdf")
    assert (extractor.name, note(file)[0]) == ("text", "extension_mismatch")
    assert note(identify(b"Text", "a.txt")[0]) == ("", "")


@pytest.mark.requirement("I-04")
def test_hostile_unicode_becomes_text_that_can_be_stored() -> None:
    hostile = "a\x00b\u202ec\ud800d\u200be" + "e" + "\u0301" * 10_000 + "\r\nf\x1b"
    assert clean(hostile).encode() != b""
    assert "\x00" not in clean(hostile)
    assert decode(b"\xff\xfe\x00\xd8a\x00") == "\ufffda"
    assert decode(b"\x81gr\xfc\xdf") == "\x81grüß"


def test_the_delimiter_is_the_sign_that_gives_even_rows() -> None:
    assert delimiter("a;b;c\n1,5;2,5;3\n1;2;3,7") == ";"
    assert delimiter("a,b\n1,2") == ","
    assert delimiter("nur eine Spalte") == ","


def test_headers_are_known_in_german_and_english() -> None:
    known = {"Art.-Nr.": "article", "GTIN": "gtin", "Bruttopreis EUR": "price", "Item No.": "article", "Farbe": None}
    assert {header: role_of(header) for header in known} == known
    assert header_position([("Firma",), ("Artikelnr", "Preis"), ("1", "2")]) == 1
    assert header_position([("1", "2"), ("3", "4")]) is None
