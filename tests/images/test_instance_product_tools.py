"""The product tools of a running instance, with the real model: exported, found by class, classified by neighbours."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from servers.instance.tools.products import Classified, ClassList, ExportPart, ProductList
from shared.dataset.rows import (
    ChunkRow,
    DocumentBundle,
    DocumentParts,
    DocumentRow,
    FeatureRow,
    ProductRow,
    chunk_id,
    document_id,
    product_id,
)
from shared.encoder import Encoder
from tests.image_rig import encoder_of
from tests.instance_rig import instance_of

NO_PRICE = "no complete price (amount, currency, type, order unit, dates)"
PRODUCTS = {
    "RK-4": ("Reihenklemme 4 mm² grau, Schraubanschluss, Tragschiene TS 35", "EC000897"),
    "RK-6": ("Reihenklemme 6 mm² blau, Schraubanschluss, Tragschiene TS 35", "EC000897"),
    "HL-240": ("LED-Hallenleuchte 240 W, 5000 K, Schutzart IP66", "EC001744"),
    "HL-160": ("LED-Hallenleuchte 160 W, 4000 K, Schutzart IP65", "EC001744"),
    "OHNE": ("Reihenklemme 10 mm² grün-gelb, Schutzleiter", ""),
}


def bundle(number: str, encoder: Encoder) -> DocumentBundle:
    text, class_id = PRODUCTS[number]
    path = f"{number}.pdf"
    doc = document_id(path)
    key = product_id(doc, number)
    chunk = ChunkRow(
        chunk_id(doc, 0), doc, 0, text, 1, page=1, kind="product", language="de", end=len(text), tokens=9,
        product_id=key,
    )  # fmt: skip
    product = ProductRow(
        key, doc, 0, number, 1, name=text, class_system="ETIM-9.0" if class_id else "", class_id=class_id, page=1
    )
    size = FeatureRow(doc, key, 0, "Querschnitt", 1, value="4", number=4.0, feature_id="EF000167", unit="mm²")
    row = DocumentRow(
        doc, path, "sha256:" + hashlib.sha256(text.encode()).hexdigest(), 9, "application/pdf", "processed", 1,
        title=path, language="de", pages=1, chunks=1, tokens=9, products=1,
    )  # fmt: skip
    features = [size] if number == "RK-4" else []
    return DocumentBundle(row, DocumentParts([chunk], encoder.encode([text]), [product], features))


async def test_products_are_exported_found_by_class_and_classified_by_their_neighbours(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    documents = [bundle(number, encoder) for number in PRODUCTS]
    async with instance_of(documents, query_model, tmp_path) as upstream:
        both = [upstream.call("export_products", {"format": "json"}, ExportPart) for _ in range(2)]
        first, second = await asyncio.gather(*both)
        assert (first, first.articles, first.next_start) == (second, 5, None)
        assert first.digest == "sha256:" + hashlib.sha256(first.text.encode()).hexdigest()
        book = await upstream.call("export_products", {"format": "bmecat", "order_unit": "C62"}, ExportPart)
        assert (book.articles, book.left_out) == (0, {NO_PRICE: 5})
        classes = await upstream.call("list_classes", {}, ClassList)
        assert [(each.class_id, each.products) for each in classes.classes] == [("EC000897", 2), ("EC001744", 2)]
        condition = {"feature": "EF000167", "comparison": "at_least", "value": "4"}
        found = await upstream.call("find_products", {"class_id": "EC000897", "conditions": [condition]}, ProductList)
        assert [each.article_number for each in found.products] == ["RK-4"]
        mistyped = condition | {"feature": "Querschnit"}
        none = await upstream.call("find_products", {"class_id": "EC000897", "conditions": [mistyped]}, ProductList)
        assert none.note.startswith("No product of this class has the feature Querschnit. Their features: Querschnitt.")
        assert "query_table" in none.note  # whoever asks for a price
        asked = {"text": "Reihenklemme 2,5 mm² für die Tragschiene", "system": "ETIM"}
        suggested = await upstream.call("classify_product", asked, Classified)
        assert suggested.candidates[0].product_class.class_id == "EC000897"
        assert suggested.candidates[0].evidence[0].article_number in {"RK-4", "RK-6"}
        none = await upstream.call("classify_product", asked | {"system": "ECLASS"}, Classified)
        assert none.candidates == []
        assert none.note
