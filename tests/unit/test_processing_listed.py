"""Tables of documents that list articles: which rows are products, and which tables stay tables."""

from __future__ import annotations

import io

import docx
import pytest
from fpdf import FPDF

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.listed import listing, with_products
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block, Extraction, Product, joined, parts
from servers.cradle.processing.records import Records

LIST = [
    ["Art.-Nr.", "Bezeichnung", "Schutzart", "Preis in €"],
    ["IS-8-NO", "Sensor M8", "IP67", "23,60"],
    ["IS-12-NO", "Sensor M12", "IP67", "1.026,40"],
]
SHEET = [
    ["Merkmal", "Wert", "Einheit"],
    ["Artikelnummer", "IS-18-NO", ""],
    ["Spannung", "24", "V"],
    ["Frequenz", "1.500", "Hz"],
    ["Gewicht", "0,045", "kg"],
]


def pdf(*tables: list[list[str]], above: str = "") -> bytes:
    page = FPDF(format="A4")
    page.add_page()
    page.set_font("helvetica", "", 10)
    page.multi_cell(0, 6, above or "Brandt Sensorik", new_x="LMARGIN", new_y="NEXT")
    for rows in tables:
        page.ln(12)
        with page.table() as table:
            for row in rows:
                line = table.row()
                for cell in row:
                    line.cell(cell.replace("€", "EUR"))
    return bytes(page.output())


def word(*tables: list[list[str]], above: str = "") -> bytes:
    document = docx.Document()
    document.add_paragraph(above or "Brandt Sensorik")
    for rows in tables:
        table = document.add_table(len(rows), len(rows[0]))
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                table.cell(at, column).text = cell
        document.add_paragraph("Ende der Tabelle.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def html(*tables: list[list[str]], above: str = "") -> bytes:
    rows = ["".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in table) for table in tables]
    body = f"<p>{above or 'Brandt'}</p>" + "".join(f"<table>{each}</table>" for each in rows)
    return f"<!doctype html><html lang=de><body>{body}</body></html>".encode()


MADE = {"liste.pdf": pdf, "liste.docx": word, "liste.html": html}


def whole(name: str, *tables: list[list[str]], above: str = "") -> Extraction:
    return joined(parts(read(*identify(MADE[name](*tables, above=above), name))))


def said(product: Product) -> dict[str, str]:
    return {each.name: f"{each.values[0].text} {each.unit}".strip() for each in product.features}


@pytest.mark.requirement("O-01")
@pytest.mark.parametrize("name", MADE)
def test_each_row_of_a_price_list_in_a_document_is_one_product_and_no_passage_of_a_table(name: str) -> None:
    found = whole(name, LIST, above="Preise zzgl. MwSt., gültig ab 01.02.2026")
    assert [each.article_number for each in found.products] == ["IS-8-NO", "IS-12-NO"]
    assert [each.name for each in found.products] == ["Sensor M8", "Sensor M12"]
    assert said(found.products[0]) == {"Schutzart": "IP67"}
    prices = [each.prices[0] for each in found.products]
    assert [(each.amount, each.currency, each.valid_from) for each in prices] == [
        ("23.60", "EUR", "2026-02-01"), ("1026.40", "EUR", "2026-02-01"),
    ]  # fmt: skip
    assert not [each for each in found.blocks if each.kind == "table"]


@pytest.mark.parametrize("name", MADE)
def test_a_data_sheet_that_names_its_article_is_a_product_with_its_lines_as_features(name: str) -> None:
    (product,) = whole(name, SHEET).products
    assert (product.article_number, said(product)) == (
        "IS-18-NO", {"Spannung": "24 V", "Frequenz": "1.500 Hz", "Gewicht": "0,045 kg"},
    )  # fmt: skip
    rows = Records("doc_1", 1).of(Extraction(flow=(product,)), [], None).features
    assert [row.number for row in rows] == [24.0, 1500.0, 0.045]  # the comma of one shows the point of the other


