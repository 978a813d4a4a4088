"""Documents that separate an article's number in their own ways tell of one article."""

from __future__ import annotations

from decimal import Decimal

from servers.instance.products import articles, classes
from servers.instance.products.conditions import Condition
from servers.instance.products.spelling import one_spelling
from shared.dataset.rows import FeatureRow, PriceRow, ProductRow, RelationRow, document_id, product_id
from shared.dataset.schemas import to_arrow

GTIN, OTHER = "4012345000054", "4012345000061"


def product(path: str, number: str, gtin: str = GTIN, supplier: str = "", maker: str = "") -> ProductRow:
    doc, key = document_id(path), product_id(document_id(path), number)
    return ProductRow(key, doc, 0, number, 1, gtin=gtin, name="Sensor", supplier=supplier, manufacturer=maker)


LISTED, CATALOGUE = product("preise.xlsx", "IS-12-04-PS"), product("katalog.xml", "IS 12-04 PS", supplier="Muster")
STOCK = product("bestand.csv", "0IS1204ps")
FEATURES = [
    FeatureRow(STOCK.document_id, STOCK.product_id, 0, "Bestand", 1, value="120", number=120.0),
    FeatureRow(CATALOGUE.document_id, CATALOGUE.product_id, 0, "Schutzart", 1, value="IP67"),
]
PRICES = [PriceRow(LISTED.document_id, LISTED.product_id, 0, "net_list", 1, amount=Decimal(5), currency="EUR")]
RELATIONS = [
    RelationRow(STOCK.document_id, "0IS1204ps", "accessories", "IS-12-04-PS", 1),
    RelationRow(CATALOGUE.document_id, "IS 12-04 PS", "member", "IS-12-04-PS", 1),
]


def tables(products: list[ProductRow], relations: list[RelationRow] = RELATIONS):
    held = {"products": products, "features": FEATURES, "prices": PRICES, "relations": relations}
    return {name: to_arrow(name, held.get(name, [])) for name in {*articles.TABLES, *classes.TABLES}}


def numbers(products: list[ProductRow]) -> list[str]:
    return [each.product.article_number for each in articles.Articles(tables(products))]


def test_an_article_of_three_spellings_is_found_and_exported_once_as_its_catalogue_writes_it() -> None:
    held = tables([LISTED, CATALOGUE, STOCK])
    (article,) = articles.Articles(held)
    assert (article.product.article_number, article.sources, len(article.prices)) == ("IS 12-04 PS", 3, 1)
    (own,) = articles.Articles(held, LISTED.document_id)
    assert own.product.article_number == "IS-12-04-PS"
    wanted = [Condition("Schutzart", "equals", "IP67"), Condition("Bestand", "at_least", "100")]
    (found,), _ = classes.Classes(held).products(None, None, wanted, 0, 9)
    assert found.row.article_number == "IS 12-04 PS"
    assert [document for _, document in found.met] == [CATALOGUE.document_id, STOCK.document_id]


def test_numbers_without_a_gtin_in_common_stay_two_articles() -> None:
    assert numbers([product("a.csv", "RK 1,5"), product("b.csv", "RK 15", OTHER)]) == ["RK 1,5", "RK 15"]
    assert numbers([product("a.csv", "RK 1,5", ""), product("b.csv", "RK 15", "")]) == ["RK 1,5", "RK 15"]
    assert numbers([product("a.csv", "RK-4"), product("b.csv", "RK-6")]) == ["RK-4", "RK-6"]


def test_a_gtin_that_is_padded_or_separated_is_the_same() -> None:
    spelled = [f"0{GTIN}", "4 012345 000054", "4-012345-000054", GTIN]
    written = [product(f"{at}.csv", number, gtin) for at, (number, gtin) in enumerate(zip(
        ["RK 4", "RK-4", "RK.4", "RK-4"], spelled, strict=True))]  # fmt: skip
    assert numbers(written) == ["RK-4"]
    assert numbers([product("a.csv", "RK 4", f"1{GTIN}"), product("b.csv", "RK-4")]) == ["RK 4", "RK-4"]  # a carton


