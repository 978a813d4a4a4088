"""Documents that separate an article's number in their own ways tell of one article."""

from __future__ import annotations

from decimal import Decimal

from servers.instance.products import articles, classes
from servers.instance.products.conditions import Condition
from servers.instance.products.spelling import one_spelling
from shared.dataset.rows import FeatureRow, PriceRow, ProductRow, RelationRow, document_id, product_id
from shared.dataset.schemas import to_arrow

GTIN, OTHER = "4012345000054", "4012345000061"


def product(path: str, number: str, gtin: str = GTIN, supplier: str = "") -> ProductRow:
    doc = document_id(path)
    return ProductRow(product_id(doc, number), doc, 0, number, 1, gtin=gtin, name="Sensor", supplier=supplier)


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


def tables(products: list[ProductRow]):
    held = {"products": products, "features": FEATURES, "prices": PRICES, "relations": RELATIONS}
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


def test_relations_follow_the_number_but_for_a_groups_code() -> None:
    spelled = one_spelling(tables([LISTED, CATALOGUE, STOCK]))["relations"].to_pylist()
    assert [(row["article_number"], row["target"]) for row in spelled] == [
        ("IS 12-04 PS", "IS 12-04 PS"), ("IS 12-04 PS", "IS-12-04-PS"),
    ]  # fmt: skip


def test_an_article_with_two_gtins_joins_what_either_of_them_names() -> None:
    both = [product("a.csv", "RK-4", OTHER), product("b.csv", "RK 4", OTHER), product("b.csv", "RK 4")]
    assert set(numbers([*both, product("c.csv", "RK.4")])) == {"RK 4"}
