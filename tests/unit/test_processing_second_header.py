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
