"""What a cell of an XLSX file shows beside its number, and what its sheet holds beside the cells."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from openpyxl.formatting.rule import Rule
from openpyxl.styles.differential import DifferentialStyle
from openpyxl.styles.numbers import NumberFormat

from servers.cradle.processing.extract import number_formats, sheet_parts
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.number_formats import Format, cell_formats, format_of, formats
from servers.cradle.processing.extraction import Extraction
from tests.office_rig import changed, opendocument, part, related
from tests.tables_rig import extracted

SHEET = "xl/worksheets/sheet1.xml"
STYLES = "xl/styles.xml"
DRAWING = "xl/drawings/drawing1.xml"
EURO = '#,##0.00 "€"'

Cell = object | tuple[float, str]


def made(
    *rows: tuple[Cell, ...], notes: Mapping[str, str] = {}, box: str = "", chart: str = "", merged: tuple[str, ...] = ()
) -> bytes:
    """A workbook of one sheet; a number with its format is a pair; `chart` names the place of its values."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        page = book.add_worksheet("Blatt")
        for each in merged:
            page.merge_range(each, "")
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                if isinstance(cell, tuple):
                    page.write_number(at, column, cell[0], book.add_format({"num_format": cell[1]}))
                elif cell is not None:
                    page.write(at, column, cell)
        for place, text in notes.items():
            page.write_comment(place, text)
        if box:
            page.insert_textbox(5, 1, box)
        if chart:
            (drawn := book.add_chart({"type": "column"})).add_series({"name": "Umsatz", "values": f"=Blatt!{chart}"})
            page.insert_chart(8, 1, drawn)
    return out.getvalue()


def listed(*cells: tuple[str, Cell]) -> bytes:
    """A sheet with one product."""
    return made(("Artikelnummer", "Bezeichnung", *(name for name, _ in cells)), ("4711", "K", *(c for _, c in cells)))


def read(data: bytes) -> Extraction:
    return extracted(data, "a.xlsx")


def features(found: Extraction) -> list[tuple[str, str, str]]:
    return [(each.name, each.values[0].text, each.unit) for product in found.products for each in product.features]


def texts(found: Extraction) -> list[str]:
    return [block.text for block in found.blocks[1:]]


@pytest.mark.parametrize(
    ("code", "adds"),
    [
        ('_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-;_-* "-"??\\ "€"_-;_-@_-', Format("€")),
        ("#,##0.00 €;[Red]-#,##0.00 €", Format("€")),
        ("[$$-409]#,##0.00;-[$$-409]#,##0.00", Format("$")),
        ('0.00 "€";(0.00 "€");"frei"', Format("€")),
        ('_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)', Format("$")),
        ("_(\\$* #,##0.00_);_(\\$* \\(#,##0.00\\);_(\\$* \\-??_);_(@_)", Format("$")),
        ('0.00\\ "€";0.00\\-\\ "€"', Format("€")),
        ('0"%"', Format("%")),
        ("0\\ \\%", Format("%")),
        ("0.0\\ \\m²", Format("m²")),
        ('# ?/?" Zoll"', Format("Zoll")),
        *((code, None) for code in ('0" m "00" cm"', '0"h "00"min"', '00-00" X"')),
        *((code, None) for code in ('[<1000]0" g";[>=1000]0" kg"', '[=0]"kein";0.0" mm"', '0" S";0" H"')),
        *((code, None) for code in ('0" S";#" H"', '0" mm";0', '0" mm";0;0" mm"', '"-";0" mm"')),
        ("[Red]0.00 €", Format("€")),
        ("[$kr-414] #,##0.00", Format("kr")),
        ("[$¥-411]#,##0", Format("¥")),
        ("[$Fr.-807] #,##0.00", Format("Fr.")),
        ("#,##0.00 [$₺-41F]", Format("₺")),
        ('General" kg"', Format("kg")),
        ("0.00%", Format("%", percent=True)),
        *((code, None) for code in ("General", "0.00", "@", "00000", "dd.mm.yyyy", "hh:mm", "0.00E+00")),
        *((code, None) for code in ("0.00;\\(0.00\\)", "00\\-00", '00\\-00" X"')),
        *((code, None) for code in ('0",-"', '"ca. "0', "#,##0.00_);(#,##0.00)", '#,##0.00,,"Mio"')),
        ('0" mm"' + " " * 250, None),
    ],
)
def test_what_a_format_adds_to_every_number(code: str, adds: Format | None) -> None:
    assert format_of(code) == adds