def test_what_a_list_calls_by_its_gtin_is_the_one_article_that_others_number() -> None:
    called = product("ean.csv", f"0{GTIN}", GTIN)
    assert numbers([called, product("a.csv", "RK-4")]) == ["RK-4"]
    assert numbers([called, product("a.csv", "RK-4"), product("b.csv", "RK 4"), product("c.csv", "RK 4")]) == ["RK 4"]
    assert numbers([called, product("a.csv", "RK-4"), product("b.csv", "RK-6")]) == [f"0{GTIN}", "RK-4", "RK-6"]
    assert numbers([called, product("a.csv", "RK-4", OTHER)]) == [f"0{GTIN}", "RK-4"]
    assert numbers([product("a.csv", "RK-4", "0000000000000"), product("b.csv", "RK 4", "0")]) == ["RK 4", "RK-4"]
    numbered = product("a.csv", "RK-4", maker="Muster GmbH")
    assert numbers([numbered, product("ean.csv", GTIN, maker="Anders")]) == [GTIN, "RK-4"]
    assert numbers([numbered, product("ean.csv", GTIN, maker="MUSTER")]) == ["RK-4"]


def test_relations_follow_the_number_but_for_a_groups_code() -> None:
    spelled = one_spelling(tables([LISTED, CATALOGUE, STOCK]))["relations"].to_pylist()
    assert [(row["article_number"], row["target"]) for row in spelled] == [
        ("IS 12-04 PS", "IS 12-04 PS"), ("IS 12-04 PS", "IS-12-04-PS"),
    ]  # fmt: skip


def test_what_two_gtins_name_is_spelled_by_itself() -> None:
    one = [product("a.csv", "RK-4", OTHER), product("b.csv", "RK-4", OTHER), product("c.csv", "RK 4", OTHER)]
    two = [product("d.csv", "RK 4"), product("e.csv", "RK 4"), product("f.csv", "RK.4")]
    assert numbers([*one, *two]) == ["RK 4", "RK-4"]
    spelled = one_spelling(tables([*one, *two]))["products"]
    assert spelled["article_number"].to_pylist() == ["RK-4"] * 3 + ["RK 4"] * 3


OURS = [product("a.csv", "815", maker="Muster"), product("b.csv", "815", maker="MUSTER GmbH")]
THEIRS = product("b.xml", "0815", OTHER, "Anders", "Anders")


def test_a_number_that_another_maker_has_too_stays_that_makers_number_and_its_relations_with_it() -> None:
    doc = {name: document_id(name) for name in ("a.xml", "b.xml", "c.xml")}
    both = [*OURS, product("a.xml", "0815", maker="Muster"), THEIRS]
    relations = [
        RelationRow(doc["a.xml"], "0815", "accessories", "0815", 1),
        RelationRow(doc["b.xml"], "0815", "accessories", "0815", 1),
        RelationRow(doc["c.xml"], "1", "accessories", "0815", 1),
        RelationRow(doc["c.xml"], "0815", "deleted", "Anders", 1),
    ]
    held = tables(both, relations)
    spelled = one_spelling(held)
    assert spelled["products"]["article_number"].to_pylist() == ["815", "815", "815", "0815"]
    assert [(row["article_number"], row["target"]) for row in spelled["relations"].to_pylist()] == [
        ("815", "815"), ("0815", "0815"), ("1", "0815"), ("0815", "Anders"),
    ]  # fmt: skip
    (ours,) = articles.Articles(held)  # theirs is taken back
    assert (ours.product.article_number, ours.sources, ours.references) == ("815", 3, (("accessories", "815"),))


def test_what_a_supplier_takes_back_is_its_own_article_where_another_makers_has_its_number() -> None:
    sold = [product(path, "815", supplier="Muster") for path in ("a.xml", "c.xml")]
    traded = product("d.xml", "0815", supplier="Handel")
    held = tables([*sold, traded, THEIRS], [RelationRow(document_id("neu.xml"), "0815", "deleted", "Handel", 1)])
    assert one_spelling(held)["relations"]["article_number"].to_pylist() == ["815"]
    assert [(each.product.article_number, each.sources) for each in articles.Articles(held)] == [
        ("0815", 1),
        ("815", 2),
    ]


def test_a_product_without_a_gtin_is_spelled_like_the_one_that_its_number_may_mean() -> None:
    ours = [*OURS, product("a.xml", "0815", maker="Muster")]
    assert set(numbers([*ours, product("c.csv", "0815", "")])) == {"815"}
    assert set(numbers([*ours, product("c.csv", "0815", "", maker="Muster")])) == {"815"}
    assert set(numbers([*ours, product("c.csv", "0815", "", maker="Anders")])) == {"815", "0815"}
    assert set(numbers([*ours, THEIRS, product("c.csv", "0815", "")])) == {"815", "0815"}
