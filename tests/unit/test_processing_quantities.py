"""A price carries the quantity that it is for; where a table leaves it open, it says so and no price is told."""

from __future__ import annotations

import json

import pytest

from servers.cradle.processing.extract.column_names import role_of
from servers.cradle.processing.extract.quantities import Quantity, Writing, number_of, quantity_of
from servers.cradle.processing.extraction import Extraction, Price
from servers.cradle.processing.product_text import product_lines
from tests.tables_rig import extracted, listed, sheet

GERMAN, ENGLISH, UNKNOWN = Writing("", "de"), Writing("", "en"), Writing()


def told(found: Extraction) -> list[tuple[str | None, str, str]]:
    return [(price.amount, price.quantity, price.unit) for product in found.products for price in product.prices]


def properties(found: Extraction) -> list[dict[str, str]]:
    return [{each.name: each.values[0].text for each in product.features} for product in found.products]


@pytest.mark.parametrize(
    ("text", "writing", "number", "unit"),
    [
        ("100 Stk", UNKNOWN, "100", "Stk"), ("per 100", UNKNOWN, "100", ""), ("je 1.000 St.", GERMAN, "1000", "St"),
        ("1,000 pcs", ENGLISH, "1000", "pcs"), ("1.000.000", UNKNOWN, "1000000", ""), ("1 000 m", UNKNOWN, "1000", "m"),
        ("1'000", UNKNOWN, "1000", ""), ("0,5 kg", UNKNOWN, "0.5", "kg"), ("1.000,5", UNKNOWN, "1000.5", ""),
        ("pro Stück", UNKNOWN, "1", "Stück"), ("Hundert", UNKNOWN, "100", ""), ("100 C62", UNKNOWN, "100", "C62"),
        ("100 m²", UNKNOWN, "100", "m²"), ("1.000", Writing(",", "en"), "1000", ""),
        ("1,000", Writing(",", ""), "1.000", ""),
    ],
)  # fmt: skip
def test_a_quantity_is_a_number_and_keeps_its_unit(text: str, writing: Writing, number: str, unit: str) -> None:
    assert quantity_of(text, writing) == Quantity(number, unit)


