"""Exports and classes over a real dataset: the formats hold, nothing is lost silently, and neighbours classify."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import shutil
import threading
from dataclasses import replace
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest
from dataset_corpus import article, document, frozen, unpack, written
from lxml import etree
from pydantic import TypeAdapter

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extraction import joined, parts
from servers.instance import shelf as shelf_module
from servers.instance.products import export as export_module
from servers.instance.products.bmecat import Head
from servers.instance.products.classes import Neighbour
from servers.instance.products.conditions import Condition
from servers.instance.products.export import Export, part
from servers.instance.products.plain_formats import ArticleRecord
from servers.instance.products.shelf import ProductShelf
from servers.instance.versions import Versions
from shared.contracts.instance import InstanceConfig
from shared.dataset.reader import DatasetReader
from shared.dataset.rows import (
    DocumentBundle,
    DocumentRow,
    MediaRow,
    PriceRow,
    ProductRow,
    RelationRow,
    document_id,
    product_id,
)
from shared.errors import InvalidInput, NotFound
from tests.image_rig import FINGERPRINT

HEAD = Head(catalogue_id="k1", supplier="Müller & Söhne KG", buyer="Handel <GmbH>", order_unit="C62")
NO_PRICE = "no complete price (amount, currency, type, order unit, dates)"
HOSTILE = '</SUPPLIER_PID><x a="1">&amp; ]]> =1+1;\x01 "Ende"'


def listed_price(path: str, number: str, name: str, amount: str | None) -> DocumentBundle:
    """A price list that names an article of another document, or one of its own."""
    doc = document_id(path)
    key = product_id(doc, number)
    row = DocumentRow(
        doc, path, "sha256:" + hashlib.sha256(path.encode()).hexdigest(), 9, "text/csv", "processed", 1, products=1
    )
    product = ProductRow(key, doc, 0, number, 1, name=name, unit="MTR", language="de")
    whole = document(0)
    prices = [] if amount is None else [PriceRow(doc, key, 0, "nrp", 1, amount=Decimal(amount), currency="EUR")]
    return DocumentBundle(
        row,
        replace(
            whole.parts,
            chunks=(),
            vectors=None,
            products=[product],
            features=[],
            prices=prices,
            groups=[],
            relations=[],
        ),
    )


CORPUS = [
    *(document(number) for number in range(1, 6)),
    listed_price("preise/liste.csv", article(2), "Klemme aus der Preisliste", "99.00"),
    listed_price("preise/ohne.csv", "OHNE-PREIS", "Ohne Preis", None),
    listed_price("preise/feindlich.csv", "X-1", HOSTILE, "0.5"),
    listed_price("preise/lang.csv", "L" * 33, "Zu lang", "1"),
    listed_price("preise/wort.csv", "W-1", "Wort " * 60, "1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("products")
    asyncio.run(written(made / "original", CORPUS))
    return unpack(frozen(made / "original"), made / "frozen")


async def exported(
    folder: Path, scratch: Path, form: str, head: Head = HEAD, document: str | None = None
) -> tuple[Export, bytes]:
    async with DatasetReader(folder) as reader:
        shelf = ProductShelf(reader, scratch)
        export, text, start = await shelf.part(form, head, document, 0, 101)  # pyright: ignore[reportArgumentType]
        while start is not None:
            again, piece, start = await shelf.part(form, head, document, start, 101)  # pyright: ignore[reportArgumentType]
            assert again is export
            text += piece
    data = text.encode()
    assert ("sha256:" + hashlib.sha256(data).hexdigest(), len(data)) == (export.digest, export.size)
    return export, data


def schema() -> etree.XMLSchema:
    file = resources.files("servers.instance.products") / "bmecat_2005_subset.xsd"
    return etree.XMLSchema(etree.fromstring(file.read_bytes()))


@pytest.mark.requirement("I-10")
async def test_the_bmecat_export_is_valid_holds_hostile_texts_and_counts_what_it_cannot_hold(
    folder: Path, tmp_path: Path
) -> None:
    export, data = await exported(folder, tmp_path, "bmecat")
    schema().assertValid(etree.fromstring(data))
    assert export.left_out == {NO_PRICE: 1, "article number over 32 characters": 1}
    assert (export.articles, export.merged, export.adjusted) == (7, 1, 2)
    broken = data.replace(b"<PRICE_CURRENCY>EUR", b"<PRICE_CURRENCY>Euro", 1)
    assert not schema().validate(etree.fromstring(broken))  # the schema can refuse


async def test_what_the_export_says_is_read_back_by_the_platforms_own_reader(folder: Path, tmp_path: Path) -> None:
    _, data = await exported(folder, tmp_path, "bmecat")
    whole = joined(parts(read(*identify(data, "export.xml"))))
    found = {each.article_number: each for each in whole.products}
    assert list(found) == sorted([*(article(number) for number in range(1, 6)), "W-1", "X-1"])
    klemme = found[article(2)]
    assert (klemme.gtin, klemme.names[0].text, klemme.manufacturer) == (
        "4012345000002",
        "Reihenklemme 2",
        "Müller Elektro",
    )
    assert [(each.feature_id, each.values[0].text, each.unit) for each in klemme.features] == [("EF000227", "16", "A")]
    assert [(each.amount, each.kind, each.currency) for each in klemme.prices] == [("2.1", "net_list", "EUR")]
    assert klemme.order_unit == "MTR"  # the data sheet names none, the price list does
    assert found[article(1)].order_unit == "C62"
    names = etree.fromstring(data).iterfind(".//{*}PRODUCT_DETAILS/{*}DESCRIPTION_SHORT")
    assert HOSTILE.replace("\x01", " ") in [each.text for each in names]


async def test_without_a_given_unit_articles_that_name_none_are_left_out(folder: Path, tmp_path: Path) -> None:
    export, _ = await exported(folder, tmp_path, "bmecat", replace(HEAD, order_unit=None))
    assert (export.articles, export.left_out["no order unit"]) == (3, 4)


async def test_json_and_csv_hold_every_article_and_equal_datasets_give_equal_bytes(
    folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, data = await exported(folder, tmp_path, "json")
    records = orjson.loads(data)
    from jsonschema import validate  # with its formats, which are compiled as it is loaded

    validate(records, TypeAdapter(list[ArticleRecord]).json_schema())
    assert len(records) == 9
    assert records[1]["prices"][0]["amount"] == "2.1"
    _, table = await exported(folder, tmp_path, "csv")
    rows = list(csv.reader(io.StringIO(table.decode()), delimiter=";"))
    assert {len(row) for row in rows} == {17}
    assert next(row for row in rows if row[0] == "X-1")[2] == HOSTILE
    again = tmp_path_factory.mktemp("again")
    await written(again / "original", CORPUS, seed=7, batch=2)
    copy = unpack(frozen(again / "original"), again / "frozen")
    for form, before in (("json", data), ("csv", table)):
        assert (await exported(copy, again, form))[1] == before


def variant(number: str, price: dict[str, Any], **changes: Any) -> DocumentBundle:
    """An article with the price of 12.50 euros for one metre, but for the changes."""
    bundle = listed_price(f"preise/{document_id(number)}.csv", number, "Klemme", "12.50")
    (row,), (cost,) = bundle.parts.products, bundle.parts.prices
    cost = replace(cost, **{"price_type": "net_list", "unit": "MTR"} | price)
    media = [MediaRow(row.document_id, row.product_id, 0, each, 1) for each in changes.pop("media", ())]
    relations = [RelationRow(row.document_id, number, "similar", each, 1) for each in changes.pop("similar", ())]
    told = {"products": [replace(row, **changes)], "prices": [cost], "media": media, "relations": relations}
    return replace(bundle, parts=replace(bundle.parts, **told))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd")
    bundles = [
        variant("A-HUNDERT", {"quantity": 100.0}),
        variant(
            "B-SPALTE",
            {"price_type": "Preis (netto)"},
            similar=["K" * 33, "K-1"],
            media=["m" * 256, "k.jpg"],
        ),
        variant("C-ZEIT", {"valid_from": "2026-01-01T08:00:00+01:00", "valid_to": "2026-12-31"}),
        variant("D-OHNE-ART", {"price_type": ""}),
        variant("E-ANDERE-EINHEIT", {"unit": "KGM"}),
        variant("F-DATUM", {"valid_from": "morgen"}),
        variant("G-LEER", {}, name=" "),
        variant("H-EINHEIT", {"unit": "E" * 21}, unit="E" * 21),
        variant("I-TYP", {}, type_name="T" * 51),
        variant("=1+1", {"price_type": "@SUM(A1)", "amount": Decimal("-5")}, name="-klemme", manufacturer="+49 30"),
    ]
    two = variant("J-ZWEI", {"quantity": 100.0})
    both = [*two.parts.prices, replace(two.parts.prices[0], ordinal=1, quantity=10.0)]
    bundles.append(replace(two, parts=replace(two.parts, prices=both)))
    asyncio.run(written(made / "original", bundles))
    return unpack(frozen(made / "original"), made / "frozen")


async def test_prices_keep_what_they_are_for_and_nothing_is_cut_that_names_a_thing(odd: Path, tmp_path: Path) -> None:
    export, data = await exported(odd, tmp_path, "bmecat")
    book = etree.fromstring(data)
    schema().assertValid(book)
    found = {each.findtext("{*}SUPPLIER_PID"): each for each in book.iterfind(".//{*}PRODUCT")}
    assert set(found) == {"A-HUNDERT", "B-SPALTE", "C-ZEIT", "I-TYP", "=1+1"}
    assert export.left_out == {
        NO_PRICE: 3, "no description": 1, "order unit over 20 characters": 1, "prices for different quantities": 1,
    }  # fmt: skip
    assert found["A-HUNDERT"].findtext("{*}PRODUCT_ORDER_DETAILS/{*}PRICE_QUANTITY") == "100"
    assert found["C-ZEIT"].find(".//{*}PRICE_QUANTITY") is None
    assert [each.get("price_type") for each in found["B-SPALTE"].iterfind(".//{*}PRODUCT_PRICE")] == ["udp_Preis_netto"]
    assert [each.text for each in found["B-SPALTE"].iterfind(".//{*}PROD_ID_TO")] == ["K-1"]
    assert [each.text for each in found["B-SPALTE"].iterfind(".//{*}MIME_SOURCE")] == ["k.jpg"]
    moments = [[part.text for part in each] for each in found["C-ZEIT"].iterfind(".//{*}DATETIME")]
    assert moments == [["2026-01-01", "08:00:00", "+01:00"], ["2026-12-31"]]
    assert export.adjusted == 2  # B-SPALTE and I-TYP
    again = {each.article_number: each for each in joined(parts(read(*identify(data, "k.xml")))).products}
    assert [(each.amount, each.quantity) for each in again["A-HUNDERT"].prices] == [("12.5", "100")]


async def test_csv_and_json_name_the_price_quantity_and_no_cell_is_a_formula(odd: Path, tmp_path: Path) -> None:
    _, table = await exported(odd, tmp_path, "csv")
    rows = {row["article_number"]: row for row in csv.DictReader(io.StringIO(table.decode()), delimiter=";")}
    assert [rows["A-HUNDERT"][name] for name in ("price", "price_quantity", "price_unit")] == ["12.5", "100", "MTR"]
    hostile = rows["'=1+1"]
    assert (hostile["name"], hostile["manufacturer"], hostile["price_type"]) == ("'-klemme", "'+49 30", "'@SUM(A1)")
    assert hostile["price"] == "-5"
    _, data = await exported(odd, tmp_path, "json")
    told = {each["article_number"]: each for each in orjson.loads(data)}
    assert told["A-HUNDERT"]["prices"][0]["quantity"] == "100"
    assert told["=1+1"]["name"] == "-klemme"


def offered(path: str, *prices: PriceRow, **changes: Any) -> DocumentBundle:
    """A document with a product row of the number 4711 for each price."""
    bundle = listed_price(path, "4711", "Klemme", "1")
    (row,) = bundle.parts.products
    keys = [product_id(row.document_id, "4711", place) for place in range(len(prices))]
    products = [replace(row, product_id=key, ordinal=place, **changes) for place, key in enumerate(keys)]
    told = [replace(each, document_id=row.document_id, product_id=key) for each, key in zip(prices, keys, strict=True)]
    return replace(
        bundle,
        document=replace(bundle.document, products=len(prices)),
        parts=replace(bundle.parts, products=products, prices=told),
    )


def cost(amount: str, least: float | None = None, since: str = "") -> PriceRow:
    row = PriceRow("", "", 0, "net_list", 1, amount=Decimal(amount), currency="EUR")
    return replace(row, lower_bound=least, valid_from=since)


async def amounts(tmp_path: Path, *bundles: DocumentBundle) -> dict[str, list[str]]:
    """What the export says that 4711 costs, for each maker."""
    await written(tmp_path / "original", list(bundles))
    _, data = await exported(unpack(frozen(tmp_path / "original"), tmp_path / "frozen"), tmp_path, "json")
    return {each["manufacturer"]: [price["amount"] for price in each["prices"]] for each in orjson.loads(data)}


async def test_the_scale_of_prices_that_a_list_gives_row_by_row_is_exported_whole(tmp_path: Path) -> None:
    scale = [cost(amount, least) for amount, least in (("1", 1.0), ("0.8", 100.0), ("0.6", 1000.0), ("0.8", 100.0))]
    assert await amounts(tmp_path, offered("liste.csv", *scale)) == {"": ["1", "0.8", "0.6"]}


@pytest.mark.parametrize(
    "paths", [("a.xml", "b.xml", "c.xml"), ("c.xml", "b.xml", "a.xml"), ("b.xml", "c.xml", "a.xml")]
)
async def test_a_price_update_is_exported_in_place_of_what_it_changes_and_the_newest_of_several(
    tmp_path: Path, paths: tuple[str, str, str]
) -> None:
    old = offered(paths[0], cost("1", since="2029-01-01"), cost("0.9", 10.0), cost("0.8", 20.0))
    update = offered(paths[1], cost("1.5", since="2026-01-01"), transaction="prices")
    newest = offered(paths[2], cost("1.7", since="2027-01-01"), transaction="prices")
    assert await amounts(tmp_path / "two", old, update) == {"": ["1.5"]}
    assert await amounts(tmp_path / "three", old, update, newest) == {"": ["1.7"]}


async def test_products_of_two_makers_are_no_one_article_though_their_number_is_the_same(tmp_path: Path) -> None:
    switch = offered("alpha.xml", cost("30"), manufacturer="Alpha")
    plug, nameless = offered("beta.csv", cost("0.1"), manufacturer="Beta GmbH"), offered("liste.csv", cost("7"))
    again = offered("alpha.csv", cost("31"), manufacturer="ALPHA AG & Co. KG", transaction="prices")
    assert await amounts(tmp_path / "both", switch, plug, nameless, again) == {
        "Alpha": ["31"], "Beta GmbH": ["0.1"], "": ["7"],
    }  # fmt: skip
    assert await amounts(tmp_path / "one", plug, nameless) in ({"Beta GmbH": ["0.1"]}, {"Beta GmbH": ["7"]})


async def test_a_bmecat_names_no_two_articles_by_one_number(tmp_path: Path) -> None:
    switch = offered("alpha.xml", cost("30"), manufacturer="Alpha")
    plug = offered("beta.csv", cost("0.1"), manufacturer="Beta GmbH")
    alone = variant("A-ALLEIN", {})
    await written(tmp_path / "original", [switch, plug, alone])
    folder = unpack(frozen(tmp_path / "original"), tmp_path / "frozen")
    export, data = await exported(folder, tmp_path, "bmecat")
    assert [each.text for each in etree.fromstring(data).iterfind(".//{*}SUPPLIER_PID")] == ["A-ALLEIN"]
    assert export.left_out == {"article number of several makers": 2}
    assert (await exported(folder, tmp_path, "json"))[0].articles == 3


def taking_back(path: str, number: str, supplier: str) -> DocumentBundle:
    """A document that deletes an article from a supplier's catalogues."""
    bundle = listed_price(path, "OTHER", "Andere", None)
    relation = RelationRow(bundle.document.document_id, number, "deleted", supplier, 1)
    return replace(bundle, parts=replace(bundle.parts, relations=[relation]))


