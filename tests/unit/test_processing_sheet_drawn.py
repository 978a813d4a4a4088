"""Text boxes, charts and notes of XLS and OpenDocument sheets, and numbers with leading zeros."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
import olefile
import pytest
import xlwt

from servers.cradle.processing.extract import opc, open_objects
from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extract.sheet_notes import place
from servers.cradle.processing.extract.xls_drawn import Drawn, drawn
from servers.cradle.processing.extract.xls_records import passing, records
from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import extracted
from tests.xlsb_file import binary

BEGIN, END, CONTINUED = 0x0809, 0x000A, 0x003C
MANIFEST = "META-INF/manifest.xml"
SPACES = ("office", "table", "text", "form", "chart", "manifest")


def texts(found: Extraction) -> list[str]:
    return [block.text for block in found.blocks if block.kind == "paragraph"]


# XLS


def record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def shape(number: int, text: str, *pieces: bytes) -> bytes:
    """An object with a text, which `pieces` continue; in one of them where these are left out."""
    thing = record(0x00EC, bytes(8)) + record(0x005D, struct.pack("<HHHHH", 0x15, 0x12, 6, number, 0) + bytes(16))
    held = pieces or (b"\x01" + text.encode("utf-16-le"),)
    said = record(0x01B6, struct.pack("<HH6xHH4x", 0x12, 0, len(text.encode("utf-16-le")) // 2, 16))
    return thing + said + b"".join(record(CONTINUED, each) for each in (*held, bytes(16)))


def note(row: int, column: int, number: int) -> bytes:
    return record(0x001C, struct.pack("<HHHH", row, column, 0, number) + b"\x03\0\0Ich")


def chart(*content: bytes) -> bytes:
    return record(BEGIN, struct.pack("<HH12x", 0x0600, 0x20)) + b"".join(content) + record(END)


def named(text: str) -> bytes:
    return record(0x100D, b"\0\0" + bytes((len(text), 1)) + text.encode("utf-16-le"))


def value(number: float) -> bytes:
    return record(0x0203, struct.pack("<HHHd", 0, 0, 0, number))


def label(text: str) -> bytes:
    return record(0x0204, struct.pack("<HHHH", 0, 0, 0, len(text)) + b"\0" + text.encode("latin-1"))


def old(*more: bytes, rows: Sequence[Sequence[object]] = ()) -> bytes:
    """An XLS file whose last sheet ends with these records; a number with its format is a pair."""
    book, out = xlwt.Workbook(), io.BytesIO()
    book.add_sheet("Größen").write(0, 0, 7)
    sheet = book.add_sheet("Blatt")
    for at, row in enumerate(rows):
        for column, cell in enumerate(row):
            shown, code = cell if isinstance(cell, tuple) else (cell, "General")
            sheet.write(at, column, shown, xlwt.easyxf(num_format_str=code))
    book.save(out)
    with olefile.OleFileIO(io.BytesIO(out.getvalue())) as container:
        stream = container.openstream("Workbook").read()
    end = stream.rindex(record(END))
    return compound({"Workbook": (stream[:end] + b"".join(more) + record(END)).ljust(4096, b"\0")})


def on_sheet(*content: bytes) -> Drawn:
    return drawn(record(BEGIN, struct.pack("<HH12x", 0x0600, 0x10)) + b"".join(content) + record(END), 0)


def test_text_boxes_charts_and_notes_of_an_old_sheet_follow_its_rows() -> None:
    more = [shape(1, "Gilt ab Mai"), chart(named("Umsatz"), label("Mai"), value(1.2)), shape(2, "Preise netto\nFracht")]
    head, row = ("Artikelnummer", "Bezeichnung", "Preis EUR"), ("4711", "Klemme", 1.2)
    found = extracted(old(*more, note(1, 2, 1), rows=[head, row]), "a.xls")
    assert [(block.text, block.page) for block in found.blocks[-4:]] == [
        ("Blatt", 2), ("Preise netto\nFracht", 2), ("Umsatz | Mai | 1.2", 2), ("C2: Gilt ab Mai", 2)
    ]  # fmt: skip
    assert len(found.products) == 1


def test_a_chart_that_is_a_sheet_is_a_page_between_the_others() -> None:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        book.add_worksheet("Daten").write_row("A1", ["Mai", 1.5])
        chart = book.add_chart({"type": "bar"})
        chart.add_series({"name": "Umsatz", "categories": "=Daten!$A$1", "values": "=Daten!$B$1"})
        chart.set_title({"name": "Je Monat"})
        book.add_chartsheet("Bild").set_chart(chart)
        book.add_worksheet("Ende").write("A1", "Schluss")
    found = extracted(out.getvalue(), "a.xlsx")
    assert found.pages == 3
    assert [(block.text, block.page) for block in found.blocks[2:]] == [
        ("Bild", 2), ("Je Monat | Umsatz | Mai | 1.5", 2), ("Ende", 3), ("Schluss", 3)
    ]  # fmt: skip


def test_a_sheet_that_is_a_chart_gives_its_words_and_values() -> None:
    assert drawn(chart(named("Umsatz"), label("Mai"), value(1.2)), 0) == Drawn(charts=[["Umsatz", "Mai", "1.2"]])


def test_a_text_goes_on_in_records_that_have_signs_of_one_byte_or_two() -> None:
    first, second = "Größe ".encode("latin-1"), "Ω 漢字 ".encode("utf-16-le")
    text = "Größe Ω 漢字 ende"
    found = on_sheet(shape(1, text, b"\0" + first, b"\1" + second, b"\0ende"))
    assert found.boxes == [text]


def test_a_sign_that_two_records_share_is_read() -> None:
    wide = "𝛀".encode("utf-16-le")
    assert on_sheet(shape(1, "𝛀", b"\1" + wide[:2], b"\1" + wide[2:])).boxes == ["𝛀"]


def test_what_follows_a_text_is_none_of_it() -> None:
    after = record(CONTINUED, b"\0more") + record(0x00EC) + record(CONTINUED, b"\0more")
    assert on_sheet(shape(1, "", b"\0no"), shape(2, "Netto"), after).boxes == ["Netto"]
    cut = record(0x01B6, struct.pack("<HH6xHH4x", 0x12, 0, 9, 16)) + record(CONTINUED, b"\0Net")
    assert on_sheet(cut, record(0x00EC), record(CONTINUED, b"\0more")).boxes == ["Net"]


def test_texts_inside_a_chart_and_charts_of_no_words_are_none_of_the_sheet() -> None:
    found = on_sheet(chart(shape(1, "innen"), value(float("nan"))), shape(2, "Netto"))
    assert (found.boxes, found.charts) == (["Netto"], [])


def test_a_note_without_a_text_says_nothing_and_a_text_without_a_note_is_read() -> None:
    found = extracted(old(shape(1, "frei"), note(1, 2, 9)), "a.xls")
    assert texts(found)[-1] == "frei"


def test_what_is_drawn_on_a_damaged_sheet_ends_where_it_breaks() -> None:
    chars = [chart(named("Umsatz"), label("Mai"), value(1.2)), shape(1, "Netto"), shape(2, "Notiz"), note(1, 2, 2)]
    whole = record(BEGIN, struct.pack("<HH12x", 0x0600, 0x10)) + b"".join(chars) + record(END)
    draw, read = np.random.default_rng(711), 0
    for _ in range(3000):
        broken = bytearray(whole[: draw.choice((len(whole), draw.integers(len(whole))))])
        for _ in range(draw.choice((1, 3)) if broken else 0):
            broken[draw.integers(len(broken))] = draw.choice((0, 1, 0xFF, draw.integers(256)))
        found = drawn(bytes(broken), 0)
        read += len(found.boxes) + len(found.notes) + len(found.charts)
    assert read > 3000


def test_records_that_are_passed_are_none_of_others() -> None:
    cells = [
        record(0x00FD, bytes(10)),
        record(0x0203, bytes(14)),
        record(0x0006, bytes(255)),
        record(0x0006, bytes(256)),
    ]
    begin = record(BEGIN, struct.pack("<HH12x", 0x0600, 0x10))
    stream = begin + b"".join(cells) * 3 + note(0, 0, 1) + chart(cells[1]) + record(END)
    assert [kind for kind, *_ in records(stream, 0, passing(0x00FD, 0x0203, 0x0006))] == [
        BEGIN, *[0x0006] * 3, 0x001C, BEGIN, 0x0203, END
    ]  # fmt: skip
    assert [kind for kind, *_ in records(stream + bytes(99), 0)].count(0x00FD) == 3


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [(0, 0, "A1"), (9, 25, "Z10"), (0, 26, "AA1"), (0, 701, "ZZ1"), (65535, 16383, "XFD65536")],
)
def test_a_cell_is_called_as_its_sheet_calls_it(row: int, column: int, expected: str) -> None:
    assert place(row, column) == expected


# Leading zeros


@pytest.mark.parametrize("name", ["a.xls", "a.xlsb"])
def test_an_article_number_has_the_zeros_that_an_old_or_binary_sheet_shows(name: str) -> None:
    head, code = ("Artikelnummer", "Bezeichnung", "Wert"), "[$-407]00000"
    rows = [((471, "00000"), "K", (0.5, "000")), ((471, code), "M", (1234, "000")), ((0, "00"), "N", (-7, "000"))]
    found = extracted(old(rows=[head, *rows]) if name == "a.xls" else binary(head, *rows), name)
    assert [(each.article_number, each.features[0].values[0].text) for each in found.products] == [
        ("00471", "0.5"), ("00471", "1234"), ("00", "-7")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "text", "expected"),
    [
        ("float", "471", "00471", "00471"),
        ("float", "0", "00", "00"),
        ("float", "0", "0", "0"),
        ("float", "0.5", "0,50", "0.5"),
        ("float", "472", "00471", "472"),
        ("float", "-471", "00471", "-471"),
        ("float", "471", "471", "471"),
    ],
)
def test_an_article_number_has_the_zeros_that_an_opendocument_sheet_shows(
    kind: str, value: str, text: str, expected: str
) -> None:
    place = f'<table:table-cell office:value-type="{kind}" office:value="{value}">'
    cell = f"{place}<text:p>{text}</text:p></table:table-cell>"
    found = extracted(ods(HEAD, (said("4711"), said("K"), cell)), "a.ods")
    assert found.products[0].features[0].values[0].text == expected


# OpenDocument


def said(text: str, inside: str = "") -> str:
    return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p>{inside}</table:table-cell>'


HEAD = (said("Artikelnummer"), said("Bezeichnung"), said("Wert"))
BOX = "<draw:frame><svg:title>nein</svg:title><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>"
FORM = "<draw:custom-shape><text:p>{}</text:p><draw:enhanced-geometry/></draw:custom-shape>"
NOTE = "<office:annotation><dc:creator>Ich</dc:creator><text:p>{}</text:p></office:annotation>"


def spaces() -> str:
    here = "urn:oasis:names:tc:opendocument:xmlns:"
    known = {each: f"{here}{each}:1.0" for each in SPACES} | {"draw": f"{here}drawing:1.0"}
    known |= {"svg": f"{here}svg-compatible:1.0", "xlink": "http://www.w3.org/1999/xlink", "dc": "urn:dc"}
    return " ".join(f'xmlns:{short}="{long}"' for short, long in known.items())


def document(body: str) -> str:
    return f"<office:document-content {spaces()}><office:body>{body}</office:body></office:document-content>"


def ods(*rows: Sequence[str], before: str = "", parts: Mapping[str, str | bytes] = {}) -> bytes:
    """A file of the sheet `Blatt`, whose table begins with `before`."""
    lines = "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in rows)
    sheet = f'<table:table table:name="Blatt">{before}{lines}</table:table>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", document(f"<office:spreadsheet>{sheet}</office:spreadsheet>"))
        for name, content in {MANIFEST: listed(), **parts}.items():
            archive.writestr(name, content)
    return out.getvalue()


def listed(entry: str = "") -> str:
    """The list of what a file holds."""
    return f"<manifest:manifest {spaces()}>{entry}</manifest:manifest>"


def test_a_shape_on_a_cell_is_read_beside_the_sheet_and_is_no_text_of_the_cell() -> None:
    group = f"<draw:g>{FORM.format('Form')}<draw:a>{BOX.format('Kasten')}</draw:a></draw:g>"
    row = (said("47<text:span>11</text:span>", group + NOTE.format("Gilt ab Mai")), said("K"), said("x"))
    shapes = f"<table:shapes>{FORM.format('Frei</text:p><text:p>Fracht')}</table:shapes>"
    found = extracted(ods(HEAD, row, before=shapes), "a.ods")
    assert [product.article_number for product in found.products] == ["4711"]
    assert texts(found) == ["Frei\nFracht", "Form", "Kasten", "A2: Gilt ab Mai"]


def test_a_cell_that_has_nothing_but_a_shape_is_empty() -> None:
    empty = f'<table:table-cell office:value-type="string">{FORM.format("Form")}</table:table-cell>'
    found = extracted(ods(HEAD, (said("4711"), empty, said("x"))), "a.ods")
    assert [(product.article_number, product.name) for product in found.products] == [("4711", "4711")]


def test_the_text_of_a_cell_under_a_shape_has_its_spaces_tabs_and_lines() -> None:
    text = 'A<text:s text:c="2"/>B<text:s/>C<text:tab/>D<text:line-break/>E<text:s text:c="99999999"/>F'
    found = extracted(ods((said("a"), said("b")), (said(text, FORM.format("Form")), said("c"))), "a.ods")
    assert found.blocks[1].rows[1][0] == f"A  B C\tD\nE{' ' * 255}F"


def test_a_number_under_a_shape_keeps_its_unit() -> None:
    cell = '<table:table-cell office:value-type="float" office:value="24"><text:p>24 V</text:p>{}</table:table-cell>'
    found = extracted(ods(HEAD, (said("4711"), said("K"), cell.format(FORM.format("Form")))), "a.ods")
    assert [(each.values[0].text, each.unit) for each in found.products[0].features] == [("24", "V")]


def test_a_button_of_an_opendocument_sheet_says_its_label() -> None:
    form = '<office:forms><form:form><form:button form:id="c1" form:label="Drucken"/></form:form></office:forms>'
    found = extracted(
        ods(HEAD, before=f'{form}<table:shapes><draw:control draw:control="c1"/></table:shapes>'), "a.ods"
    )
    assert texts(found)[-1] == "Drucken"


def embedding(kind: str, name: str = "Object 1") -> tuple[str, dict[str, str | bytes]]:
    """A frame with an object, and the list of what the file holds."""
    kind = f"application/vnd.oasis.opendocument.{kind}"
    entry = f'<manifest:file-entry manifest:full-path="{name}/" manifest:media-type="{kind}"/>'
    frame = f'<draw:frame><draw:object xlink:href="./{name}"/><draw:image xlink:href="./x"/></draw:frame>'
    return frame, {MANIFEST: listed(entry)}


def test_a_chart_of_an_opendocument_sheet_says_its_titles_and_values() -> None:
    frame, parts = embedding("chart")
    cells = [f'<table:table-cell office:value="{n}"><text:p>{n}</text:p></table:table-cell>' for n in ("1.2", "NaN")]
    chart = f"<chart:chart><chart:title><text:p>Umsatz</text:p></chart:title>{''.join(cells)}</chart:chart>"
    parts["Object 1/content.xml"] = document(f"<office:chart>{chart}</office:chart>")
    found = extracted(ods(HEAD, (said("4711", frame), said("K", frame)), parts=parts), "a.ods")
    assert texts(found)[-1] == "Umsatz | 1.2"
    parts["Object 1/content.xml"] = "<cut"
    told = extracted(ods(HEAD, (said("4711", frame), said("K", frame)), parts=parts), "a.ods")
    assert [(each.name, each.code) for each in told.attachments] == [("content.xml", "damaged")]
    assert len(told.products) == 1


def test_a_sheet_inside_an_opendocument_sheet_is_read_by_its_own_reader() -> None:
    frame, parts = embedding("spreadsheet")
    inner = zipfile.ZipFile(io.BytesIO(ods(HEAD, (said("4712"), said("innen"), said("x"))))).read("content.xml")
    data = ods(HEAD, (said("4711", frame), said("K"), said("x")), parts={**parts, "Object 1/content.xml": inner})
    found = extracted(data, "a.ods")
    assert [(each.article_number, each.source) for each in found.products] == [("4711", ""), ("4712", "Object 1")]


def test_a_file_of_another_program_inside_an_opendocument_sheet_is_read_by_its_own_reader() -> None:
    frame = '<draw:frame><draw:object-ole xlink:href="./Preise.csv"/></draw:frame>'
    table = b"Artikelnummer;Bezeichnung\n4712;innen\n"
    found = extracted(ods(HEAD, (said("4711", frame), said("K")), parts={"Preise.csv": table}), "a.ods")
    assert [(each.article_number, each.source) for each in found.products] == [("4711", ""), ("4712", "Preise.csv")]


def test_a_formula_of_mathematics_is_no_file_and_a_document_that_nobody_reads_is_said() -> None:
    for kind, codes in (("formula", []), ("database", ["unsupported_format"])):
        frame, parts = embedding(kind)
        data = ods(HEAD, (said("4711", frame),), parts={**parts, "Object 1/content.xml": document("")})
        assert [each.code for each in extracted(data, "a.ods").attachments] == codes


def test_an_embedded_document_that_is_too_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opc, "MAX_FILE", 100)
    frame, parts = embedding("spreadsheet")
    data = ods(HEAD, (said("4711", frame), said("K")), parts={**parts, "Object 1/content.xml": "x" * 101})
    found = extracted(data, "a.ods")
    assert [(each.name, each.code) for each in found.attachments] == [("Object 1", "zip_bomb")]
    assert len(found.products) == 1
    assert open_objects.opc is opc
