"""Columns of a list that name other articles are relations of its products."""

from __future__ import annotations

import pytest

from tests.tables_rig import features, listed


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("Passend zu", "fits"), ("passend für Artikel", "fits"), ("Zubehör zu", "fits"), ("Compatible with", "fits"),
        ("Ersatz für", "replaces"), ("Ersetzt", "replaces"), ("Vorgänger", "replaces"),
    ],
)  # fmt: skip
def test_what_an_article_fits_or_replaces_is_a_relation(column: str, kind: str) -> None:
    (product,) = listed(f"Artikelnummer;Bezeichnung;{column}", "AB-100;Deckel;GD-200, GD-210").products
    assert [(each.kind, each.article_number) for each in product.references] == [(kind, "GD-200"), (kind, "GD-210")]


@pytest.mark.parametrize("said", ["35mm²", "2,5mm²", "400V", "M8", "Gehäuse der Reihe 200", "alle"])
def test_a_size_or_words_that_it_fits_are_a_property_and_no_article(said: str) -> None:
    found = listed("Artikelnummer;Bezeichnung;Passend für", f"AB-100;Deckel;{said}")
    assert found.products[0].references == ()
    assert features(found) == [[("Passend für", said, "")]]


@pytest.mark.parametrize(
    ("numbers", "series"),
    [
        (("1013456", "1013457"), "KP200"),
        (("KP200-D24", "KP200-Z1"), "KP200"),
        (("KP2001024", "KP3001024"), "KP200"),  # the first one begins with it
        (("A 100.20", "A 100.21"), "KP200, KP300"),
    ],
)
def test_a_series_that_it_fits_is_no_article(numbers: tuple[str, ...], series: str) -> None:
    rows = [f"{number};Deckel;{series}" for number in numbers]
    found = listed("Artikelnummer;Bezeichnung;Passend für", *rows)
    assert [product.references for product in found.products] == [(), ()]
    assert features(found) == [[("Passend für", series, "")]] * 2


@pytest.mark.parametrize("target", ["ZB-4", "KL-4711", "KL-20, ZB-100", "4012345000016"])
def test_an_article_that_it_fits_is_one_that_the_list_has_or_is_numbered_as_those_of_it(target: str) -> None:
    head = "Artikelnummer;EAN;Bezeichnung;Passend zu"
    found = listed(head, f"ZB-01;4012345000012;Deckel;{target}", "ZB-4;4012345000013;Deckel;")
    assert [each.article_number for each in found.products[0].references] == target.split(", ")