async def test_an_article_that_an_update_deletes_is_left_out_of_exports_and_told_where_it_is_found(
    tmp_path: Path,
) -> None:
    update = taking_back("update.xml", "4711", "Muster")
    in_class = {"class_system": "ETIM-9.0", "class_id": "EC1"}
    bundles = [
        offered("katalog.xml", cost("1"), manufacturer="Alpha", supplier="Muster", **in_class),
        offered("anderer.xml", cost("2"), manufacturer="Beta", supplier="Anders"),
        update,
    ]
    await written(tmp_path / "original", bundles)
    folder = unpack(frozen(tmp_path / "original"), tmp_path / "frozen")
    export, data = await exported(folder, tmp_path, "json")
    assert {each["manufacturer"] for each in orjson.loads(data) if each["article_number"] == "4711"} == {"Beta"}
    assert export.left_out == {}  # another supplier sells one of this number
    async with DatasetReader(folder) as reader:
        classes = await ProductShelf(reader, tmp_path).classes()
        (found,), _ = classes.products(None, "EC1", [], 0, 10)
        assert (found.row.supplier, found.deleted_by) == ("Muster", update.document.document_id)
    only = [bundles[0], update]
    await written(tmp_path / "only", only)
    export, data = await exported(unpack(frozen(tmp_path / "only"), tmp_path / "lone"), tmp_path / "lone", "json")
    assert [each["article_number"] for each in orjson.loads(data)] == ["OTHER"]
    assert export.left_out == {"deleted by an update": 1}


