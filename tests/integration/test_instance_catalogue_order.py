"""Catalogues say when they were made: of one supplier's the newest holds, in exports and for what an update deletes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from dataset_corpus import frozen, unpack, written

from shared.dataset.rows import DocumentBundle, FeatureRow
from tests.integration.test_instance_products import cost, exported, offered, taking_back


def catalogue(path: str, dated: str, name: str, *features: str, amount: str = "", **changes: Any) -> DocumentBundle:
    """A BMEcat catalogue made on a day, which has the article 4711 with these features."""
    bundle = offered(path, cost(amount or "1"), supplier="Muster", name=name, **changes)
    product = bundle.parts.products[0]
    told = [
        FeatureRow(product.document_id, product.product_id, place, each, 1, value=name)
        for place, each in enumerate(features)
    ]
    parts = replace(bundle.parts, features=told, prices=bundle.parts.prices if amount else [])
    return made_on(replace(bundle, parts=parts), dated)


def made_on(bundle: DocumentBundle, dated: str, extractor: str = "bmecat") -> DocumentBundle:
    return replace(bundle, document=replace(bundle.document, extractor=extractor, dated=dated))


async def article(tmp_path: Path, *bundles: DocumentBundle) -> dict[str, Any]:
    """What the export says of 4711; nothing where it is left out."""
    await written(tmp_path / "original", list(bundles))
    _, data = await exported(unpack(frozen(tmp_path / "original"), tmp_path / "frozen"), tmp_path, "json")
    return next((each for each in orjson.loads(data) if each["article_number"] == "4711"), {})


def features(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["values"][0] for each in found["features"]}


@pytest.mark.parametrize(("transaction", "extractor"), [("new", "bmecat"), ("update", "bmecat"), ("new", "archive")])
async def test_what_an_article_says_comes_from_the_newest_catalogue_though_an_older_one_says_more(
    tmp_path: Path, transaction: str, extractor: str
) -> None:
    old = catalogue("a.xml", "2025-01-01", "alt", "Farbe", "Strom", "Maß", amount="1")
    new = catalogue("b.xml", "2026-01-01", "neu", "Farbe", amount="2", transaction=transaction)
    found = await article(tmp_path, old, made_on(new, "2026-01-01", extractor))
    assert (found["name"], features(found)) == ("neu", {"Farbe": "neu"})
    assert [each["amount"] for each in found["prices"]] == ["2"]


async def test_what_the_newest_leaves_empty_comes_from_the_one_before(tmp_path: Path) -> None:
    old = catalogue("a.xml", "2025-01-01", "alt", "Farbe", amount="1", gtin="4099000010207")
    new = catalogue("b.xml", "2026-01-01T08:00:00", "neu")
    found = await article(tmp_path, old, new)
    assert (found["name"], found["gtin"], features(found)) == ("neu", "4099000010207", {"Farbe": "alt"})


@pytest.mark.parametrize("kept", ["no date", "another supplier", "another language", "no catalogue"])
async def test_without_an_order_the_one_that_says_the_most_is_first(tmp_path: Path, kept: str) -> None:
    old = catalogue("a.xml", "2025-01-01", "alt", "Farbe", "Strom")
    dated = "" if kept == "no date" else "2026-01-01"
    new = catalogue("b.xml", dated, "neu", "Farbe", language="en" if kept == "another language" else "de")
    if kept == "another supplier":
        (row,) = new.parts.products
        new = replace(new, parts=replace(new.parts, products=[replace(row, supplier="Anders")]))
    if kept == "no catalogue":
        new = made_on(new, dated, extractor="spreadsheet")
    assert (await article(tmp_path, old, new))["name"] == "alt"


@pytest.mark.parametrize(("update", "amount"), [("2025-06-01", "3"), ("2026-06-01", "2"), ("", "2")])
async def test_a_price_update_holds_until_a_newer_catalogue_states_prices(
    tmp_path: Path, update: str, amount: str
) -> None:
    prices = catalogue("p.xml", update, "", amount="2", transaction="prices")
    new = catalogue("b.xml", "2026-01-01", "neu", "Farbe", amount="3")
    found = await article(tmp_path, prices, new)
    assert [each["amount"] for each in found["prices"]] == [amount]


@pytest.mark.parametrize(
    ("deleted", "named", "transaction", "sold"),
    [
        ("2026-01-01", "2025-01-01", "new", False),
        ("2026-01-01", "2025-01-01", "update", False),
        ("2025-01-01", "2026-01-01", "new", True),
        ("2025-01-01", "2026-01-01", "update", True),
        ("2026-01-01", "2026-01-01T09:00:00", "new", False),
        ("2026-01-01", "2026-01-01T09:00:00", "update", True),
        ("", "2026-01-01", "new", False),
        ("", "2026-01-01", "update", True),
    ],
)
async def test_a_deletion_holds_for_older_catalogues_and_by_its_kind_where_there_is_no_order(
    tmp_path: Path, deleted: str, named: str, transaction: str, sold: bool
) -> None:
    gone = made_on(taking_back("update.xml", "4711", "Muster"), deleted)
    found = await article(tmp_path, catalogue("k.xml", named, "Klemme", transaction=transaction), gone)
    assert bool(found) is sold


async def test_an_article_is_called_by_its_name_though_a_price_update_that_has_none_says_more(tmp_path: Path) -> None:
    new = catalogue("a.xml", "2025-01-01", "Klemme", amount="1")
    scale = offered("p.xml", cost("2"), cost("3"), supplier="Muster", name="4711", transaction="prices")
    found = await article(tmp_path, new, made_on(scale, "2026-01-01"))
    assert (found["name"], [each["amount"] for each in found["prices"]]) == ("Klemme", ["2", "3"])
