"""What the header of a price says beside its name: from when it holds, and from which quantity on."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.column_names import role_of
from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import features, listed


def prices(found: Extraction) -> list[tuple[str | None, str, str, str, str]]:
    each = [price for product in found.products for price in product.prices]
    return [(price.amount, price.currency, price.lower_bound, price.valid_from, price.valid_to) for price in each]


def test_prices_of_two_days_hold_from_theirs_on() -> None:
    found = listed(
        "Preisliste gültig ab 01.01.2026;;;", "Artikelnummer;Preis bis 30.06.2026;Preis EUR ab 01.07.2026;UVP",
        "A-1;0,50;0,55;0,99",
    )  # fmt: skip
    assert prices(found) == [
        ("0.50", "", "", "2026-01-01", "2026-06-30"), ("0.55", "EUR", "", "2026-07-01", ""),
        ("0.99", "", "", "2026-01-01", ""),
    ]  # fmt: skip


def test_a_column_of_days_goes_before_the_headers() -> None:
    found = listed("Artikelnummer;Preis ab 01.07.2026 EUR;gültig ab", "A-1;0,55;01.08.2026", "A-2;0,55;")
    assert [start for _, _, _, start, _ in prices(found)] == ["2026-08-01", "2026-07-01"]


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("Preis ab 01.07.2026", "price"), ("Listenpreis (gültig ab 1. Juli 2026)", "price"),
        ("Price from 2026-07-01", "price"),
        ("Nettopreis EUR bis 12/2026", "price"), ("Lieferbar ab 01.07.2026", None), ("Preis ab 01.07.", None),
        ("Preis ab 31.02.2026", None), ("Preis ab 01/02/2026", None), ("Preis alt", None), ("ab 01.07.2026", None),
    ],
)  # fmt: skip
def test_a_header_is_a_dated_prices_where_price_and_day_are_certain(header: str, role: str | None) -> None:
    assert role_of(header) == role


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("Preis EUR / Price USD", None), ("Preis (EUR) / Price (USD)", None), ("Preis EUR / Price", "price"),
        ("Preis EUR / Price EUR", "price"), ("Preis / Price €", "price"),
    ],
)  # fmt: skip
def test_a_header_in_two_languages_is_one_price_where_it_names_one_currency(header: str, role: str | None) -> None:
    assert role_of(header) == role


def test_quantities_numbered_as_the_prices_beside_them_are_their_scale() -> None:
    found = listed(
        "Artikelnummer;Menge 1;Preis 1 EUR;Menge 2;Preis 2 EUR;Menge 3;Preis 3 EUR", "S-1;1;0,50;100;0,45;1.000;0,40",
        "S-2;1;0,60;;;;",
    )  # fmt: skip
    assert [(amount, bound) for amount, _, bound, _, _ in prices(found)] == [
        ("0.50", "1"), ("0.45", "100"), ("0.40", "1000"), ("0.60", "1")
    ]  # fmt: skip
    assert features(found) == [[], []]


def test_a_quantity_that_is_a_word_stays_one() -> None:
    found = listed("Artikelnummer;Menge 1;Preis 1 EUR;Menge 2;Preis 2 EUR", "S-1;Stk;12,00;Karton;100,00")
    assert [value for _, value, _ in features(found)[0]] == ["Stk", "Karton"]


@pytest.mark.parametrize(
    "header", ["Menge 1;Preis 1;Menge 3;Preis 2", "Menge;Preis;Menge 2;Preis 2", "Menge 1;Preis 1;Preis 2"]
)
def test_quantities_that_no_price_is_numbered_as_stay_properties(header: str) -> None:
    found = listed(f"Artikelnummer;{header}", f"S-1;5;0,50;7{';0,45' * (header.count(';') - 2)}")
    assert {bound for _, _, bound, _, _ in prices(found)} == {""}