def test_a_format_of_a_condition_is_none_of_a_cell() -> None:
    book = openpyxl.Workbook()
    book["Sheet"].append(["Artikelnummer", "Bezeichnung", "Länge"])
    book["Sheet"].append(["4711", "K", 20.5])
    book["Sheet"]["C2"].number_format = "0.000"
    style = DifferentialStyle(numFmt=NumberFormat(numFmtId=164, formatCode="0.0%"))
    book["Sheet"].conditional_formatting.add("E1:E5", Rule(type="expression", dxf=style, formula=["TRUE"]))
    out = io.BytesIO()
    book.save(out)
    assert part(out.getvalue(), STYLES).count(b'numFmtId="164"') > 1
    assert features(read(out.getvalue())) == [("Länge", "20.5", "")]


def known_to_excel(number: int, code: str | None) -> bytes:
    """A sheet with a price whose format has a number of Excel's own, and its code where the file writes it."""
    data = listed(("Preis", (0.5, "0.000 X")))
    xml = part(data, STYLES).replace(b'numFmtId="164" formatCode', b'numFmtId="%d" formatCode' % number)
    written = b'formatCode="%b"' % code.encode() if code is not None else b""
    xml = xml.replace(b'formatCode="0.000 X"', written).replace(b'<xf numFmtId="164"', b'<xf numFmtId="%d"' % number)
    assert b'"164"' not in xml
    return changed(data, {STYLES: xml})


@pytest.mark.parametrize("number", [*range(5, 9), *range(37, 45)])
def test_a_format_that_excel_knows_has_a_currency_only_where_the_file_writes_it(number: int) -> None:
    for code, currency in ((None, ""), ("0.00 €", "EUR"), ("[$CHF-807] 0.00", "CHF"), ("0.00", "")):
        [product] = read(known_to_excel(number, code)).products
        assert [(each.amount, each.currency) for each in product.prices] == [("0.5", currency)]


@pytest.mark.parametrize("number", [9, 10])
def test_a_format_of_per_cent_that_excel_knows_is_one_unless_the_file_writes_another(number: int) -> None:
    assert features(read(known_to_excel(number, None))) == [("Preis", "50", "%")]
    [product] = read(known_to_excel(number, "0.00 €")).products
    assert [(each.amount, each.currency) for each in product.prices] == [("0.5", "EUR")]


@pytest.mark.parametrize("code", ["[$kr-414] #,##0.00", "[$¥-411]#,##0", "#,##0.00 [$₺-41F]"])
def test_a_format_with_a_currency_that_is_not_known_is_none_of_the_lists_title(code: str) -> None:
    data = made(("Preisliste in EUR",), ("Artikelnummer", "Bezeichnung", "Preis"), ("4711", "K", (12.5, code)))
    assert [(each.amount, each.currency) for each in read(data).products[0].prices] == [("12.5", "")]


def test_a_price_is_for_the_quantity_that_its_cell_shows() -> None:
    [product] = read(listed(("Preis", (12.5, '#,##0.00" €/100 Stk"')))).products
    assert [(each.amount, each.currency, each.quantity, each.unit) for each in product.prices] == [
        ("12.5", "EUR", "100", "Stk")
    ]


def test_percents_in_a_column_of_prices_are_no_price() -> None:
    found = read(listed(("Preis", (0.05, "0%"))))
    assert (found.products[0].prices, features(found)) == ((), [("Preis", "5", "%")])


def test_the_unit_of_a_cell_counts_before_that_of_its_header() -> None:
    found = read(listed(("Wirkungsgrad (typ.)", (0.925, "0.0%")), ("Länge [mm]", (20, '0" cm"')), ("Höhe [mm]", 5)))
    assert features(found) == [("Wirkungsgrad", "92.5", "%"), ("Länge", "20", "cm"), ("Höhe", "5", "mm")]