@pytest.mark.parametrize(
    ("text", "writing"),
    [
        ("1.000", UNKNOWN), ("1.000", ENGLISH), ("1,000", GERMAN), ("1.000", Writing(".", "de")), ("0", GERMAN),
        ("3 x 50", GERMAN), ("10-50", GERMAN), ("auf Anfrage", GERMAN), ("100 EUR", GERMAN), ("1.00.000", GERMAN),
        ("01.04.2026", GERMAN), ("100 20", GERMAN),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_or_in_none_is_no_quantity(text: str, writing: Writing) -> None:
    assert quantity_of(text, writing) is None


def test_a_package_is_a_number_of_what_it_holds() -> None:
    for text, unit in (("VPE 50", ""), ("VPE à 50 Stk", "Stk"), ("VPE (50 Stk)", "Stk"), ("pack of 50", "")):
        assert quantity_of(text, UNKNOWN) == Quantity("50", unit, package=True)
    assert quantity_of("VPE", UNKNOWN) == Quantity("", "VPE", package=True)


def test_numbers_are_read_in_german_and_english() -> None:
    assert [number_of(text, Writing(",", "de")) for text in ("1.234,56", "1,234.56", "12.5", "1.234")] == [
        "1234.56", "1234.56", "12.5", "1234"
    ]  # fmt: skip


def test_headers_that_name_a_quantity_are_prices_and_others_are_not() -> None:
    prices = ["Preis per 1.000 Stück", "Listenpreis EUR / 100 St.", "Preis [EUR/100 Stk]", "EUR/100", "Preis ab 50 Stk"]
    assert [role_of(header) for header in prices] == ["price"] * 5
    others = ["Preis für Händler", "Preis / UVP", "Gewicht/Stk", "Preis per 01.04.2026", "per 100", "12,50 €/m"]
    assert [role_of(header) for header in others] == [None] * 6


def test_a_column_of_its_own_tells_the_quantity_of_each_row() -> None:
    found = listed(
        "Artikelnummer;Bezeichnung;Preis EUR;Preiseinheit;ME",
        "A-1;Klemme;12,50;1.000;Stk", "A-2;Klemme;3,10;100 Stk;Stk", "A-3;Kabel;99,00;per 100 m;ROL",
        "A-4;Set;7,00;;SET",
    )  # fmt: skip
    assert told(found) == [
        ("12.50", "1000", "Stk"), ("3.10", "100", "Stk"), ("99.00", "100", "m"), ("7.00", "", "SET")
    ]  # fmt: skip
    lines = [next(line for line in product_lines(product) if line.startswith("Preis")) for product in found.products]
    assert lines[:3] == [
        "Preis (Preis EUR): 12.50 EUR je 1000 Stk", "Preis (Preis EUR): 3.10 EUR je 100 Stk",
        "Preis (Preis EUR): 99.00 EUR je 100 m",
    ]  # fmt: skip


def test_the_header_tells_the_quantity_and_least_quantities_of_its_column() -> None:
    found = listed(
        "Art.-Nr.;Bezeichnung;Preis per 1.000 Stück;Staffelpreis je 100 Stk;Preis ab 500 Stk je 100",
        "A-1;Klemme;12,50;2,00;1,10",
    )
    assert found.products[0].prices == (
        Price("12.50", "", "Preis", quantity="1000", unit="Stück"),
        Price("2.00", "", "Staffelpreis", quantity="100", unit="Stk"),
        Price("1.10", "", "Preis", lower_bound="500", quantity="100"),
    )


def test_a_least_quantity_belongs_to_the_prices_behind_it_or_to_all_where_it_is_last() -> None:
    def bounds(header: str, row: str) -> list[tuple[str | None, str]]:
        found = listed(f"Artikelnummer;Bezeichnung 1;{header}", f"A-1;Klemme;{row}")
        assert found.products[0].name == "Klemme"
        return [(price.amount, price.lower_bound) for price in found.products[0].prices]

    tiers = "Preis EUR;Staffel ab Stück;Staffelpreis EUR"
    assert bounds(tiers, "2,10;100;1,80") == [("2.10", ""), ("1.80", "100")]
    assert bounds("Staffel 1 ab;Preis 1;Staffel 2 ab;Preis 2", "1;2,10;1.000;1,80") == [("2.10", "1"), ("1.80", "1000")]
    assert bounds("Preis 2025;Preis 2026;Mindestmenge", "2,10;2,20;10") == [("2.10", "10"), ("2.20", "10")]
    assert bounds(tiers, "2,10;;1,80") == [("2.10", ""), ("1.80", "")]


def test_an_english_list_is_read_by_its_own_number_form() -> None:
    found = listed("SKU,Name,Price per 100 pcs,MOQ", 'A-1,Terminal,"1,234.50","1,000"', "A-2,Fuse,3.20 USD/pc,50 pcs")
    assert found.products[0].prices == (Price("1234.50", "", "Price", lower_bound="1000", quantity="100", unit="pcs"),)
    assert properties(found)[1] == {"Price per 100 pcs (quantity unclear)": "3.20 USD/pc", "MOQ": "50 pcs"}


def test_a_price_cell_may_name_its_quantity_itself() -> None:
    found = listed("Artikelnummer;Preis", "A-1;12,50 € / 100 Stk", "A-2;7,00 EUR/m", "A-3;5,00", "A-4;1,00 / 2,00")
    assert told(found) == [("12.50", "100", "Stk"), ("7.00", "1", "m"), ("5.00", "", "")]
    assert found.products[0].prices[0].currency == "EUR"
    assert properties(found)[3] == {"Preis": "1,00 / 2,00"}
    parts = listed("Artikelnummer;Bezeichnung;Preis", "A-1;Zuschlag;10 %", "A-2;Klemme;10,00")
    assert (told(parts), properties(parts)[0]) == ([("10.00", "", "")], {"Preis": "10 %"})


def test_a_packing_unit_is_a_property_and_counts_only_where_the_price_is_for_it() -> None:
    each = listed("Artikelnummer;VPE;Preis EUR", "A-1;50 Stk;12,50")
    assert (told(each), properties(each)) == ([("12.50", "", "")], [{"VPE": "50 Stk"}])
    packed = listed("Artikelnummer;VPE;Preis EUR/VPE", "A-1;50 Stk;12,50", "A-2;;3,00")
    assert told(packed) == [("12.50", "50", "Stk"), ("3.00", "1", "VPE")]
    unnumbered = listed("Artikelnummer;Bezeichnung;VPE;Preis", "A-1;Klemme;VPE;12,50 je VPE")
    assert told(unnumbered) == [("12.50", "1", "VPE")]
    ordered = listed("Artikelnummer;Einheit;VPE;Preis je VPE", "A-1;Karton;50 Stk;12,50")
    assert told(ordered) == [("12.50", "1", "Karton")]


def test_an_ambiguous_quantity_is_said_and_no_price_is_told() -> None:
    found = listed("Nr;Artikelnummer;Preis;Preiseinheit", "1;A-1;12.50;1.000", "2;A-2;12.50;100")
    assert told(found) == [("12.50", "100", "")]
    assert properties(found)[0] == {"Nr": "1", "Preis (Menge nicht eindeutig)": "12.50", "Preiseinheit": "1.000"}
    assert "Preis (Menge nicht eindeutig): 12.50" in product_lines(found.products[0])
    contradicting = listed("Artikelnummer;Preis je 100;PE", "A-1;1,50;1000", "A-2;1,50;100 Stk")
    assert told(contradicting) == [("1.50", "100", "Stk")]
    assert properties(contradicting)[0] == {"Preis je 100 (Menge nicht eindeutig)": "1,50", "PE": "1000"}
    either = listed("Artikelnummer;Preis (VPE 50)", "A-1;12,50")
    assert (told(either), properties(either)) == ([], [{"Preis (VPE 50) (Menge nicht eindeutig)": "12,50"}])


def test_what_belongs_to_prices_is_kept_where_a_table_has_none() -> None:
    found = listed("Artikelnummer;Bezeichnung;Mindestmenge;Preiseinheit", "A-1;Klemme;50;100")
    assert properties(found) == [{"Mindestmenge": "50", "Preiseinheit": "100"}]


def test_cells_that_a_sheet_holds_as_numbers_have_a_decimal_point_whatever_the_texts_beside_them() -> None:
    found = sheet(
        ("Artikelnummer", "Bezeichnung", "Preis EUR", "Preiseinheit"),
        ("A-1", "Klemme", 12.5, "1.000 Stück"), ("A-2", "Klemme", "1.012,50 €", 1000), ("A-3", "Klemme", 1.125, 0.5),
    )  # fmt: skip
    assert told(found) == [("12.5", "1000", "Stück"), ("1012.50", "1000", ""), ("1.125", "0.5", "")]
    data = [{"sku": f"A-{n}", "Preis": 1.125, "Preiseinheit": "1.000"} for n in range(2)]
    assert told(extracted(json.dumps(data).encode(), "a.json")) == [("1.125", "1000", "")] * 2


def test_a_later_row_with_a_comma_is_not_read_as_a_larger_price() -> None:
    rows = [f"A-{n};{n}" for n in range(1, 300)]
    found = listed("Artikelnummer;Preis", *rows, "A-300;12,50")
    assert told(found)[-1] == ("12.50", "", "")


def test_an_article_number_does_not_make_a_german_product_english() -> None:
    found = listed("Artikelnummer;Bezeichnung;Preis EUR", "AN-24;Netzteil AN-24 AT-5;12,50")
    assert product_lines(found.products[0]) == [
        "Netzteil AN-24 AT-5 (Artikelnummer AN-24)",
        "Preis (Preis EUR): 12.50 EUR",
    ]


@pytest.mark.parametrize("name", ["Netzteil NT 24 V / 10 A", "Dose in Aufputz", "Klemme an Schiene"])
def test_an_ampere_and_words_of_both_languages_make_no_product_english(name: str) -> None:
    (product,) = listed("Artikelnummer;Bezeichnung;Preis EUR", f"X-1;{name};12,50").products
    assert product_lines(product)[0] == f"{name} (Artikelnummer X-1)"


@pytest.mark.parametrize(
    ("headers", "cells", "scale"),
    [
        ("1 Stk;ab 10 Stk;ab 100 Stk", "0,45 €;0,39 €;0,30 €", ["1", "10", "100"]),
        ("1 Stk;ab 10 Stk", "0,45;0,39", []),  # it may be anything
        ("1 Stk;10 Stk", "0,45 €;3,90 €", []),  # ten of them for 3.90, or each of ten
        ("ab Werk;1 Stk", "0,45 €;0,39 €", []),
    ],
)
def test_headers_that_say_from_which_quantity_are_a_scale_where_each_cell_is_an_amount(
    headers: str, cells: str, scale: list[str]
) -> None:
    (product,) = listed(f"Artikelnummer;Bezeichnung;{headers}", f"A-1;Klemme;{cells}").products
    assert [each.lower_bound for each in product.prices] == scale
    assert len(product.features) == (0 if scale else headers.count(";") + 1)  # nothing is lost
