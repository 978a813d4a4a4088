"""Prices hold from when to when their list says; where it leaves that open, they have no day and say so."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.validity import Validity, validity_of
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.product_text import product_lines
from tests.tables_rig import listed

HEADER = "Artikelnummer;Bezeichnung;Preis EUR"


def days(found: Extraction) -> list[tuple[str, str]]:
    return [(price.valid_from, price.valid_to) for product in found.products for price in product.prices]


@pytest.mark.parametrize(
    ("line", "start", "end"),
    [
        ("Preisliste gültig ab 01.01.2026", "2026-01-01", ""),
        ("Preise gültig vom 1. März 2026 bis 31.12.2026", "2026-03-01", "2026-12-31"),
        ("Preise gültig vom 01.01. bis 31.12.2026", "2026-01-01", "2026-12-31"),
        ("gültig bis zum 31.3.26", "", "2026-03-31"),
        ("Gültigkeit: 2026-01-01 – 2026-06-30", "2026-01-01", "2026-06-30"),
        ("Preisliste ab Januar 2026 gültig", "2026-01-01", ""),
        ("Preise gültig bis 02/2026", "", "2026-02-28"),
        ("valid from 1st April 2026", "2026-04-01", ""),
        ("Prices valid until March 31, 2026", "", "2026-03-31"),
        ("Prices effective from 13/02/2026", "2026-02-13", ""),
        ("Preisliste gültig ab 01.01.2026, ersetzt die Liste vom 01.01.2025", "2026-01-01", ""),
    ],
)
def test_a_line_says_from_when_to_when_prices_hold(line: str, start: str, end: str) -> None:
    assert validity_of(["Muster GmbH", line]) == Validity(start, end)


@pytest.mark.parametrize(
    "line",
    [
        "Preise gültig ab 01/02/2026", "Preise gültig vom 01.12. bis 31.01.2026", "gültig ab 31.02.2026",
        "Preise gültig ab 2026", "AGB gültig ab 01.01.2024", "Preise in EUR zuzüglich Fracht. AGB gültig ab 01.01.2024",
        "Preise gültig vom 01.06.2026 bis 01.05.2026", "Preise gültig ab 01.01.2026, Preise gültig ab 01.07.2026",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_gives_no_day_and_is_kept(line: str) -> None:
    assert validity_of([line]) == Validity(unclear=line)


def test_lines_are_read_together_and_those_of_other_things_do_not_disturb() -> None:
    assert validity_of(["gültig ab 01.01.2026", "Preise gültig bis 31.12.2026"]) == Validity("2026-01-01", "2026-12-31")
    assert validity_of(["AGB gültig ab 01.01.2024", "Preise gültig ab 01.01.2026"]) == Validity("2026-01-01")
    differ = validity_of(["gültig ab 01.01.2026", "gültig ab 01.02.2026"])
    assert differ == Validity(unclear="2026-01-01; 2026-02-01")
    silent = ["Preisliste 2026", "Stand 01.01.2026", "gültig ab sofort", "nicht mehr gültig ab 01.01.2026"]
    assert validity_of(silent) is None


def test_every_price_of_a_list_has_the_days_of_its_first_lines() -> None:
    found = listed("Preisliste Klemmen;;", "gültig ab;01.01.2026;", ";;", HEADER, "A-1;Klemme;1,20", "A-2;Klemme;2")
    assert days(found) == [("2026-01-01", "")] * 2
    assert "Preis (Preis EUR): 1.20 EUR gültig ab 2026-01-01" in product_lines(found.products[0])


def test_a_title_between_families_holds_for_those_below_it() -> None:
    found = listed(
        "Preise gültig ab 01.01.2026;;", HEADER, "A-1;Klemme;1,20",
        "Leuchten – Preise gültig ab 01.07.2026;;", HEADER, "B-1;Leuchte;9,20", "Werkszeugnis gültig bis 2030;;",
        "B-2;Leuchte;9,90",
    )  # fmt: skip
    assert days(found) == [("2026-01-01", ""), ("2026-07-01", ""), ("2026-07-01", "")]


def test_a_price_whose_days_are_open_says_so() -> None:
    found = listed("Preise gültig ab 01/02/2026;;", HEADER, "A-1;Klemme;1,20")
    assert days(found) == [("", "")]
    assert "Gültigkeit der Preise (nicht eindeutig): Preise gültig ab 01/02/2026" in product_lines(found.products[0])


def test_columns_of_days_go_before_the_lists_own_and_what_is_no_day_stays_a_property() -> None:
    found = listed(
        "Preise gültig ab 01.01.2026;;;;", f"{HEADER};gültig ab;gültig bis",
        "A-1;Klemme;1,20;01.02.2026;", "A-2;Klemme;1,20;auf Anfrage;31.12.2026",
    )  # fmt: skip
    assert days(found) == [("2026-02-01", ""), ("", "2026-12-31")]
    assert [[(each.name, each.values[0].text) for each in product.features] for product in found.products] == [
        [], [("gültig ab", "auf Anfrage")]
    ]  # fmt: skip
