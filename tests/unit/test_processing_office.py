"""PPTX, XLS, ODS, MSG and merged cells, each file written by a library that knows nothing of the reader."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from typing import Any

import pytest

from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.json import RECORDS
from servers.cradle.processing.extract.merged import Merge, unmerged
from servers.cradle.processing.extraction import Extraction
from tests.office_rig import changed, opendocument
from tests.outlook_message import message
from tests.tables_rig import extracted


def texts(extraction: Extraction) -> list[tuple[str, str, int]]:
    return [(block.kind, block.text, block.page) for block in extraction.blocks]


def picture(text: str = "", form: str = "PNG") -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (300, 80), "white")
    ImageDraw.Draw(image).text((10, 30), text, fill="black")
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def test_a_presentation_gives_every_slide_with_title_list_table_chart_and_notes() -> None:
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    deck = Presentation()
    deck.core_properties.title = "Produktschulung"
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Netzteile"
    first.placeholders[1].text = "24 V\n10 A"
    first.notes_slide.notes_text_frame.text = "Auf den Wirkungsgrad hinweisen."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    table = second.shapes.add_table(3, 2, Inches(1), Inches(1), Inches(4), Inches(2)).table
    for row, cells in enumerate((("Reihe", "Wert"), ("NT", "24"), ("", "48"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()
    data.categories = ["2025", "2026"]
    data.add_series("Umsatz", (1.5, 2.5))
    box = (Inches(1), Inches(4), Inches(4), Inches(2))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *box, data)
    third = deck.slides.add_slide(deck.slide_layouts[6])
    third.shapes.add_picture(io.BytesIO(picture("Scan")), 0, 0)
    out = io.BytesIO()
    deck.save(out)
    found = extracted(out.getvalue(), "a.pptx")
    assert (found.title, found.pages) == ("Produktschulung", 3)
    assert texts(found) == [
        ("heading", "Netzteile", 1),
        ("list", "- 24 V\n- 10 A", 1),
        ("paragraph", "Auf den Wirkungsgrad hinweisen.", 1),
        ("table", "Reihe | Wert\nNT | 24\nNT | 48", 2),
        ("paragraph", "Umsatz | 2025 | 2026 | 1.5 | 2.5", 2),
    ]
    assert [scan.page for scan in found.scans] == [3]


def test_an_old_excel_file_is_read_with_its_merged_cells() -> None:
    import xlwt

    book = xlwt.Workbook()
    sheet = book.add_sheet("Preise")
    for column, text in enumerate(("Artikelnummer", "Reihe", "Preis EUR")):
        sheet.write(0, column, text)
    sheet.write_merge(1, 3, 1, 1, "Klemmen")
    for row in range(1, 5):
        sheet.write(row, 0, f"K-{row}")
        sheet.write(row, 2, row + 0.5)
    sheet.write(4, 1, "Leuchten")
    out = io.BytesIO()
    book.save(out)
    found = extracted(out.getvalue(), "a.xls")
    assert [(p.article_number, p.features[0].values[0].text, p.prices[0].amount) for p in found.products] == [
        ("K-1", "Klemmen", "1.5"), ("K-2", "Klemmen", "2.5"), ("K-3", "Klemmen", "3.5"), ("K-4", "Leuchten", "4.5")
    ]  # fmt: skip


def test_an_opendocument_sheet_is_read_to_its_last_row() -> None:
    def fill(table: Any) -> None:
        for cells in (("Artikelnummer", "Bezeichnung"), *((f"A-{i}", f"Größe {i}") for i in range(700))):
            row_of(table, *cells)

    found = extracted(opendocument(fill), "a.ods")
    assert [(p.article_number, p.name) for p in found.products] == [(f"A-{i}", f"Größe {i}") for i in range(700)]


def row_of(table: Any, *cells: str | tuple[str, int, int] | int | None, repeated: int = 1) -> None:
    """A row of texts, of merged cells (text, rows, columns), of so many empty cells, and of None for a covered one."""
    from odf.table import CoveredTableCell, TableCell, TableRow
    from odf.text import P

    row = TableRow(numberrowsrepeated=repeated)
    for each in cells:
        if each is None or isinstance(each, int):
            row.addElement(CoveredTableCell() if each is None else TableCell(numbercolumnsrepeated=each))
            continue
        text, rows, columns = each if isinstance(each, tuple) else (each, 1, 1)
        cell = TableCell(valuetype="string", numberrowsspanned=rows, numbercolumnsspanned=columns)
        cell.addElement(P(text=text))
        row.addElement(cell)
    table.addElement(row)


def test_merged_cells_of_an_opendocument_sheet_are_read_as_those_of_excel() -> None:
    from openpyxl import Workbook

    def fill(table: Any) -> None:
        row_of(table, 3, repeated=2)
        row_of(table, 2, ("Artikelnummer", 2, 1), ("Maße", 1, 2), None, ("Reihe", 2, 1), 1000)
        row_of(table, 2, None, "Breite [mm]", "Höhe [mm]", None)
        row_of(table, 2, "A-1", "6", "7", ("Klemmen", 3, 1))
        row_of(table, 2, "A-2", "6", "8", None)
        row_of(table, 2, "A-3", "6", "9", None)
        row_of(table, 2, "A-4", "6", "9", "Leuchten")
        row_of(table, 16384, repeated=1048567)

    book = Workbook()
    sheet: Any = book.active
    sheet.title = "Liste"
    for row, cells in enumerate(
        (("Artikelnummer", "Maße", None, "Reihe"), (None, "Breite [mm]", "Höhe [mm]"), ("A-1", "6", "7", "Klemmen"),
         ("A-2", "6", "8"), ("A-3", "6", "9"), ("A-4", "6", "9", "Leuchten")), 3,
    ):  # fmt: skip
        for column, text in enumerate(cells, 3):
            sheet.cell(row, column, text)
    for merged in ("C3:C4", "D3:E3", "F3:F4", "F5:F7"):
        sheet.merge_cells(merged)
    out = io.BytesIO()
    book.save(out)
    found = extracted(opendocument(fill), "a.ods")
    assert found.flow == extracted(out.getvalue(), "a.xlsx").flow
    assert [[(f.name, f.values[0].text) for f in product.features] for product in found.products][2:] == [
        [("Maße Breite", "6"), ("Maße Höhe", "9"), ("Reihe", "Klemmen")],
        [("Maße Breite", "6"), ("Maße Höhe", "9"), ("Reihe", "Leuchten")],
    ]


def test_rows_that_an_opendocument_sheet_repeats_are_all_read_or_refused_before_it_is_opened() -> None:
    def some(table: Any) -> None:
        row_of(table, "Artikelnummer", "Bezeichnung")
        row_of(table, "A-1", "Klemme", repeated=2500)

    def too_many(table: Any) -> None:
        row_of(table, 16000, "x", repeated=1048576)

    assert len(extracted(opendocument(some), "a.ods").products) == 2500
    with pytest.raises(Unreadable) as refused:
        extracted(opendocument(too_many), "a.ods")
    assert refused.value.code == "zip_bomb"


def test_a_header_of_two_rows_with_merged_cells_is_one_header() -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet["B2"] = "Preisliste Frühjahr"
    sheet.merge_cells("B2:F2")
    for cell, text in {"B4": "Artikelnummer", "C4": "Maße", "E4": "Preis EUR", "F4": "Farbe"}.items():
        sheet[cell] = text
    sheet["C5"], sheet["D5"] = "Breite [mm]", "Höhe [mm]"
    for merged in ("B4:B5", "C4:D4", "E4:E5", "F4:F5"):
        sheet.merge_cells(merged)
    for row in range(6, 9):
        for column, value in zip("BCDEF", (f"A-{row}", row, 7.5, 2.25, "grau"), strict=True):
            sheet[f"{column}{row}"] = value
    out = io.BytesIO()
    book.save(out)
    found = extracted(out.getvalue(), "a.xlsx")
    assert [product.article_number for product in found.products] == ["A-6", "A-7", "A-8"]
    first = found.products[0]
    assert [(f.name, f.values[0].text, f.unit) for f in first.features] == [
        ("Maße Breite", "6", "mm"), ("Maße Höhe", "7.5", "mm"), ("Farbe", "grau", "")
    ]  # fmt: skip
    assert first.prices[0].amount == "2.25"
    assert ("paragraph", "Preisliste Frühjahr", 1) in texts(found)


def test_a_duration_that_no_calendar_holds_is_a_damaged_file_and_not_a_fault_of_the_reader() -> None:
    from openpyxl import Workbook

    book = Workbook()
    cell = book.active.cell(1, 1, 1e12)  # pyright: ignore[reportOptionalMemberAccess]
    cell.number_format = "[h]:mm"
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(Unreadable) as refused:
        extracted(out.getvalue(), "dauer.xlsx")
    assert refused.value.code == "damaged"


def test_dates_truth_and_whole_numbers_are_read_as_people_write_them() -> None:
    import datetime

    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["Art", "Wert", "Seit"])
    book.active.append(["a", True, datetime.date(2026, 1, 2)])
    book.active.append(["b", 4099000010207, datetime.datetime(2026, 1, 2, 3, 4)])
    out = io.BytesIO()
    book.save(out)
    (table,) = [block for block in extracted(out.getvalue(), "a.xlsx").blocks if block.kind == "table"]
    assert table.text == "Art | Wert | Seit\na | true | 2026-01-02\nb | 4099000010207 | 2026-01-02T03:04:00"


def test_a_number_has_the_digits_that_a_sheet_shows() -> None:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, ("Artikelnummer", "Bezeichnung", "Preis", "Länge"))
        page.write_row(1, 0, ("A-1", "Schiene", 0.1 + 0.2, 1.1 * 3))
    path = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(out) as archive:
        cells = archive.read(path).replace(b"<v>0.3</v>", b"<v>0.30000000000000004</v>")  # as Excel writes it
    (product,) = extracted(changed(out.getvalue(), {path: cells}), "a.xlsx").products
    assert (product.prices[0].amount, product.features[0].values[0].text) == ("0.3", "3.3")


@pytest.mark.parametrize("used", [1, 2, 3])
def test_merged_cells_left_of_the_first_used_column_say_nothing(used: int) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.merge_cells("A3:A5")
    for row in range(1, 6):
        sheet.cell(row, used + 1, f"a{row}")
        if row < 4:
            sheet.cell(row, used + 2, f"b{row}")
    out = io.BytesIO()
    book.save(out)
    (table,) = [block for block in extracted(out.getvalue(), "a.xlsx").blocks if block.kind == "table"]
    assert table.rows[2:] == (("a3", "b3"), ("a4", ""), ("a5", ""))


def test_rows_without_merged_cells_pass_unchanged_and_streamed() -> None:
    rows = [("a", "b"), ("1", "2")] * 100
    assert list(unmerged(iter(rows), [])) == rows
    assert list(unmerged([("x", ""), ("", "y"), ("", "z")], [Merge(0, 0, 1, 0)])) == [("x", ""), ("x", "y"), ("", "z")]


def test_an_outlook_message_gives_its_text_and_its_attachments_by_their_own_readers() -> None:
    inner = message("Innen", "ganz innen", {"tief.txt": b"Tief drin."})
    data = compound(
        message(
            "Auftrag 26-0815",
            "Guten Tag,\r\n\r\nanbei die Liste.",
            {
                "preise.csv": b"Artikelnummer;Preis\n" + b"A-1;2,50\n" * 600,
                "kaputt.pdf": b"%PDF-1.4 cut",
                "weiter.msg": inner,
            },
        )
    )
    found = extracted(data, "a.msg")
    assert found.title == "Auftrag 26-0815"
    said = [block.text for block in found.blocks]
    assert said[0] == "Auftrag 26-0815"
    assert said[1].splitlines()[:2] == ["From: Müller mueller@example.com", "To: it@example.com"]
    assert said[1].splitlines()[2].startswith("Date: 2025-")
    assert "anbei die Liste." in said
    assert {"ganz innen", "Tief drin."} <= set(said)
    assert {(product.article_number, product.source) for product in found.products} == {("A-1", "preise.csv")}
    assert [(each.name, each.code) for each in found.attachments] == [
        ("preise.csv", ""), ("kaputt.pdf", ""), ("kaputt.pdf", "damaged"), ("weiter.msg", ""), ("tief.txt", "")
    ]  # fmt: skip


def test_an_outlook_message_with_html_or_broken_rich_text_only_is_read_or_says_so() -> None:
    html = message("Betreff", "", None, _10130102="<p>Grüße aus <b>Detmold</b></p>".encode())
    assert "Grüße aus Detmold" in [block.text for block in extracted(compound(html), "a.msg").blocks]
    rich = extracted(compound(message("Betreff", "", None, _10090102=b"LZFu")), "a.msg")
    assert [each.code for each in rich.attachments] == ["damaged"]


@pytest.mark.parametrize("cut", [600, 1500, 3000])
def test_a_cut_outlook_message_is_damaged_or_read_in_part_but_never_crashes(cut: int) -> None:
    data = compound(message("Betreff", "Text " * 2000, {"a.txt": b"x" * 5000}))
    said: list[str] = []
    with contextlib.suppress(Unreadable):
        said = [block.text for block in extracted(data[:cut], "a.msg").blocks]
    assert ("Text " * 2000).strip() not in said
    assert ("Text " * 2000).strip() in [block.text for block in extracted(data, "a.msg").blocks]


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "BMP"])
def test_every_page_of_an_image_file_is_read_in_order(form: str) -> None:
    from PIL import Image

    shades = [10, 120, 230] if form != "BMP" else [10]
    first, *rest = [Image.new("RGB", (60 + shade, 40), (shade, shade, shade)) for shade in shades]
    out = io.BytesIO()
    if form == "WEBP":
        first, *rest = [each.resize((80, 40)) for each in (first, *rest)]
    more = {"save_all": True, "append_images": rest} if rest else {}
    first.save(out, form, **more, **({"lossless": True} if form == "WEBP" else {}))
    found = extracted(out.getvalue(), f"a.{form.lower()}")
    seen = [Image.open(io.BytesIO(scan.png)).convert("L").getpixel((5, 5)) for scan in found.scans]
    assert seen == shades
    assert [scan.page for scan in found.scans] == list(range(1, len(shades) + 1))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_a_picture_that_lies_on_its_side_is_turned_as_its_camera_says(form: str) -> None:
    from PIL import Image

    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # orientation: a quarter to the right
    Image.new("RGB", (60, 40)).save(out, form, exif=exif)
    (scan,) = extracted(out.getvalue(), f"a.{form.lower()}").scans
    assert Image.open(io.BytesIO(scan.png)).size == (40, 60)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_scan_with_16_bits_of_grey_keeps_its_shades(form: str) -> None:
    from PIL import Image

    grey = Image.new("I;16", (3, 1))
    for at, shade in enumerate((0, 128 * 256, 65535)):
        grey.putpixel((at, 0), shade)
    out = io.BytesIO()
    grey.save(out, form)
    (scan,) = extracted(out.getvalue(), f"a.{form.lower()}").scans
    assert Image.open(io.BytesIO(scan.png)).tobytes() == bytes((0, 128, 255))


def test_json_in_lines_nested_or_flat_is_read_whole() -> None:
    rows = [{"sku": f"A-{i}", "name": f"Teil {i}", "price": i / 2} for i in range(1200)]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    assert len(extracted(lines, "a.jsonl").products) == 1200
    assert len(extracted(json.dumps(rows).encode("utf-16"), "a.json").products) == 1200
    for line in ('{"sku": "A-ö"}'.encode("cp1252"), b'{"sku": "A\x01-2"}'):  # the first line does not show it
        assert len(extracted(lines + b"\n" + line, "a.jsonl").products) == 1201
    nested = extracted(json.dumps({"produkte": [{"nr": "A-1", "maße": {"höhe": 7}}]}).encode(), "a.json")
    assert [block.text for block in nested.blocks] == ["produkte.nr: A-1\nprodukte.maße.höhe: 7"]


def test_lists_of_records_in_a_json_object_are_tables_only_where_they_are_products() -> None:
    rows = [{"sku": f"A-{i}", "name": f"Teil {i}", "price": 12.5} for i in range(2 * RECORDS + 1)]
    orders = [{"jahr": 2025, "umsatz": 1.50}, {"jahr": 2026, "umsatz": 2}]
    data = {"katalog": {"stand": "2026", "produkte": rows, "leer": []}, "orte": ["Köln", "Ulm"], "umsätze": orders}
    found = extracted(json.dumps(data, ensure_ascii=False).encode(), "a.json")
    assert [product.article_number for product in found.products] == [row["sku"] for row in rows]
    assert found.products[-1].prices[0].amount == "12.5"
    assert found.products[0].properties == (("table", "katalog.produkte"),)
    assert [block.text for block in found.blocks] == [
        "katalog.stand: 2026",
        "orte: Köln\norte: Ulm\numsätze.jahr: 2025\numsätze.umsatz: 1.5\numsätze.jahr: 2026\numsätze.umsatz: 2",
    ]


def test_json_is_read_value_by_value_and_refused_where_it_breaks_or_nests_too_deep() -> None:
    assert [block.text for block in extracted(b'[1, 2.50]\n[true, null, "x"]\n1e400', "a.json").blocks] == [
        "1\n2.50\ntrue\nx\n1E+400"
    ]
    for broken in (b"[1, 2", b'{"a": NaN}', b"[" * 300 + b"]" * 300, b'{"a":' * 300 + b"1" + b"}" * 300):
        with pytest.raises(Unreadable) as refused:
            extracted(broken, "a.json")
        assert refused.value.code == "damaged"
