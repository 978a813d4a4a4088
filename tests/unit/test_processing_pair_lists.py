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
    own = listed("Artikel-Nr.;Bezeichnung;Zubehör-Nr.;Preis EUR", "RK-4-GR;Klemme;AP-4-GR;0,50").products[0]
    assert (own.name, [price.amount for price in own.prices]) == ("Klemme", ["0.50"])


def test_names_behind_another_number_are_of_that_one_where_an_article_has_several() -> None:
    head = "Artikel-Nr.;Zubehör-Nr.;Bezeichnung;Preis EUR"
    rows = ["RK-4-GR;AP-4-GR;Abschlussplatte;0,50", "RK-4-GR;EW-35;Endwinkel;0,80", "RK-6-GR;AP-6-GR;Platte;0,60"]
    plate = [("Bezeichnung", "Abschlussplatte", ""), ("Preis EUR", "0,50", "")]
    for listing in (rows, [rows[0], rows[1].replace("RK-4-GR", "")]):
        found = listed(head, *listing)
        assert {(product.names, product.prices) for product in found.products} == {((), ())}
        assert [each for each in features(found)[0] if each[0] != "Zubehör-Nr."] == plate


@pytest.mark.parametrize(
    ("header", "accessory"),
    [("Art.-Nr.;Zubehör-Artikelnr.;Bezeichnung;VPE;Listenpreis", "AP-4-GR"),
     ("Artikel-Nr.;Ersatzteil-Nr.;Beschreibung;VPE;Preis", ""),
     ("Item no.;Accessory No.;Name;Pack size;Price", "alle")],
)  # fmt: skip
def test_names_and_prices_behind_another_number_are_of_the_article_that_has_one_row(
    header: str, accessory: str
) -> None:
    rows = [f"RK-4-GR;{accessory};Klemme 4;50;1,20", f"RK-6-GR;{accessory};Klemme 6;40;1,40"]
    more = [f"{rows[0]};1", f"{rows[0]};10", "RK-6-GR;AP-6-GR;Klemme 6;40;1,40;1"]  # a scale, of one name
    for found in (listed(header, *rows), listed(f"{header};ab Menge", *more)):
        assert {product.name for product in found.products} == {"Klemme 4", "Klemme 6"}
        assert found.products[0].prices[0].amount == "1.20"
        assert (header.split(";")[3], "50", "") in features(found)[0]


def test_a_list_of_parts_may_name_them_by_a_description() -> None:
    found = listed("Artikel;Ersatzteil;Beschreibung", "NT-24-5;ET-1001;Sicherung 5 A")
    assert (relations(found), features(found)) == (
        [("NT-24-5", "sparepart", "ET-1001")], [[("Beschreibung", "Sicherung 5 A", "")]],
    )  # fmt: skip


@pytest.mark.parametrize(
    "header",
    ["Device;Serial;Accessories", "Gerät;Standort;Ersatzteil", "Machine;Location;Spare part no.",
     "Artikel;Raum;Zubehör", "Item;IP-Adresse;Nachfolger", "Device;Inventar-Nr.;Accessories"],
)  # fmt: skip
def test_an_inventory_of_what_is_there_is_no_list_of_articles(header: str) -> None:
    found = listed(header, "SRV01;R2041;KVM8", "SRV02;R2042;KVM9")
    assert found.products == ()
    assert texts(found) == [f"{header.replace(';', ' | ')}\nSRV01 | R2041 | KVM8\nSRV02 | R2042 | KVM9"]


@pytest.mark.parametrize("header", ["Gerät;Ersatzteil", "Device;Accessories"])
def test_pairs_that_do_not_say_that_they_are_numbers_are_articles_where_both_are_written_alike(header: str) -> None:
    assert listed(header, "SRV01;KVM-8", "SRV02;Dock 12").products == ()
    assert extracted(page(header, "SRV01;KVM-8"), "a.html").products == ()
    assert listed(header, "NT-24-3;entfällt", "NT-24-8;-").products == ()
    found = listed(header, "NT-24-3;NT-24-5, NT-24-8", "NT-24-8;entfällt")
    assert [target for _, _, target in relations(found)] == ["NT-24-5", "NT-24-8"]


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
