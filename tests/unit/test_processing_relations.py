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
