"""Sheets on which tables do not simply stand below one another."""

from __future__ import annotations

import datetime

import pytest

from servers.cradle.processing.extract import spreadsheet
from servers.cradle.processing.extract.arranged import MAX_ROWS, read_sheet
from servers.cradle.processing.extraction import Extraction, Product, joined, parts
from tests.tables_rig import features, listed, sheet, texts


def numbers(found: Extraction) -> list[str]:
    return [product.article_number for product in found.products]


def test_lists_beside_one_another_are_lists_of_their_own() -> None:
    found = sheet(
        ("Netzteile", "", "", "", "", "Klemmen"),
        ("Artikelnummer", "Bezeichnung", "Preis EUR", "", "", "Artikelnummer", "Farbe"),
        ("N-1", "Netzteil", 10, "", "", "K-1", "rot"),
        ("N-2", "Netzteil groß", 20, "", "", "K-2", "blau"),
        ("", "", "", "", "", "K-3", "grün"),
    )
    assert numbers(found) == ["N-1", "N-2", "K-1", "K-2", "K-3"]
    assert features(found) == [[], [], [("Farbe", "rot", "")], [("Farbe", "blau", "")], [("Farbe", "grün", "")]]
    assert texts(found) == ["Preise", "Netzteile", "Klemmen"]


@pytest.mark.parametrize(
    "header",
    [
        ("Artikelnummer", "", "Farbe", "Preis"),  # an empty column alone parts nothing
        ("Artikelnummer", "Bestellnummer", "Farbe", "Preis"),  # nor do two numbers of one article
    ],
)
def test_one_list_stays_one(header: tuple[str, ...]) -> None:
    second = "B-1" if header[1] else ""
    found = sheet(header, ("N-1", second, "rot", 1), ("N-2", second, "blau", 2))
    assert numbers(found) == ["N-1", "N-2"]
    assert [[name for name, _, _ in each][-1] for each in features(found)] == ["Farbe", "Farbe"]


def test_a_data_sheet_on_its_side_is_of_the_articles_in_its_columns() -> None:
    found = sheet(
        ("Technische Daten 2024", "", ""),
        ("Artikelnummer", "NT-24", "NT-48"),
        ("Elektrische Daten", "", ""),
        ("Breite [mm]", 10, 20.5),
        ("Schutzart", "IP20", "IP65"),
        ("Preis EUR", 1.5, 2.5),
        ("Angaben ohne Gewähr", "", ""),
    )
    assert numbers(found) == ["NT-24", "NT-48"]
    assert features(found) == [
        [("Breite", "10", "mm"), ("Schutzart", "IP20", "")], [("Breite", "20.5", "mm"), ("Schutzart", "IP65", "")],
    ]  # fmt: skip
    assert [[price.amount for price in each.prices] for each in found.products] == [["1.5"], ["2.5"]]
    assert [each.properties for each in found.products] == [(("table", "Preise"),)] * 2
    assert texts(found) == ["Preise", "Technische Daten 2024\nElektrische Daten\nAngaben ohne Gewähr"]


def test_a_data_sheet_of_one_article_in_a_csv_file_is_that_article() -> None:
    found = listed("Merkmal;Wert", "Artikelnummer;NT-24", "Spannung;24 V", "Gewicht;1,2 kg")
    assert numbers(found) == ["NT-24"]
    assert [(name, value) for name, value, _ in features(found)[0]] == [("Spannung", "24 V"), ("Gewicht", "1,2 kg")]


def test_a_list_whose_columns_are_named_by_sizes_is_no_data_sheet() -> None:
    found = sheet(("Artikelnummer", "DN15", "DN20"), ("R-1", 1, 2), ("R-2", 3, 4), ("R-3", 5, 6))
    assert numbers(found) == ["R-1", "R-2", "R-3"]
    assert (
        listed("Artikelnummer;Preis 1;Preis 2", "ALPHA;1,00;2,00", "BETA;3,00;4,00", "GAMMA;5,00;6,00")
        .products[0]
        .article_number
        == "ALPHA"
    )


def test_a_long_list_is_read_as_it_comes() -> None:
    rows = iter([("Artikelnummer", "Farbe"), *((f"A-{at}", "rot") for at in range(3 * MAX_ROWS))])
    items = read_sheet(rows)
    assert next(item for item in items if isinstance(item, Product)).article_number == "A-0"
    assert next(rows)[0] == f"A-{MAX_ROWS}"
    assert len(joined(parts(items)).products) == 3 * MAX_ROWS - 2


@pytest.mark.parametrize(
    ("hours", "shown"), [(42, "42:00:00"), (1.5, "1:30:00"), (-2.25, "-2:15:00"), (0.0001, "0:00:00.360000")]
)
def test_a_duration_counts_its_hours_on(hours: float, shown: str) -> None:
    assert spreadsheet._cell(datetime.timedelta(hours=hours)) == shown