def test_a_data_sheet_of_several_articles_has_a_column_for_each() -> None:
    rows = [["", "A-1", "A-2"], ["Order no.", "A-1", "A-2"], ["IP", "IP65", "IP67"], ["Weight (g)", "35", "1.250"]]
    products = whole("liste.docx", rows).products
    assert [(each.article_number, said(each)) for each in products] == [
        ("A-1", {"IP": "IP65", "Weight": "35 g"}), ("A-2", {"IP": "IP67", "Weight": "1.250 g"}),
    ]  # fmt: skip
    features = Records("doc_1", 1).of(Extraction(flow=products), [], None).features
    assert [row.number for row in features if row.name == "Weight"] == [35.0, None]  # 1.250 may be either


@pytest.mark.parametrize(
    "rows",
    [
        [["Pos.", "Artikel-Nr.", "Menge", "Preis"], ["1", "A-10", "20", "25,10"]],  # an order
        [["Artikel-Nr.", "Bezeichnung", "Gesamtpreis"], ["A-10", "Sensor", "502,00"]],
        [["Artikelnummer", "A-10"], ["Name", "Sensor"], ["Seriennummer", "S-1"]],  # one piece of it
        [["Art.-Nr.", "Bezeichnung EAN", "Preis"], ["A-10", "Sensor 4099800008100", "1,00"]],  # two columns in one
        [["Art.-Nr.", "Bezeichnung", "Preis"], ["A-10", "Sensor", "1,00"], ["", "induktiv", "netto"]],  # a cut row
        [["Art.-Nr.", "Bezeichnung", ""], ["A-10", "Sensor", "1,00"]],
        [["Art.-Nr.", "Bezeichnung"], ["siehe Seite 5", "Sensor"]],
        [["Art.-Nr.", "Bezeichnung"], ["KL-4-", "Klemme"], ["GRAU", ""]],  # a number in two lines
        [["Art.-Nr.", "Bezeichnung"], ["A-10"]],
        [["Merkmal", "Wert"], ["Spannung", "24 V"], ["Schutzart", "IP67"], ["Farbe", "rot"]],  # of no article
        [["", "Standard", "Premium"], ["Artikelnummer", "A-1", "A-2"], ["Farbe", "rot", "grün"], ["IP", "5", "6"]],
    ],
)  # fmt: skip
def test_a_table_that_may_be_anything_else_stays_a_table(rows: list[list[str]]) -> None:
    table = table_block(rows, 1)
    assert listing(table) is None
    assert list(with_products([table])) == [table]


def test_a_header_may_come_again_or_be_in_two_languages() -> None:
    header = ["Artikel-Nr. / Item No.", "Bezeichnung / Description", "Farbe"]
    rows = [header, ["A-1", "Klemme", "rot"], header, ["A-2", "Klemme", "blau"]]
    found = list(with_products([table_block(rows, 1)]))
    assert [each.article_number for each in found if isinstance(each, Product)] == ["A-1", "A-2"]


def test_titles_of_families_stand_between_the_products() -> None:
    rows = [
        LIST[0],
        ["Sensoren", "", "", ""],
        *LIST[1:],
        ["Klemmen, grau", "", "", ""],
        ["KL 2,5 GR", "Klemme", "", "1,20"],
    ]
    first, *rest = with_products([table_block(rows, 1)])
    assert isinstance(first, Block)
    assert (first.kind, first.text) == ("paragraph", "Sensoren")
    assert [each.article_number for each in rest if isinstance(each, Product)] == ["IS-8-NO", "IS-12-NO", "KL 2,5 GR"]


def test_a_table_of_a_file_inside_is_judged_by_the_reader_of_that_file() -> None:
    block = Block("table", "", rows=tuple(map(tuple, LIST)), header_rows=1, source="liste.xlsx")
    assert list(with_products([block])) == [block]
