"""What a list's title says of all its prices reaches each of them, and its sums are no articles."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.terms import Terms, terms_of
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.product_text import product_lines
from tests.tables_rig import extracted, listed, sheet, texts

HEADER = "Artikelnummer;Bezeichnung;Preis"


def prices(found: Extraction) -> list[tuple[str | None, str, str, str]]:
    each = [price for product in found.products for price in product.prices]
    return [(price.amount, price.currency, price.quantity, price.unit) for price in each]


@pytest.mark.parametrize(
    ("line", "currency", "quantity"),
    [
        ("Preisliste 2026 - alle Preise in EUR zzgl. MwSt.", "EUR", ""), ("Preisliste CHF 2026", "CHF", ""),
        ("All prices in CHF, valid from 2026-02-01", "CHF", ""), ("Preise verstehen sich netto in Euro", "EUR", ""),
        ("EUR-Preisliste", "EUR", ""), ("Währung: USD", "USD", ""), ("Preise in €  je 100 Stück", "EUR", "100 Stück"),
        ("Alle Preise in EUR pro 100 Stück zzgl. gesetzl. MwSt.", "EUR", "100 Stück"), ("Preise je m", "", "m"),
        ("Preisliste 2026, alle Preise in EUR, per 100 Stück", "EUR", "100 Stück"), ("Preis je 100 kg", "", "100 kg"),
        ("Muster GmbH Preise in EUR", "EUR", ""), ("Bruttolistenpreise in CHF ohne MwSt.", "CHF", ""),
        ("Muster GmbH, List prices in GBP", "GBP", ""), ("Die Preise in EUR gelten ab 1.1.2026", "EUR", ""),
        ("Preise per 1.000 Stück", "", "1000 Stück"), ("Preise pro Tausend", "", "Tausend"),
    ],
)  # fmt: skip
def test_a_title_says_currency_and_quantity_of_all_prices(line: str, currency: str, quantity: str) -> None:
    assert terms_of(["Muster GmbH", line]) == Terms(currency, quantity)


@pytest.mark.parametrize(
    "line",
    [
        "Preise ab 5 EUR", "Preise netto, Fracht 8,50 EUR", "Kurs 1 EUR = 0,94 CHF, Preise in EUR",
        "Preise in EUR und CHF", "Preise in PLN, umgerechnet in EUR", "Preisgruppe EUR",
        "Preise für Klemmen je 100 Stück", "Preise je VPE", "Lieferung in EUR-Paletten", "Preise pro Monat",
        "Kupferpreis in USD je t: 9.500", "der Kupferpreis in USD ist gestiegen.", "Kupfer-Preise in USD",
        "Copper price in USD", "Copper prices per kg", "Der Preis in USD ist gestiegen", "Preise in USD auf Anfrage",
        "Die Preise in USD sind gestiegen", "Kupferpreis je 100 kg", "Silberpreis je kg", "Kupfer, Preis je 100 kg",
        "Frachtpreise in CHF", "Sonderpreis EUR", "Preisliste Euro-Paletten", "Preisliste Euro Paletten",
    ],
)  # fmt: skip
def test_what_may_be_of_something_else_or_is_two_says_nothing(line: str) -> None:
    assert terms_of([line]) == Terms()


def test_prices_have_the_currency_and_quantity_of_the_lists_title() -> None:
    found = listed("Preisliste 2026;;", "Alle Preise in EUR je 100 Stück;;", HEADER, "A-1;Klemme;48,20")
    assert prices(found) == [("48.20", "EUR", "100", "Stück")]
    assert "Preis (Preis): 48.20 EUR je 100 Stück" in product_lines(found.products[0])
    page = (
        "<p>Alle Preise in Euro, netto.</p><table><tr><th>Artikelnummer</th><th>Bezeichnung</th><th>Preis</th></tr>"
        "<tr><td>DU-6</td><td>Dübel</td><td>4,50</td></tr></table>"
    )
    assert prices(extracted(page.encode(), "preise.html")) == [("4.50", "EUR", "", "")]


@pytest.mark.parametrize("said", ["1.000", "1,000", "1000", "1 000"])
def test_a_titles_thousand_is_one_however_the_list_writes_numbers(said: str) -> None:
    for row in ("A-1;Klemme;12,50", "A-1;Klemme;12.50"):
        ((amount, _, quantity, unit),) = prices(listed(f"Preise in EUR per {said} Stück;;", "SKU;Name;Price", row))
        assert (amount, float(quantity), unit) == ("12.50", 1000.0, "Stück")


def test_a_price_that_says_its_own_currency_or_quantity_keeps_it() -> None:
    found = listed(
        "Alle Preise in EUR je 100 Stück;;;", "Artikelnummer;Bezeichnung;Preis CHF;Preiseinheit", "A-1;Klemme;48,20;10"
    )
    assert prices(found) == [("48.20", "CHF", "10", "")]


@pytest.mark.parametrize(
    ("header", "cell", "currency"),
    [
        ("Preis", "12,50 PLN", "PLN"), ("Preis", "12,50 Kč", "CZK"), ("Preis", "12,50 zł", "PLN"),
        ("Preis", "12,50 SFr.", "CHF"), ("Preis (SEK)", "12,50", "SEK"), ("Preis", "12,50 kr", ""),
        ("Preis", "₺ 12,50", ""), ("Preis (THB)", "12,50", ""), ("Preis (kr)", "12,50", ""),
        ("Preis (zzgl. MwSt.)", "12,50", "EUR"), ("Nettopreis [Stück]", "12,50", "EUR"), ("Preis / Price", "9", "EUR"),
        ("Preis (VPE)", "12,50", "EUR"), ("Preis pro VPE", "12,50", "EUR"), ("UVP netto", "12,50", "EUR"),
        ("Preis", "12,50 / 100 St", "EUR"), ("Listenpreis netto", "12,50 *", "EUR"), ("Preis je 100 m", "12,50", "EUR"),
        ("Preis ab 01.07.2026", "12,50", "EUR"),
    ],
)  # fmt: skip
def test_the_titles_currency_is_that_of_prices_that_say_nothing_else(header: str, cell: str, currency: str) -> None:
    found = listed("Preisliste 2026 in EUR;;", f"Artikelnummer;Bezeichnung;{header}", f"A-1;Klemme;{cell}")
    assert [said for _, said, _, _ in prices(found)] == [currency]


def test_a_title_between_families_holds_below_it_until_the_next_one_leaves_it_open() -> None:
    found = listed(
        "Preise in EUR;;", HEADER, "A-1;Klemme;1,20", "Export: Preise in USD;;", "A-2;Klemme;1,50", "Leuchten;;",
        HEADER, "B-1;Leuchte;9,20",
    )  # fmt: skip
    assert [currency for _, currency, _, _ in prices(found)] == ["EUR", "USD", ""]
    metres = listed(
        "Preise in EUR;;", HEADER, "Kabel - Preise je 100 m;;", "K-1;Kabel;58,90", "Summe;;58,90", "K-2;Kabel;9,90",
        "Schalter;;", "S-1;Schalter;4,50",
    )  # fmt: skip
    assert prices(metres) == [("58.90", "EUR", "100", "m"), ("9.90", "EUR", "100", "m")]
    assert [feature.name for feature in metres.products[2].features] == ["Preis (Menge nicht eindeutig)"]


@pytest.mark.parametrize(
    "row",
    ["Preise in USD auf Anfrage", "Sonderpreis EUR", "Preis USD", "Preise in USD, auf Anfrage", "Preis je 100 kg"],
)
def test_a_row_between_articles_that_says_anything_else_is_not_of_the_prices_below(row: str) -> None:
    for between in (f";{row};", f"{row};;"):
        found = listed("Preise in CHF;;", HEADER, "A-1;Klemme;1,20", between, "A-2;Klemme;1,50")
        assert prices(found) == [("1.20", "CHF", "", ""), ("1.50", "CHF", "", "")]


def test_a_line_below_the_header_may_be_the_lists_title() -> None:
    found = listed(
        HEADER, "Alle Preise in EUR je 100 Stück;;", "Klemmen;;", "A-1;Klemme;1,20", "Schalter;;", "S-1;Schalter;4"
    )
    assert prices(found) == [("1.20", "EUR", "100", "Stück"), ("4", "EUR", "100", "Stück")]


def test_prices_of_a_scale_without_a_currency_of_their_own_have_the_titles() -> None:
    scale = ["Artikelnummer;Bezeichnung;ab 1 Stk;ab 10 Stk", "A-1;Klemme;0,95;0,89"]
    (product,) = listed("Staffelpreise in EUR;;;", *scale).products
    assert [(price.amount, price.currency, price.lower_bound) for price in product.prices] == [
        ("0.95", "EUR", "1"), ("0.89", "EUR", "10")
    ]  # fmt: skip
    assert listed(*scale).products[0].prices == ()  # they may be discounts


@pytest.mark.parametrize(
    "row",
    ["3;5", "3,00;5,00", "0,125;1,250", "5;3", "0,50;0,50", "0,95 kr;0,89 kr", "3 %;5 %"],
)  # fmt: skip
def test_rebates_weights_and_pieces_of_a_scale_are_no_prices_for_the_titles_currency(row: str) -> None:
    found = listed("Preisliste EUR;;;", "Artikelnummer;Bezeichnung;ab 10 Stück;ab 100 Stück", f"A-1;Klemme;{row}")
    assert prices(found) == []
    backwards = listed("Preisliste EUR;;;", "Artikelnummer;Bezeichnung;ab 1.000 St;ab 10 St", "A-1;Klemme;5,00;3,00")
    assert prices(backwards) == []


def test_a_scale_of_a_sheets_numbers_is_one_where_they_fall_and_with_a_currency_in_its_header_always() -> None:
    title, header = ("Preisliste EUR",), ("Artikelnummer", "Bezeichnung", "1 Stück", "ab 10 Stück")
    fall = sheet(title, header, ("A-1", "Klemme", 1.2, 1), ("A-2", "Klemme", 0.95, 0.95))
    assert [(amount, currency) for amount, currency, _, _ in prices(fall)] == [
        ("1.2", "EUR"), ("1", "EUR"), ("0.95", "EUR"), ("0.95", "EUR")
    ]  # fmt: skip
    assert prices(sheet(title, header, ("A-1", "Klemme", 1.2, 1), ("A-2", "Klemme", 0.95, 0.99))) == []
    assert prices(sheet(title, header, ("A-1", "Klemme", 3, 2))) == []
    whole = listed("Preisliste EUR;;;", "Artikelnummer;Bezeichnung;ab 1.000 St;ab 10 St", "A-1;Klemme;9,00;10,00")
    assert [price.amount for price in whole.products[0].prices] == ["9.00", "10.00"]
    named = listed("Artikelnummer;Bezeichnung;ab 10 St EUR;ab 100 St EUR", "A-1;Klemme;5;5")
    assert prices(named) == [("5", "EUR", "", ""), ("5", "EUR", "", "")]


def test_discounts_beside_a_price_are_no_prices_of_a_scale() -> None:
    found = listed("Preise in EUR;;;", "Artikelnummer;Bezeichnung;Preis;ab 10 Stk", "A-1;Klemme;0,95;5,00")
    assert prices(found) == [("0.95", "EUR", "", "")]
    percent = listed("Preise in EUR;;;", "Artikelnummer;Bezeichnung;ab 1 Stk;ab 10 Stk", "A-1;Klemme;0,95;5 %")
    assert prices(percent) == []


@pytest.mark.parametrize(
    "said",
    ["Summe", "Zwischensumme:", "Gesamtsumme netto", "Summe Klemmen", "Summe 2026", "Total", "Subtotal", "Übertrag",
     "Gesamtbetrag", "MwSt. 19 %", "zzgl. MwSt."],
)  # fmt: skip
def test_a_sum_is_no_article(said: str) -> None:
    found = sheet(("Artikelnummer", "Bezeichnung", "Preis EUR"), ("A-1", "Klemme", 12.5), (said, "", 497.9))
    assert [product.article_number for product in found.products] == ["A-1"]
    assert said in texts(found)[-1]


@pytest.mark.parametrize("number", ["SUM-100", "TOTAL-5W30", "Summe-4711-A", "MWST 19-A", "ABC"])
def test_an_article_that_is_called_like_a_sum_is_one(number: str) -> None:
    assert [each.article_number for each in listed(HEADER, f"{number};Klemme;1,20").products] == [number]


@pytest.mark.parametrize("number", ["VAT-10", "VAT 12", "VAT-25", "UST 24", "MWST-19", "SUM", "Total", "Summe 12"])
def test_what_is_called_like_a_sum_and_has_a_name_or_a_gtin_is_an_article(number: str) -> None:
    assert [each.name for each in listed(HEADER, f"{number};Ventil;1,20").products] == ["Ventil"]
    head = "Artikelnummer;EAN;Bezeichnung;Preis"
    assert [each.article_number for each in listed(head, f"{number};4012345000016;;1,20").products] == [number]


@pytest.mark.parametrize(
    "row",
    ["Zwischensumme;Titel 1 Elektro", "Summe;netto", "Summe;3 Positionen", "MwSt;zzgl. 19 % MwSt.", "Subtotal;Page 1",
     "MwSt. 19 %;auf Nettobetrag", "Gesamtsumme;Angebot 4711", "Total;Total excl. VAT", "Übertrag;Seite 2"],
)  # fmt: skip
def test_a_sum_with_words_beside_it_is_none(row: str) -> None:
    assert [each.article_number for each in listed(HEADER, "A-1;Klemme;1,20", f"{row};12,00").products] == ["A-1"]


def test_a_sum_that_is_named_as_one_or_stands_in_a_list_without_names_is_none() -> None:
    rows = ["A-1;Klemme;1", "Summe;Gesamtsumme;1", "Total;Total;1", "zzgl. MwSt.;19 %;1", "VAT 70;Ethanol 70 %;1"]
    assert [each.name for each in listed(HEADER, *rows).products] == ["Klemme", "Ethanol 70 %"]
    found = listed("Artikelnummer;Preis", "VAT-10;1,20", "VAT 12;1,20", "Summe;2,40")
    assert [each.article_number for each in found.products] == ["VAT-10", "VAT 12"]