def test_names_and_groups_have_the_unit_that_their_cells_show_and_numbers_of_articles_have_none() -> None:
    volts, metres = '0" V"', '0" m"'
    head = ("Artikelnummer", "EAN", "MPN", "Bezeichnung", "Typ", "Produktgruppe", "Beschreibung")
    row = ((4711, metres), (4006381333931, metres), (815, metres), "K", (24, volts), (0.19, "0%"), (5, metres))
    [product] = read(made(head, row)).products
    assert (product.article_number, product.gtin, product.manufacturer_number) == ("4711", "4006381333931", "815")
    assert (product.type_name, product.classifications[0].group) == ("24 V", "19 %")
    assert product.descriptions[0].text == "5 m"


def test_headers_have_the_unit_that_their_cells_show() -> None:
    found = read(made(("Artikelnummer", "Bezeichnung", (100, '0" mm"')), ("4711", "K", "x")))
    assert features(found) == [("100 mm", "x", "")]


def test_headers_of_several_rows_have_the_unit_that_their_cells_show() -> None:
    head = ("Artikelnummer", "Bezeichnung", "Last bei", None)
    below = (None, None, (100, '0" mm"'), (200, '0" mm"'))
    found = read(made(head, below, ("4711", "K", "x", "y"), merged=("A1:A2", "B1:B2", "C1:D1")))
    assert features(found) == [("Last bei 100 mm", "x", ""), ("Last bei 200 mm", "y", "")]


PRICED = made(("Artikelnummer", "Bezeichnung", "Preis"), *((f"471{n}", "K", (n, EURO)) for n in range(1, 4)))


