"""What BMEcat says of an article's state is a feature of its row, to be asked for as any other."""

from __future__ import annotations

from decimal import Decimal

import pytest

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extraction import joined, parts
from servers.cradle.processing.product_text import product_lines
from servers.cradle.processing.records import Records
from servers.instance.products.articles import Article
from servers.instance.products.bmecat import Head, product
from servers.instance.products.classes import TABLES, Classes
from servers.instance.products.conditions import Condition
from shared.dataset.rows import DocumentParts, PriceRow, document_id
from shared.dataset.schemas import to_arrow

CATALOGUE = """<?xml version="1.0" encoding="UTF-8"?>
<BMECAT version="{version}"><HEADER><CATALOG><LANGUAGE>deu</LANGUAGE></CATALOG></HEADER><T_NEW_CATALOG>
<{product}><SUPPLIER_PID>ST-1</SUPPLIER_PID><{product}_DETAILS><DESCRIPTION_SHORT>Stecker</DESCRIPTION_SHORT>
<{product}_STATUS type="old_stock">Restposten</{product}_STATUS>
<{product}_STATUS type="bargain">Aktion</{product}_STATUS>
</{product}_DETAILS><{product}_FEATURES><FEATURE><FNAME>Farbe</FNAME><FVALUE>rot</FVALUE></FEATURE></{product}_FEATURES>
</{product}><{product}><SUPPLIER_PID>ST-2</SUPPLIER_PID><{product}_DETAILS><DESCRIPTION_SHORT>Buchse</DESCRIPTION_SHORT>
</{product}_DETAILS></{product}></T_NEW_CATALOG></BMECAT>"""


def rows_of(version: str, element: str) -> DocumentParts:
    data = CATALOGUE.format(version=version, product=element).encode()
    return Records(document_id("k.xml"), 1).of(joined(parts(read(*identify(data, "k.xml")))), [], None)


@pytest.mark.parametrize(("version", "element"), [("2005", "PRODUCT"), ("1.2", "ARTICLE")])
def test_a_state_is_found_by_its_type_and_by_its_words(version: str, element: str) -> None:
    rows = rows_of(version, element)
    assert [(row.ordinal, row.name, row.value, row.value_id, row.feature_id) for row in rows.features] == [
        (0, "Farbe", "rot", "", ""), (1, "Status", "Restposten", "old_stock", "PRODUCT_STATUS"),
        (2, "Status", "Aktion", "bargain", "PRODUCT_STATUS"),
    ]  # fmt: skip
    held = {"products": rows.products, "features": rows.features}
    classes = Classes({name: to_arrow(name, held.get(name, [])) for name in TABLES})
    for feature, value in (
        ("Status", "Restposten"),
        ("PRODUCT_STATUS", "old_stock"),
        (None, "bargain"),
        (None, "Aktion"),
    ):
        found, _ = classes.products(None, None, [Condition(feature, "equals", value)], 0, 9)
        assert [each.row.article_number for each in found] == ["ST-1"]


def test_a_passage_says_a_state_once() -> None:
    data = CATALOGUE.format(version="2005", product="PRODUCT").encode()
    lines = product_lines(joined(parts(read(*identify(data, "k.xml")))).products[0])
    assert [line for line in lines if "Restposten" in line] == ["Status (PRODUCT_STATUS[old_stock]): Restposten"]


def test_a_state_is_exported_as_no_feature_of_a_class() -> None:
    rows = rows_of("2005", "PRODUCT")
    head = Head(catalogue_id="k1", supplier="Muster", buyer="Handel", order_unit="C62")
    row, all_of_it = rows.products[0], tuple(rows.features)
    prices = (PriceRow(row.document_id, row.product_id, 0, "net_list", 1, amount=Decimal(1), currency="EUR"),)
    stated = product(Article(row, all_of_it, prices), head)
    assert b"Farbe" in stated
    assert b"old_stock" not in stated
    assert b"PRODUCT_FEATURES" not in product(Article(row, all_of_it[1:], prices), head)
