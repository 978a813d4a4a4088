"""A header of two rows that no merged cells tell of: names below a group's, and units."""

from __future__ import annotations

import pytest

from tests.tables_rig import features, listed, sheet, texts


def test_names_below_a_groups_are_named_with_it() -> None:
    found = listed(
        "Artikel-Nr.;Bezeichnung;Abmessungen;;Gewicht [kg];Preis EUR", ";;Länge [mm];Breite [mm];;",
        "HL-100;Leuchte;320;80;1,2;189,00",
    )  # fmt: skip
    assert features(found) == [
        [("Abmessungen Länge", "320", "mm"), ("Abmessungen Breite", "80", "mm"), ("Gewicht", "1,2", "kg")]
    ]
    assert (found.products[0].prices[0].amount, texts(found)) == ("189.00", [])


def test_units_below_the_names_are_those_of_the_columns_and_of_prices() -> None:
    found = listed("Artikel-Nr.;Bezeichnung;Länge;Spannung;Preis", ";;mm;[V];EUR", "HL-100;Leuchte;320;230;189,00")
    assert features(found) == [[("Länge", "320", "mm"), ("Spannung", "230", "V")]]
    assert [(price.amount, price.currency) for price in found.products[0].prices] == [("189.00", "EUR")]
    held = sheet(("Artikel-Nr.", "Bezeichnung", "Länge"), ("", "", "mm"), ("HL-100", "Leuchte", 320))
    assert features(held) == [[("Länge", "320", "mm")]]


@pytest.mark.parametrize(
    "second",
    [
        ";;siehe Datenblatt;;",
        ";Leuchten;;;",
        "Leuchten;;;;",
        ";;320;;",
        ";;mm;groß;",
        ";;;;",
        "HL-99;Lampe;;klein;",
        ";;mm;;kg",
    ],
)
def test_a_row_that_adds_no_name_is_no_part_of_the_header(second: str) -> None:
    found = listed("Artikel-Nr.;Bezeichnung;Länge;;", second, "HL-100;Leuchte;320;;")
    assert features(found)[-1] == [("Länge", "320", "")]


@pytest.mark.parametrize("below", ["Deutsch;Englisch", "DE;EN", "Englisch;Deutsch", "kurz;lang"])
def test_a_group_that_names_articles_does_so_for_its_first_column(below: str) -> None:
    head = "Artikel-Nr.;Bezeichnung;;Preis EUR"
    (product,) = listed(head, f";{below};", "HL-100;Leuchte;Lamp;189,00").products
    assert (product.name, product.prices[0].amount) == ("Leuchte", "189.00")
    assert [each.name for each in product.features] == [f"Bezeichnung {below.split(';')[1]}"]


def test_a_name_below_a_groups_may_have_its_unit_or_sign_behind_it() -> None:
    found = listed("Artikel-Nr.;Bezeichnung;Abmessungen;", ";;Länge außen in mm;Breite B1", "HL-100;Leuchte;320;80")
    assert features(found) == [[("Abmessungen Länge außen in mm", "320", ""), ("Abmessungen Breite B1", "80", "")]]
    found = listed("Artikel-Nr.;Bezeichnung;Maße (mm);;", ";;Länge;Breite;Dicke [cm]", "HL-100;Leuchte;320;80;1")
    assert features(found) == [
        [("Maße Länge", "320", "mm"), ("Maße Breite", "80", "mm"), ("Maße (mm) Dicke", "1", "cm")]
    ]


def test_prices_of_a_scale_may_stand_below_their_groups_name() -> None:
    (product,) = listed("Artikel-Nr.;Bezeichnung;Preis EUR;", ";;ab 1 Stk;ab 10 Stk", "A-1;Klemme;1,20;1,10").products
    assert [(each.amount, each.lower_bound) for each in product.prices] == [("1.20", "1"), ("1.10", "10")]


def test_the_first_of_several_prices_below_one_name_is_not_the_price_and_days_are_those_of_each() -> None:
    for below in ("alt;neu", "EK;VK"):
        found = listed("Artikel-Nr.;Bezeichnung;Preis EUR;", f";;{below}", "A-1;Klemme;1,20;1,10")
        assert found.products[0].prices == ()
        assert [name for name, _, _ in features(found)[0]] == [f"Preis EUR {each}" for each in below.split(";")]
    found = listed("Artikel-Nr.;Bezeichnung;Preis EUR;", ";;bis 30.06.2026;ab 01.07.2026", "A-1;Klemme;1,20;1,10")
    days = [(each.amount, each.valid_from, each.valid_to) for each in found.products[0].prices]
    assert days == [("1.20", "", "2026-06-30"), ("1.10", "2026-07-01", "")]


@pytest.mark.parametrize(
    "row",
    [
        ";Neuheiten im Juli;siehe Seite 4;;", ";Neuheiten;neu;;", ";Deckel klein;auf Anfrage;;", ";Deckel;grau;;",
        ";;;9 EUR;8 EUR", ";;;auf Anfrage;auf Anfrage", ";;;EUR 9;EUR 8", ";Deckel;12,50;;", ";Deutsch;;;",
    ],
)  # fmt: skip
def test_a_remark_or_an_article_without_a_number_below_the_header_is_no_part_of_it(row: str) -> None:
    found = listed("Artikel-Nr.;Bezeichnung;;Preis;", row, "HL-100;Leuchte;blau;189,00;1")
    assert (found.products[0].name, found.products[0].prices[0].amount) == ("Leuchte", "189.00")
    assert features(found) == [[("Spalte 3", "blau", ""), ("Spalte 5", "1", "")]]
    assert [cell for cell in row.split(";") if cell and cell not in texts(found)[0]] == []


def test_what_comes_again_in_its_column_is_a_value() -> None:
    found = listed("Artikel-Nr.;Bezeichnung;Farbe;", ";;rot;matt", "HL-100;Leuchte;rot;matt")
    assert [name for name, _, _ in features(found)[0]] == ["Farbe", "Spalte 4"]
