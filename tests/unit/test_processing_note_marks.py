"""Behind a price or an article number stands a note's number above the line, or cents: neither makes another number."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.columns import amount_of
from servers.cradle.processing.extract.encoding import raised
from servers.cradle.processing.extract.note_marks import without_notes
from tests.tables_rig import extracted


@pytest.mark.parametrize(
    ("cell", "amount"),
    [
        ("12,50¹⁾", "12.50"), ("12,50¹", "12.50"), ("12,50 ¹⁾", "12.50"), ("12,50 €¹⁾", "12.50"),
        ("12,50 EUR¹⁾", "12.50"), ("12,50¹⁾,²⁾", "12.50"), ("12,50¹,²", "12.50"), ("12,50⁽¹⁾", "12.50"),
        ("1.250,00 €²", "1250.00"), ("12,50¹²", "12.50"), ("12¹", "12"), ("9,⁹⁹", "9.99"), ("9,⁹⁹ €", "9.99"),
        ("9,⁹⁹ €¹⁾", "9.99"), ("9⁹⁹", None), ("9⁹⁹ €", None), ("12,50", "12.50"),
    ],
)  # fmt: skip
def test_an_amount_is_what_stands_on_the_line_and_cents_above_it(cell: str, amount: str | None) -> None:
    assert amount_of(cell, ",") == amount


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("KL-4711¹⁾", "KL-4711"),
        ("KL-4711¹", "KL-4711"),
        ("KL-A ²⁾", "KL-A"),
        ("35mm²", "35mm²"),
        ("m³", "m³"),
        ("²", "²"),
    ],
)
def test_a_number_is_without_that_of_a_note_and_a_unit_keeps_its_exponent(cell: str, number: str) -> None:
    assert without_notes(cell) == number


@pytest.mark.parametrize(("text", "said"), [("1, 2", "¹, ²"), ("1)2)", "¹⁾²⁾"), ("12,50", "12,50"), ("1,2", "¹,²")])
def test_several_notes_numbers_stand_above_the_line_and_small_print_stays(text: str, said: str) -> None:
    assert raised(text) == said


def test_an_article_with_notes_keeps_its_number_and_its_price_and_says_what_was_written() -> None:
    rows = "<tr><td>A-1<sup>1)</sup></td><td>Klemme</td><td>12,50<sup>2</sup> / m<sup>2</sup></td></tr>"
    head = "<tr><th>Artikelnummer</th><th>Name</th><th>Preis EUR</th></tr>"
    (product,) = extracted(f"<table>{head}{rows}</table>".encode(), "a.html").products
    assert product.article_number == "A-1"
    assert [(price.amount, price.unit) for price in product.prices] == [("12.50", "m²")]
    said = [(each.name, each.values[0].text) for each in product.features]
    assert said == [("Artikelnummer", "A-1¹⁾"), ("Preis EUR", "12,50² / m²")]