@pytest.mark.parametrize("block", [64, 2**20])
@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (rb'<c r="[A-Z]+\d+"', rb"<c"),
        (rb'<(c|row) r="[A-Z]*\d+"', rb"<\1"),
        (rb'<c r="([A-Z]+\d+)" s="(\d+)"', rb"<c s = '\2' r = '\1'"),
        (rb'<row r="(\d+)" spans="1:3"', rb'<row spans="1:3" r="\1"'),
        (rb"<sheetData>", b"<!-- " + b"f" * 5000 + rb" --><sheetData>"),
    ],
)
def test_cells_are_found_however_their_places_are_written(
    pattern: bytes, instead: bytes, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(number_formats, "BLOCK", block)
    xml, count = re.subn(pattern, instead, part(PRICED, SHEET))
    assert count
    found = read(changed(PRICED, {SHEET: xml}))
    assert [(each.amount, each.currency) for product in found.products for each in product.prices] == [
        ("1", "EUR"), ("2", "EUR"), ("3", "EUR")
    ]  # fmt: skip


def test_a_row_left_out_counts() -> None:
    data = made(("Artikelnummer", "Bezeichnung", "Preis"), (), ("4711", "K", (2, EURO)))
    assert read(data).products[0].prices[0].currency == "EUR"


def test_text_boxes_charts_and_comments_of_a_sheet_follow_its_rows() -> None:
    rows = (("Artikelnummer", "Bezeichnung", "Preis EUR"), ("4711", "Klemme", 1.2))
    found = read(made(*rows, notes={"C2": "Gilt ab Mai"}, box="Preise netto\nzuzüglich Fracht", chart="$C$2:$C$2"))
    assert [(block.text, block.page) for block in found.blocks] == [
        ("Blatt", 1), ("Preise netto\nzuzüglich Fracht", 1), ("Umsatz | 1.2", 1), ("C2: Gilt ab Mai", 1)
    ]  # fmt: skip
    assert len(found.products) == 1


def with_thread(data: bytes, thread: bytes) -> bytes:
    return changed(related(data, SHEET, "threadedComment", "../t.xml"), {"xl/t.xml": thread})


THREAD = b'<Threads xmlns="urn:t"><threadedComment ref="C2"><text>Ab Mai</text></threadedComment></Threads>'


def test_notes_are_read_beside_a_thread_which_is_read_once() -> None:
    data = made(("a", "b"), notes={"C2": "[Threaded comment] Ab Mai", "B3": "Auslauf"})
    assert texts(read(with_thread(data, THREAD)))[-2:] == ["C2: Ab Mai", "B3: Auslauf"]


def test_a_damaged_thread_costs_no_note() -> None:
    data = made(("a", "b"), notes={"C2": "[Threaded comment] Ab Mai", "B3": "Auslauf"})
    found = read(with_thread(data, b"<cut"))
    assert [each.code for each in found.attachments] == ["damaged"]
    assert texts(found)[-1].splitlines() == ["C2: [Threaded comment] Ab Mai", "B3: Auslauf"]


def test_a_damaged_drawing_costs_no_comment() -> None:
    found = read(changed(made(("a", "b"), notes={"C2": "Ab Mai"}, box="K"), {DRAWING: b"<cut"}))
    assert [(each.name, each.code) for each in found.attachments] == [("drawing1.xml", "damaged")]
    assert texts(found)[-1] == "C2: Ab Mai"


def test_a_text_box_that_is_drawn_in_two_ways_is_read_once() -> None:
    data = made(("a", "b"), box="Kasten")
    xml = part(data, DRAWING)
    [shape] = re.findall(rb"<xdr:sp .*?</xdr:sp>", xml, re.DOTALL)
    both = (
        b"<m:AlternateContent xmlns:m='urn:m'><m:Choice>%b</m:Choice><m:Fallback>%b</m:Fallback></m:AlternateContent>"
    )
    assert texts(read(changed(data, {DRAWING: xml.replace(shape, both % (shape, shape))})))[1:] == ["Kasten"]


def test_a_break_in_a_text_box_ends_a_line() -> None:
    data = made(("a", "b"), box="Netto")
    more = b"<a:t>Netto</a:t></a:r><a:br/><a:r><a:t>Fracht</a:t></a:r>"
    xml = part(data, DRAWING).replace(b"<a:t>Netto</a:t></a:r>", more)
    assert more in xml
    assert texts(read(changed(data, {DRAWING: xml})))[-1] == "Netto\nFracht"


def unanswered(cells: bytes) -> int:
    data = changed(PRICED, {SHEET: part(PRICED, SHEET).replace(b"<sheetData>", b"<sheetData>" + cells)})
    return sum(1 for _ in sheet_parts._unanswered(check_zip(data), SHEET))


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        (b'<c r="A1"><f>1+1</f></c>', 1),
        (b"<c><f>1+1</f> <v> </v></c>", 0),
        (b"<c><f>1+1</f> <v></v> </c>", 1),
        (b'<x:c r="A1" s="1"><x:f>1+1</x:f><x:v/></x:c>', 1),
        (b'<c r="A1" t="n"><f t="shared" si="0"/></c>', 1),
        (b'<c r="A1" t = "str"><f>""</f><v/></c>', 0),
        (b'<c r="A1"><f>1</f><v>1</v></c><c r="B1"><f>2</f></c><c r="C1" t="str"><f>3</f></c>', 1),
    ],
)
def test_formulas_without_results(cell: bytes, count: int) -> None:
    assert unanswered(cell) == count


@pytest.mark.parametrize("block", [64, 2**20])
def test_formulas_without_results_are_counted_and_said(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_parts, "BLOCK", block)
    book = openpyxl.Workbook()
    for row in (["Artikelnummer", "Bezeichnung", "Preis"], ["4711", "Klemme", "=2*3"], ["4712", "Mutter", "=2*4"]):
        book["Sheet"].append(row)
    out = io.BytesIO()
    book.save(out)
    [told] = extracted(out.getvalue(), "a.xlsx").attachments
    assert (told.name, told.code) == ("Sheet", "formula_without_result")
    assert told.reason.startswith("2 cells of the sheet hold formulas without a result.")


def test_what_has_no_end_of_a_cell_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BLOCK", 64), ("MAX_HELD", 1024), ("KEPT", 128)):
        monkeypatch.setattr(sheet_parts, name, value)
    cell = b'<c r="A1"><f>1</f></c>'
    assert unanswered(b"f" * 5000 + cell) == 1
    assert unanswered(b"<c r='A1'>" + b"f" * 5000 + b"<f>1</f></c>") == 0


