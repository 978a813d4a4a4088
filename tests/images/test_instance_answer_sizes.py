"""No answer of an instance is larger than an agent takes: Claude Code refuses results over 25,000 tokens."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from servers.instance.tools.products import ExportPart
from shared.client import Upstream
from shared.contracts.instance import DocumentAnswer, DocumentList, SearchAnswer, TableAnswer
from shared.dataset.rows import (
    ChunkRow,
    DocumentBundle,
    DocumentParts,
    DocumentRow,
    ProductRow,
    chunk_id,
    document_id,
    product_id,
)
from tests.instance_rig import instance_of

LARGEST = 50_000
"""Characters of JSON. A token stands for two in ids and numbers, for three in German text."""
PASSAGE = "Die Reihenklemme sitzt im Schaltschrank und wird mit dem vorgeschriebenen Drehmoment angezogen. " * 25
COUNT = 60


def large_document() -> DocumentBundle:
    doc = document_id("handbuch.pdf")
    chunks = [
        ChunkRow(chunk_id(doc, number), doc, number, f"{number}: {PASSAGE}", 1, language="de", end=9, tokens=9)
        for number in range(COUNT)
    ]
    products = [
        ProductRow(product_id(doc, f"A-{number}"), doc, number, f"A-{number}", 1, name=PASSAGE[:900])
        for number in range(COUNT)
    ]
    vectors = np.tile(np.eye(1, 384, dtype=np.float32), (COUNT, 1))
    row = DocumentRow(
        doc, "handbuch.pdf", "sha256:" + hashlib.sha256(PASSAGE.encode()).hexdigest(), 9, "application/pdf",
        "processed", 1, title="Handbuch", language="de", pages=1, chunks=COUNT, tokens=9, products=COUNT,
    )  # fmt: skip
    return DocumentBundle(row, DocumentParts(chunks, vectors, products))


def unread(number: int) -> DocumentBundle:
    path = f"{'Ordner mit einem langen Namen/' * 20}{number:03d}.pdf"
    row = DocumentRow(
        document_id(path), path, "sha256:" + "f" * 64, 3, "application/pdf", "failed", 1, failure_code="damaged",
        failure_reason="The file is cut off.",
    )  # fmt: skip
    return DocumentBundle(row)


@pytest.fixture
async def instance(query_model: Path, tmp_path: Path) -> AsyncIterator[Upstream]:
    documents = [large_document(), *(unread(number) for number in range(80))]
    async with instance_of(documents, query_model, tmp_path) as upstream:
        yield upstream


def size(answer: Any) -> int:
    return len(orjson.dumps(answer.model_dump(mode="json")).decode())


async def test_a_search_for_uncut_passages_cuts_those_that_do_not_fit(instance: Upstream) -> None:
    asked = {"query": "Reihenklemme Drehmoment", "limit": 20, "detail": "detailed"}
    found = await instance.call("search", asked, SearchAnswer)
    assert len(found.hits) == 20
    assert (found.hits[0].cut, found.hits[-1].cut) == (False, True)
    assert size(found) <= LARGEST


async def test_a_document_is_read_to_its_end_in_answers_that_fit(instance: Upstream) -> None:
    start: int | None = 0
    seen = []
    while start is not None:
        asked = {"document_id": "handbuch.pdf", "start": start, "limit": 50}
        part = await instance.call("get_document", asked, DocumentAnswer)
        assert size(part) <= LARGEST
        seen += [each.ordinal for each in part.passages]
        start = part.next_start
    assert seen == list(range(COUNT))


async def test_documents_with_long_names_are_listed_to_their_end_in_answers_that_fit(instance: Upstream) -> None:
    cursor: str | None = None
    seen = []
    while not seen or cursor is not None:
        asked = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        part = await instance.call("list_documents", asked, DocumentList)
        assert size(part) <= LARGEST
        seen += [each.path for each in part.documents]
        cursor = part.next_cursor
    assert (len(seen), seen) == (81, sorted(set(seen)))


@pytest.mark.parametrize(
    ("tool", "argument", "statement"),
    [
        ("query_table", "sql", "SELECT * FROM chunks"),
        ("query_table", "sql", "SELECT chunk_id, document_id FROM chunks, (SELECT 1 FROM products)"),
        ("query_graph", "cypher", "MATCH (n:Node), (m:Node) RETURN n, m"),
    ],
)
async def test_a_query_s_answer_fits_and_says_that_there_is_more(
    instance: Upstream, tool: str, argument: str, statement: str
) -> None:
    table = await instance.call(tool, {argument: statement, "limit": 500}, TableAnswer)
    assert table.truncated
    assert len(table.rows) > 5
    assert size(table) <= LARGEST


async def test_one_row_that_is_too_long_comes_with_its_text_cut(instance: Upstream) -> None:
    table = await instance.call("query_table", {"sql": "SELECT string_agg(text, ' ') FROM chunks"}, TableAnswer)
    ((text,),) = table.rows
    assert table.truncated
    assert str(text).endswith(" …")
    assert 10_000 < size(table) <= LARGEST


async def test_a_statement_about_a_table_that_is_not_there_is_told_which_ones_are(instance: Upstream) -> None:
    with pytest.raises(Exception, match=r"The tables are chunks, documents, .*products"):
        await instance.call("query_table", {"sql": "SELECT * FROM article"}, TableAnswer)
    with pytest.raises(Exception, match=r"All nodes are \(:Node"):
        await instance.call("query_graph", {"cypher": "MATCH (n:Product) RETURN n.name"}, TableAnswer)


async def test_parts_of_an_export_fit_and_a_program_may_ask_for_larger_ones(instance: Upstream) -> None:
    whole = await instance.call("export_products", {"format": "json", "part_bytes": 262_144}, ExportPart)
    assert whole.next_start is None
    parts, start = [], 0
    while start is not None:
        parts.append(await instance.call("export_products", {"format": "json", "start": start}, ExportPart))
        start = parts[-1].next_start
    assert len(parts) > 1
    assert max(size(part) for part in parts) <= LARGEST
    assert ("".join(part.text for part in parts), parts[-1].digest) == (whole.text, whole.digest)
