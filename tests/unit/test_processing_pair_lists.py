"""Lists that say of articles only what goes with them give relations, and no name of another article."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import extracted, features, listed, texts

Relations = list[tuple[str, str, str]]


def relations(found: Extraction) -> Relations:
    return [(each.article_number, ref.kind, ref.article_number) for each in found.products for ref in each.references]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("Artikel;Nachfolger", "followup"), ("Vorgänger;Nachfolger", "followup"),
        ("Alter Artikel;Ersetzt durch", "followup"), ("Maschine;Ersatzteil-Nr.", "sparepart"),
        ("Alte Artikelnummer;Neue Artikelnummer", "followup"), ("Artikel-Nr. alt;Artikel-Nr. neu", "followup"),
        ("Old part no.;New part no.", "followup"), ("Gerät;Ersatzteil", "sparepart"),
        ("Artikel;Zubehör", "accessories"), ("Product;Accessory No.", "accessories"),
        ("Artikel-Nr.;Zubehör-Artikel-Nr.", "accessories"), ("Artikelnummer;Nachfolger-Artikelnummer", "followup"),
    ],
)  # fmt: skip
def test_a_list_of_pairs_says_what_goes_with_each_article(header: str, kind: str) -> None:
    found = listed(header, "NT-24-3;NT-24-5", "NT-24-8;NT-24-10")
    assert relations(found) == [("NT-24-3", kind, "NT-24-5"), ("NT-24-8", kind, "NT-24-10")]


def test_a_title_above_a_list_of_pairs_is_text() -> None:
    found = listed("Nachfolgeliste 2026;", ";", "Artikel;Nachfolger", "A-100;B-100", "A-200;entfällt")
    assert relations(found) == [("A-100", "followup", "B-100")]
    assert features(found) == [[], [("Nachfolger", "entfällt", "")]]
    assert texts(found)[0] == "Nachfolgeliste 2026"


@pytest.mark.parametrize("article", ["Klemme", "Pumpe KP 100", "Netzteil 24 V"])
def test_articles_that_are_named_by_words_stay_a_table(article: str) -> None:
    found = listed("Artikel;Nachfolger", f"{article};NT-24-5")
    assert found.products == ()
    assert texts(found) == [f"Artikel | Nachfolger\n{article} | NT-24-5"]


@pytest.mark.parametrize("header", ["Artikel;Preis", "Artikel;Bezeichnung", "Produkt;Hersteller", "Artikel;Menge"])
def test_a_column_of_articles_beside_no_other_articles_is_one_of_names(header: str) -> None:
    assert listed(header, "NT-24-3;12,50").products == ()


def test_names_and_prices_behind_another_articles_number_are_of_that_one() -> None:
    found = listed("Artikel;Ersatzteil;Bezeichnung;Preis je 10 Stk", "NT-24-5;ET-1001;Sicherung 5 A;12,50")
    assert relations(found) == [("NT-24-5", "sparepart", "ET-1001")]
    assert (found.products[0].name, found.products[0].prices) == ("NT-24-5", ())
    assert features(found) == [[("Bezeichnung", "Sicherung 5 A", ""), ("Preis je 10 Stk", "12,50", "")]]
    named = listed("Artikel-Nr.;Zubehör-Nr.;Bezeichnung", "RK-4-GR;AP-4-GR;Abschlussplatte")
    assert (named.products[0].names, features(named)) == ((), [[("Bezeichnung", "Abschlussplatte", "")]])
    own = listed("Artikel-Nr.;Bezeichnung;Zubehör-Nr.;Preis EUR", "RK-4-GR;Klemme;AP-4-GR;0,50").products[0]
    assert (own.name, [price.amount for price in own.prices]) == ("Klemme", ["0.50"])


def test_a_list_of_spare_parts_is_of_these_and_says_what_they_fit() -> None:
    found = listed("Spare part no.;Description;Price EUR;Fits machine", "SP-10;Belt;1.50;M-1000", "SP-11;Gear;2;alle")
    assert [(each.article_number, each.name, each.prices[0].amount) for each in found.products] == [
        ("SP-10", "Belt", "1.50"), ("SP-11", "Gear", "2")
    ]  # fmt: skip
    assert relations(found) == [("SP-10", "fits", "M-1000")]
    assert relations(listed("Ersatzteilnummer;Bezeichnung;Gerät", "ET-1001;Sicherung;NT-2450")) == [
        ("ET-1001", "fits", "NT-2450")
    ]


def test_a_price_list_with_new_numbers_is_of_the_new_articles() -> None:
    found = listed("Alte Artikelnummer;Neue Artikelnummer;Bezeichnung;Preis EUR", "A-100;B-100;Klemme;1,50")
    assert relations(found) == [("B-100", "replaces", "A-100")]
    assert (found.products[0].name, found.products[0].prices[0].amount) == ("Klemme", "1.50")


def page(*rows: str) -> bytes:
    cells = ["".join(f"<td>{cell}</td>" for cell in row.split(";")) for row in rows]
    return ("<p>Preise in EUR</p><table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>").encode()


def test_pairs_in_a_document_are_relations_where_every_row_is_one() -> None:
    found = extracted(page("Artikel;Nachfolger", "PU-050;PU-100", "PU-060;entfällt"), "a.html")
    assert relations(found) == [("PU-050", "followup", "PU-100")]
    parts = extracted(page("Ersatzteilnummer;Bezeichnung;Preis", "ET-PU-01;Laufrad;89,00"), "a.html").products
    assert [(each.article_number, each.name, each.prices[0].currency) for each in parts] == [
        ("ET-PU-01", "Laufrad", "EUR")
    ]
    for rows in (("PU-050;PU-100", "Pumpe;PU-200"), ("PU-050;PU-100", ";PU-200")):
        assert extracted(page("Artikel;Nachfolger", *rows), "a.html").products == ()
    assert extracted(page("Ersatzteilnummer;Menge", "ET-PU-01;2"), "a.html").products == ()  # an order