def test_the_code_of_many_styles_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = part(PRICED, STYLES)
    style = b'<xf numFmtId="164" fontId="0" fillId="0" borderId="0"/>'
    data = changed(PRICED, {STYLES: re.sub(rb"<cellXfs.*</cellXfs>", b"<cellXfs>%b</cellXfs>" % (style * 50), xml)})
    asked: list[str] = []
    monkeypatch.setattr(number_formats, "format_of", lambda code: asked.append(code) or Format("€"))
    assert (len(formats(cell_formats(check_zip(data)))), len(asked)) == (50, 1)


def test_each_price_has_the_currency_of_its_cell_and_its_own_least_quantity() -> None:
    head = ("Artikelnummer", "Bezeichnung", "Preis", "Ab Menge")
    rows = (("4711", "K", (1.2, EURO), (100, '0" Stk"')), ("4712", "K", (3.4, "[$CHF-807] #,##0.00"), (50, '0" Stk"')))
    prices = [price for product in read(made(head, *rows)).products for price in product.prices]
    assert [(each.amount, each.currency, each.lower_bound) for each in prices] == [
        ("1.2", "EUR", "100"), ("3.4", "CHF", "50")
    ]  # fmt: skip


def test_a_table_shows_its_numbers_as_the_sheet_does() -> None:
    shown = ((24, '0" V"'), (0.925, "0.0%"), (1200, "#,##0.00 €"), (3, "0"))
    table = read(made(("Merkmal", "Wert"), *(("Eigenschaft", cell) for cell in shown))).blocks[-1]
    assert [row[1] for row in table.rows] == ["Wert", "24 V", "92.5 %", "1200 €", "3"]


def opened(*rows: tuple[object, ...], repeated: int = 1) -> bytes:
    """An OpenDocument sheet; a number is its kind, its value and what the cell shows; its last row is repeated."""
    from odf.table import TableCell, TableRow
    from odf.text import P

    def fill(table: Any) -> None:
        for at, row in enumerate(rows, 1):
            line = TableRow(numberrowsrepeated=repeated if at == len(rows) else 1)
            for each in row:
                kind, value, text = each if isinstance(each, tuple) else ("string", None, each)
                cell = TableCell(valuetype=kind) if value is None else TableCell(valuetype=kind, value=value)
                for line_of_text in text if isinstance(text, list) else [text]:
                    cell.addElement(P(text=line_of_text))
                line.addElement(cell)
            table.addElement(line)

    return opendocument(fill)


@pytest.mark.parametrize(
    ("kind", "value", "text", "expected"),
    [
        ("float", "24", "24 V", ("24", "V")),
        ("float", "-1.5", "-1,50 °C", ("-1.5", "°C")),
        ("float", "1234.5", "1.234,50 kg", ("1234.5", "kg")),
        ("percentage", "0.19", "19 %", ("19", "%")),
        ("percentage", "0.195", "20 %", ("19.5", "%")),
        ("float", "12.3456", "12,35 mm", ("12.3456", "mm")),
        ("float", "24", "24", ("24", "")),
        ("float", "12000", "12 T", ("12000", "")),
        ("float", "24", "24 V 3", ("24", "")),
        ("float", "24", "rund 25 V", ("24", "")),
        ("float", "24", ["24 V", "gemessen"], ("24", "")),
        ("float", "24", "24 Nennwert der Spannung", ("24", "")),
        ("float", "24", " " * 100_000 + "24 V", ("24", "")),
    ],
)
def test_what_a_cell_of_an_opendocument_sheet_shows_beside_its_number_is_its_unit(
    kind: str, value: str, text: object, expected: tuple[str, str]
) -> None:
    (product,) = extracted(
        opened(("Artikelnummer", "Bezeichnung", "Wert"), ("4711", "K", (kind, value, text))), "a.ods"
    ).products
    (feature,) = product.features
    assert (feature.values[0].text, feature.unit) == expected


def test_the_currency_of_an_opendocument_price_is_read_in_every_row_that_is_repeated() -> None:
    euro, dollars = ("currency", "1234.5", "1.234,50 €"), ("currency", "9", "USD 9.00")
    found = extracted(opened(("Artikelnummer", "Preis"), ("A-1", dollars), ("A-2", euro), repeated=3), "a.ods")
    assert [(p.article_number, p.prices[0].amount, p.prices[0].currency) for p in found.products] == [
        ("A-1", "9", "USD"), *[("A-2", "1234.5", "EUR")] * 3
    ]  # fmt: skip
