"""Price lists as people send them: a header for each family, other people's number forms, bytes of two code pages."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.columns import amount_of
from servers.cradle.processing.extract.delimited import delimiter
from servers.cradle.processing.extract.encoding import decode
from servers.cradle.processing.extract.product_table import SAMPLED, header_position
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.product_text import product_lines
from servers.cradle.processing.records import Records
from shared.dataset.rows import document_id
from tests.tables_rig import features, listed, sheet

HEADER = "Artikelnummer;Bezeichnung;Länge [mm];Preis EUR"


def prices(found: Extraction) -> list[tuple[str, list[str | None]]]:
    return [(product.article_number, [price.amount for price in product.prices]) for product in found.products]


def test_each_family_of_products_is_read_under_its_own_header() -> None:
    found = listed(
        HEADER, "4711;Schraube;20;12,50", "", "Artikelnummer;Bezeichnung;Preis EUR;Gewicht [kg]",
        "5711;Mutter;2,50;0,5", "5712;Mutter;3,50;0,6", "Bezeichnung;EAN;Preis EUR", "Scheibe;4099000010207;0,10",
    )  # fmt: skip
    assert prices(found)[:3] == [("4711", ["12.50"]), ("5711", ["2.50"]), ("5712", ["3.50"])]
    assert features(found) == [[("Länge", "20", "mm")], [("Gewicht", "0,5", "kg")], [("Gewicht", "0,6", "kg")], []]
    last = found.products[3]
    assert (last.name, last.gtin, last.prices[0].amount) == ("Scheibe", "4099000010207", "0.10")
    assert len(found.products) == 4


def test_each_family_of_a_sheet_is_read_under_its_own_header_and_its_title_is_text() -> None:
    found = sheet(
        ("Artikelnummer", "Bezeichnung", "Preis EUR"), ("4711", "Schraube", 12.5), ("Muttern",),
        ("Artikelnummer", "Bezeichnung", "Gewicht [kg]", "Preis EUR", "Hersteller"), (5711, "Mutter", 0.5, 2.5, "X"),
    )  # fmt: skip
    assert prices(found) == [("4711", ["12.5"]), ("5711", ["2.5"])]
    assert [(block.kind, block.text) for block in found.blocks] == [("heading", "Preise"), ("paragraph", "Muttern")]


@pytest.mark.parametrize("rows", [SAMPLED - 1, SAMPLED, SAMPLED + 1, 3 * SAMPLED])
def test_a_header_is_found_wherever_it_stands(rows: int) -> None:
    first = [f"A-{n};Schraube;20;12,50" for n in range(rows)]
    found = listed(HEADER, *first, "Artikelnummer;Preis EUR;Bezeichnung", "B-1;1,50;Mutter")
    assert len(found.products) == rows + 1
    assert prices(found)[-2:] == [(f"A-{rows - 1}", ["12.50"]), ("B-1", ["1.50"])]


def test_a_header_that_comes_again_is_no_product() -> None:
    page = [HEADER, "4711;Schraube;20;12,50"]
    assert prices(listed(*page, *page, *page)) == [("4711", ["12.50"])] * 3
    tiers = listed(
        "Artikelnummer;Bezeichnung;10;100", "A-1;Klemme;x;y", "Artikelnummer;Bezeichnung;10;100", "A-2;K;x;y"
    )
    assert [product.article_number for product in tiers.products] == ["A-1", "A-2"]


def test_a_header_in_a_second_language_stays_text_and_the_first_one_names_the_columns() -> None:
    found = listed(HEADER, "Article number;Description;Length [mm];Price EUR", "4711;Schraube;20;12,50")
    assert features(found) == [[("Länge", "20", "mm")]]
    assert "Article number | Description | Length [mm] | Price EUR" in found.blocks[0].text


def test_a_title_or_a_note_in_the_column_of_numbers_is_text_and_a_number_alone_a_product() -> None:
    found = listed(
        HEADER, "4711;Schraube;20;12,50", "Muttern", "M6 Muttern verzinkt", "4712;Mutter;;1,50", "A-99", "ABC"
    )  # fmt: skip
    assert [product.article_number for product in found.products] == ["4711", "4712", "A-99", "ABC"]
    assert [(block.kind, block.text) for block in found.blocks] == [("paragraph", "Muttern\nM6 Muttern verzinkt")]


def test_a_later_header_that_knows_more_does_not_hide_the_products_above_it() -> None:
    rows = [("EAN", "GTIN"), ("VPE", "Verpackungseinheit"), ("Artikelnr", "Preis"), ("Schrauben", ""), ("A-1", "2")]
    assert header_position([*rows, ("Artikelnr", "Preis", "Einheit", "Hersteller"), ("A-2", "2", "m", "x")]) == 2


def test_a_family_without_a_telling_price_writes_numbers_as_the_one_before_it() -> None:
    lines = ["SKU,Name,Info", 'A-1,Rail,"99.00"', "SKU,Name,Info", 'A-2,Rail,"1,250"']
    english = [line.replace("Info", "Preis") for line in lines]
    assert prices(listed(*english)) == [("A-1", ["99.00"]), ("A-2", ["1250"])]


def test_a_comma_before_three_digits_groups_where_the_table_has_a_point_or_is_english() -> None:
    beside = listed("Part number;Description;List price", "1;Screw;99.00", "2;Rail;1,250", "3;Rail;2,500.00")
    assert prices(beside) == [("1", ["99.00"]), ("2", ["1250"]), ("3", ["2500.00"])]
    assert prices(listed("Part number;Description;Price", "1;Rail;1,250")) == [("1", ["1250"])]
    assert prices(listed("Artikelnummer;Bezeichnung;Preis", "1;Schiene;1,250", "2;Schiene;0,125")) == [
        ("1", ["1.250"]), ("2", ["0.125"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "decimal", "amount"),
    [
        ("CHF 1’250.00", ".", "1250.00"), ("1\u00a0250,00 €", ",", "1250.00"), ("1\u202f250,00", ",", "1250.00"),
        ("12,50-", ",", "-12.50"), ("1.250,00- €", ",", "-1250.00"), ("12,-", ",", "12"), ("1.250,-", ",", "1250"),
        ("-12,50", ",", "-12.50"), ("-12,50-", ",", None), ("125-", ",", None), ("−12,50 €", ",", "-12.50"),
        ("EUR –12,50", ",", "-12.50"), ("12,50−", ",", "-12.50"), ("(12,50)", ",", None), ("5,– €", ",", "5"),
        ("1.234,56 €", ",", "1234.56"), ("1,234.56", ".", "1234.56"), ("12", ",", "12"), ("auf Anfrage", ",", None),
    ],
)  # fmt: skip
def test_a_price_is_read_with_any_group_sign_and_with_a_minus_behind_it(
    cell: str, decimal: str, amount: str | None
) -> None:
    assert amount_of(cell, decimal) == amount


def test_the_delimiter_is_the_sign_that_parts_known_headers_whatever_the_names_hold() -> None:
    assert (
        delimiter("Artikelnummer;Bezeichnung\n1;Schraube, M6, blank\n2;Mutter, M6, blank\n3;Mutter, M8, blank") == ";"
    )
    assert delimiter("Preisliste\nSKU,Name\nA-1,a;b;c\nA-2,a;b;c\nA-3,a;b;c") == ","


def test_a_stray_byte_of_windows_does_not_spoil_text_in_utf_8() -> None:
    text = "Gehäuse größer\n" * 20
    assert decode(text.encode() + b"Geh\xe4use \x80 5\n") == text + "Gehäuse € 5\n"
    assert decode(text.encode("utf-8-sig") + b"Geh\xe4use \x80 5\n") == text + "Gehäuse € 5\n"
    assert decode(text.encode() + b"Teil\x00 1") == text + "Teil 1"


def test_text_of_windows_with_signs_that_happen_to_be_utf_8_stays_text_of_windows() -> None:
    data = "Gehäuse größer, früher Ã¤".encode("cp1252")
    assert decode(data) == "Gehäuse größer, früher Ã¤"


def test_german_text_of_dos_is_known_by_its_words() -> None:
    text = "Artikelnummer;Bezeichnung\n4711;Gehäuse größer, Übermaß\n"
    assert decode(text.encode("cp850")) == text
    quoted = "Er rief „halt” und „gehäuse”, 19”Rack, Straße"
    assert decode(quoted.encode("cp1252")) == quoted


@pytest.mark.parametrize(("price", "value", "number"), [
    ("12,50", "1.000", 1000.0),
    ("12,50", "1.250.000,5", 1250000.5),
    ("12.50", "1,250", 1250.0),
    ("12.50", "1.125", 1.125),
    ("12", "1.000", None),
    ("12", "1.250,5", 1250.5),
    ("12", "1,250.5", 1250.5),
    ("12,50", "10.0000", 10.0),
    ("12,50", "1.000 N", None),
    ("12,50", "−20,5", -20.5),
])  # fmt: skip
def test_a_property_is_the_number_that_the_tables_prices_show_it_to_be(
    price: str, value: str, number: float | None
) -> None:
    found = listed("Artikelnummer;Bezeichnung;Traglast;Preis EUR", f"4711;Haken;{value};{price}")
    rows = Records(document_id("preise.csv"), 1).of(found, [], None)
    assert [(row.value, row.number) for row in rows.features] == [(value, number)]


@pytest.mark.parametrize(
    ("other", "stock", "number"),
    [
        ("0,65 kg", "12.500", 12500.0), ("0.65 kg", "12,500", 12500.0), ("1,5 mm²", "12.500", 12500.0),
        ("0,125 kg", "12.500", 12500.0), ("12.05 Uhr", "12,500", None), ("12.500 kg", "12.500", None),
        ("V 2.1", "12,500", None),
    ],
)  # fmt: skip
def test_a_measure_with_decimals_shows_how_the_numbers_beside_it_are_written(
    other: str, stock: str, number: float | None
) -> None:
    found = listed("Artikelnummer;Bezeichnung;Traglast;Angabe", f"4711;Haken;{stock};{other}")
    assert Records(document_id("bestand.csv"), 1).of(found, [], None).features[0].number == number


@pytest.mark.parametrize(
    ("header", "cells", "number"),
    [
        ("Artikelnummer;Bestand;ME", "1.200;Stk", 1200.0),
        ("Artikelnummer;Lagerbestand [Stk];ME", "1.200.500;Stk", 1200500.0),
        ("Article number;Stock;Unit", "1,200;pcs", 1200.0), ("Artikelnummer;Gewicht;ME", "1.200;kg", None),
        ("Artikelnummer;Bestand;ME", "1,200;Stk", None), ("Article number;Stock;Unit", "1.200;pcs", None),
        ("SKU;Stock;Unit", "1.200;pcs", None),
    ],
)  # fmt: skip
def test_pieces_that_are_grouped_as_the_headers_language_does_show_how_the_list_writes_numbers(
    header: str, cells: str, number: float | None
) -> None:
    found = listed(header, f"4711;{cells}", "4712;0;Stk")
    assert Records(document_id("bestand.csv"), 1).of(found, [], None).features[0].number == number


@pytest.mark.parametrize(
    ("stocks", "weight"),
    [(("12.000", "5.000"), None), (("12.000", "0"), None), (("12.000", "340"), 1500.0), (("1.000.000",), 1500.0)],
)
def test_pieces_that_may_be_written_with_three_decimals_show_nothing(
    stocks: tuple[str, ...], weight: float | None
) -> None:
    rows = [f"471{at};{stock};1.500" for at, stock in enumerate(stocks)]
    found = Records(document_id("bestand.csv"), 1).of(listed("Artikelnummer;Bestand;Gewicht", *rows), [], None)
    assert {row.number for row in found.features if row.name == "Gewicht"} == {weight}


def test_a_number_of_a_sheet_has_its_own_point_whatever_its_prices_are_written_with() -> None:
    found = sheet(("Artikelnummer", "Bezeichnung", "Traglast", "Preis EUR"), ("4711", "Haken", 1.125, "12,50"))
    assert [row.number for row in Records(document_id("p.xlsx"), 1).of(found, [], None).features] == [1.125]


def test_columns_of_successors_and_accessories_are_references_where_they_name_articles() -> None:
    found = listed(
        "Artikelnummer;Bezeichnung;Nachfolger;Zubehör",
        'KP-100;Pumpe;KP-110;"GD-200, LR-2,5"', "KP-110;Pumpe;siehe Katalog;01.07.2026", "KP-200;Pumpe;KP 210;",
    )  # fmt: skip
    assert [[(each.kind, each.article_number) for each in product.references] for product in found.products] == [
        [("followup", "KP-110")], [], []
    ]  # fmt: skip
    told = [[f"{each.name}: {each.values[0].text}" for each in product.features] for product in found.products]
    assert told == [
        ["Zubehör: GD-200, LR-2,5"], ["Nachfolger: siehe Katalog", "Zubehör: 01.07.2026"], ["Nachfolger: KP 210"]
    ]  # fmt: skip
    (only,) = listed("Artikelnummer;Bezeichnung;Zubehör", "KP-1;Pumpe;GD-200 | LR-200").products
    assert [(each.kind, each.article_number) for each in only.references] == [
        ("accessories", "GD-200"), ("accessories", "LR-200")
    ]  # fmt: skip
    assert "Zubehör (accessories): GD-200" in product_lines(only)


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("GD-200, LR-2,5-A", ["GD-200", "LR-2,5-A"]), ("RK2,5-GR", ["RK2,5-GR"]), ("QB-2,5/10, QB-10,5/10",
        ["QB-2,5/10", "QB-10,5/10"]), ("GD-200,LR-200", ["GD-200", "LR-200"]),
        ("ET-1001/ET-1002", ["ET-1001", "ET-1002"]), ("ET-1001 + ET-1002", ["ET-1001", "ET-1002"]),
        ("ET-1001 und ET-1002", ["ET-1001", "ET-1002"]), ("AB-12/3", ["AB-12/3"]), ("100/200", ["100/200"]),
        ("ET-1001/4711", ["ET-1001/4711"]), ("ET-1001 und Dichtung", []),
        ("KP-1,2", []), ("KP-100,20-A", []), ("2,5-4", []),
    ],
)  # fmt: skip
def test_a_cell_names_one_article_or_several_as_its_signs_part_them(cell: str, numbers: list[str]) -> None:
    (product,) = listed("Artikelnummer;Bezeichnung;Zubehör", f'KP-100;Pumpe;"{cell}"').products
    assert [each.article_number for each in product.references] == numbers


def test_further_columns_of_the_same_relation_name_further_articles() -> None:
    found = listed(
        "Artikelnummer;Bez.;Zubehör 1;Zubehör 2;Zubehör 3", "KP-100;Pumpe;GD-200;LR-200;", "KP-200;Pumpe;;;alle"
    )
    assert [each.article_number for each in found.products[0].references] == ["GD-200", "LR-200"]
    assert (found.products[0].name, features(found)) == ("Pumpe", [[], [("Zubehör 3", "alle", "")]])


def test_a_description_names_an_article_where_nothing_else_does_and_it_is_no_text() -> None:
    (lamp,) = listed("Artikelnummer;Beschreibung;Preis", "L-1;Lampe;9,90").products
    assert (lamp.name, lamp.descriptions) == ("Lampe", ())
    (told,) = listed("Artikelnummer;Beschreibung;Preis", f"L-1;{'Lampe mit Schirm. ' * 9};9,90").products
    assert (told.names, len(told.descriptions)) == ((), 1)
    (both,) = listed("Artikelnummer;Typ;Beschreibung;Preis", "L-1;LX 2;Lampe;9,90").products
    assert (both.name, both.descriptions[0].text) == ("LX 2", "Lampe")


def test_a_price_in_two_languages_is_one_and_two_kinds_of_prices_are_none() -> None:
    head = "Artikel-Nr. / Item No.;Bezeichnung;{}"
    for header in ("Preis / Price EUR", "Preis/Price [EUR]", "Listenpreis EUR / List price EUR"):
        (product,) = listed(head.format(header), "A-1;Klemme;3,20").products
        assert [(price.amount, price.currency) for price in product.prices] == [("3.20", "EUR")]
    for header in ("Preis / UVP EUR", "Listenpreis / Net price"):
        assert listed(head.format(header), "A-1;Klemme;3,20").products[0].prices == ()


@pytest.mark.parametrize("closing", ['A-4;"Rohr";6,50', "A-4;Rohr;6,50"])
def test_a_quote_that_is_never_closed_takes_no_other_row_into_its_cell(closing: str) -> None:
    found = listed(
        "Artikelnummer;Bezeichnung;Preis EUR", 'A-1;"Premium Kabel;3,50', 'A-2;19" Rack;4,50', closing,
        'A-5;"Zeile 1', 'Zeile "zwei" Ende";7,50', 'A-6;"L"-Profil;8,50', 'A-7;"1/2"" Rohr; rot";9,50',
    )  # fmt: skip
    assert [(each.name, each.prices[0].amount) for each in found.products] == [
        ('"Premium Kabel', "3.50"), ('19" Rack', "4.50"), ("Rohr", "6.50"), ('Zeile 1\nZeile zwei" Ende"', "7.50"),
        ("L-Profil", "8.50"), ('1/2" Rohr; rot', "9.50"),
    ]  # fmt: skip