@pytest.mark.parametrize("kept", ["another update names it", "the same document names it again", "no supplier"])
async def test_a_deletion_that_may_be_older_or_of_another_catalogue_takes_nothing_back(
    tmp_path: Path, kept: str
) -> None:
    changes = {"supplier": "" if kept == "no supplier" else "Muster"}
    if kept == "another update names it":
        changes["transaction"] = "update"
    sold, gone = offered("katalog.xml", cost("1"), **changes), taking_back("update.xml", "4711", "Muster")
    if kept == "the same document names it again":
        row = gone.parts.products[0]
        again = replace(row, product_id=product_id(row.document_id, "4711"), article_number="4711")
        gone = replace(gone, parts=replace(gone.parts, products=[again]))
    assert "4711" in await numbers(tmp_path, sold, gone)


async def numbers(tmp_path: Path, *bundles: DocumentBundle) -> list[str]:
    """The article numbers of the export."""
    await written(tmp_path / "original", list(bundles))
    _, data = await exported(unpack(frozen(tmp_path / "original"), tmp_path / "frozen"), tmp_path, "json")
    return [each["article_number"] for each in orjson.loads(data)]


async def test_a_library_that_is_replaced_stays_until_its_exports_have_ended(
    folder: Path, odd: Path, query_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for each in (folder, odd):
        async with DatasetReader(each) as reader:
            digests.append(reader.manifest.dataset_digest)
    (tmp_path / "versions").mkdir()
    shutil.copytree(odd, tmp_path / "versions" / digests[1].removeprefix("sha256:"))
    started, go, write = threading.Event(), threading.Event(), export_module.write

    def slow(*args: Any) -> Export:
        started.set()
        assert go.wait(240)
        return write(*args)

    monkeypatch.setattr(export_module, "write", slow)
    monkeypatch.setattr(shelf_module, "LONGEST_CALL", 0)
    config = InstanceConfig(
        customer_id="acme", company_name="Müller", tag="p1", fingerprint=FINGERPRINT, dataset_digest=digests[0],
        parameter_version=1,
    )  # fmt: skip
    shelf = shelf_module.Shelf(Versions(folder, digests[0], tmp_path), query_model, config)
    await shelf.serve(digests[0])
    before = shelf.current()
    running = asyncio.create_task(before.products.part("json", HEAD, None, 0, 2**20))
    assert await asyncio.to_thread(started.wait, 60)
    await shelf.serve(digests[1])
    (retiring,) = shelf._retiring
    await asyncio.wait([retiring], timeout=0.3)
    go.set()
    export, text, following = await running
    assert (len(text.encode()), following) == (export.size, None)
    await retiring
    assert not export.path.exists()
    assert shelf.current().dataset_digest == digests[1]
    await shelf.close()


async def test_one_documents_products_are_exported_alone_and_a_wrong_start_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    export, _ = await exported(folder, tmp_path, "json", document="preise/liste.csv")
    assert export.articles == 1
    for start in (export.size, export.size + 1, 2**40):
        with pytest.raises(InvalidInput):
            part(export, start, 100)
    with pytest.raises(NotFound):
        await exported(folder, tmp_path, "json", document="nicht/da.csv")


async def test_products_are_found_by_class_and_feature_and_classes_by_neighbours(folder: Path, tmp_path: Path) -> None:
    async with DatasetReader(folder) as reader:
        classes = await ProductShelf(reader, tmp_path).classes()
    (only,), more = classes.listed("etim", 0, 10)
    assert (only.class_id, only.products, more) == ("EC000897", 5, None)
    assert classes.listed("zzz", 0, 10) == ([], None)
    first, following = classes.products(None, "EC000897", [], 0, 2)
    assert ([each.row.article_number for each in first], following) == ([article(1), article(2)], 2)
    strong = classes.products("ETIM-9.0", "EC000897", [Condition("EF000227", "at_least", "16")], 0, 9)[0]
    assert len(strong) == 5
    assert classes.products(None, "EC000897", [Condition("Nennstrom", "at_least", "16,5")], 0, 9)[0] == []
    assert len(classes.products(None, "EC000897", [Condition("Nennstrom", "equals", "16")], 0, 9)[0]) == 5
    for comparison, value in (("equals", "16,0"), ("equals", "16 A"), ("at_least", "15,5 A"), ("at_most", "0,016 kA")):
        found, _ = classes.products(None, "EC000897", [Condition("NENNSTROM", comparison, value)], 0, 9)
        assert len(found) == 5, (comparison, value)
    assert classes.products(None, "EC000897", [Condition("Nennstrom", "equals", "16 V")], 0, 9)[0] == []
    (reason,) = classes.reasons(None, "EC000897", [Condition("nennstrom", "equals", "1")])
    assert (reason.products, reason.known, reason.others) == (0, True, ["16 A"])
    with pytest.raises(InvalidInput, match="Nennstrom is in A: give the value in it"):
        classes.products(None, "EC000897", [Condition("Nennstrom", "at_least", "16 V")], 0, 9)
    with pytest.raises(NotFound):
        classes.products(None, "EC0", [], 0, 9)
    with pytest.raises(InvalidInput):
        classes.products(None, "EC000897", [Condition("Nennstrom", "at_most", "viel")], 0, 9)
    known = product_id(document_id(document(3).document.path), article(3))
    (candidate,) = classes.classify([Neighbour(known, 0.9), Neighbour("prd_unknown", 0.8)], "etim")
    assert (candidate.product_class, candidate.share) == (only, 1.0)
    assert classes.classify([Neighbour(known, 0.9)], "ECLASS") == []
    assert classes.classify([Neighbour(known, 0.0), Neighbour(known, -0.2)], None) == []  # nothing is like it
