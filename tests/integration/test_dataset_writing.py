"""Writing a dataset: documents supersede documents, versions appear at once, and a killed writer leaves no trace."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_corpus import DIMENSION, MODEL, commit, document, frozen, unreadable, vector_of, written

from shared.dataset import graph, tables
from shared.dataset import writer as writer_module
from shared.dataset.manifest import visible
from shared.dataset.places import Place
from shared.dataset.reader import DatasetReader
from shared.dataset.rows import (
    ChunkRow,
    DocumentBundle,
    DocumentParts,
    FeatureRow,
    ProductRow,
    RelationRow,
    chunk_id,
    product_id,
)
from shared.dataset.schemas import in_order
from shared.dataset.writer import DatasetWriter
from shared.errors import InvalidInput, NotFound, Unavailable

pytestmark = pytest.mark.slow

VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from dataset_corpus import commit, document, DIMENSION
from shared.dataset import graph, lance
from shared.dataset.places import Place
from shared.dataset.tables import Tables
from shared.dataset.writer import DatasetWriter

def die_at(owner, name, call):
    plain, seen = getattr(owner, name), 0
    def mortal(*arguments, **named):
        nonlocal seen
        seen += 1
        if seen == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **named)
    setattr(owner, name, mortal)

async def main(root, owner, name, call):
    async with DatasetWriter(root, DIMENSION) as writer:
        die_at({"Tables": Tables, "lance": lance, "graph": graph, "Place": Place}[owner], name, int(call))
        await writer.replace_documents([document(1, "Neuer Text."), document(9)])
        await commit(writer)

asyncio.run(main(*sys.argv[1:]))
"""

ENDS_IN_A_SCAN = """
import sys
from shared.dataset.places import Place
from shared.dataset.tables import Tables

tables = Tables(Place(sys.argv[1]))
tables.create()
chunks = tables.read("chunks")
for _ in range(60):
    tables.append("chunks", chunks)
next(tables.rows("chunks").to_batches())
"""


async def test_a_process_that_ends_while_a_table_is_scanned_ends_well(tmp_path: Path) -> None:
    await written(tmp_path, [document(n) for n in range(3)])
    command = [sys.executable, "-c", ENDS_IN_A_SCAN, str(tmp_path)]
    ended = await asyncio.to_thread(subprocess.run, command, timeout=100, check=False)
    assert ended.returncode == 0


@pytest.mark.requirement("L-05")
async def test_a_version_tells_what_its_new_documents_took_however_often_its_writers_died(tmp_path: Path) -> None:
    first = await written(tmp_path, [document(n) for n in range(4)])
    one = document(0).document.tokens
    assert one > 0
    assert first.computed is not None
    assert (first.computed.tokens, first.counts.tokens) == (4 * one, 4 * one)
    for number in (4, 5):  # two runs that end before their commit
        async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
            await writer.replace_documents([document(number)])
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.remove_documents([document(1).document.document_id])
        second = await commit(writer)
    assert second.computed is not None
    assert (second.computed.tokens, second.counts.tokens) == (2 * one, 5 * one)
    assert second.computed.batch_id != first.computed.batch_id
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:  # a run whose answer was lost is told the same
        assert (await commit(writer)).computed == second.computed


@pytest.mark.requirement("G-01", "F-13")
async def test_what_was_written_is_what_is_read_and_failures_are_rows_too(tmp_path: Path) -> None:
    manifest = await written(tmp_path, [*(document(n) for n in range(6)), unreadable(1)])
    assert (manifest.counts.documents, manifest.counts.processed, manifest.counts.failed) == (7, 6, 1)
    assert (manifest.counts.chunks, manifest.counts.products, manifest.counts.features) == (12, 6, 6)
    async with DatasetReader(tmp_path) as reader:
        expected = document(3)
        assert await reader.document(expected.document.path) == expected.document
        passages = await reader.passages(expected.document.document_id)
        assert [each.text for each in passages] == [chunk.text for chunk in expected.parts.chunks]
        failed = await reader.document("scans/kaputt-1.pdf")
        assert (failed.status, failed.failure_code) == ("failed", "damaged")
        first = await reader.documents(limit=4)
        rest = await reader.documents(first.next_cursor, limit=4)
        paths = [row.path for row in (*first.documents, *rest.documents)]
        assert paths == sorted(set(paths))
        assert len(paths) == 7
        assert rest.next_cursor is None
        with pytest.raises(InvalidInput, match="cursor"):
            await reader.documents("doc_" + "0" * 32)


async def test_a_new_version_of_a_document_supersedes_all_rows_of_the_old_one(tmp_path: Path) -> None:
    await written(tmp_path, [document(n) for n in range(3)])
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.replace_documents([document(1, "Jetzt mit Federkraftanschluss.")])
        assert len(await writer.documents()) == 3
        manifest = await commit(writer)
    assert (manifest.dataset_version, manifest.counts.chunks, manifest.counts.products) == (2, 6, 3)
    async with DatasetReader(tmp_path) as reader:
        texts = [each.text for each in await reader.passages(document(1).document.document_id)]
        assert texts[0] == "Jetzt mit Federkraftanschluss."
        assert (await reader.search("Federkraftanschluss"))[0].path == document(1).document.path


async def test_a_removed_document_is_gone_from_every_table(tmp_path: Path) -> None:
    await written(tmp_path, [document(n) for n in range(3)])
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.remove_documents([document(1).document.document_id])
        manifest = await commit(writer)
    assert manifest.dataset_digest == (await written(tmp_path / "fresh", [document(0), document(2)])).dataset_digest
    async with DatasetReader(tmp_path) as reader:
        for name in ("documents", "chunks", "products", "features", "prices", "groups", "relations"):
            query = f"SELECT count(*) AS n FROM {name} WHERE document_id = '{document(1).document.document_id}'"  # noqa: S608
            assert (await reader.sql(query)).rows == ((0,),)


def documents_in_files(root: Path) -> set[str]:
    """The documents that any file of the tables of passages still holds a row of, visible or not."""
    files = [*(root / "tables" / "chunks").glob("*.parquet"), *(root / "tables" / "documents").glob("*.parquet")]
    return {each for file in files for each in pq.read_table(file, columns=["document_id"]).column(0).to_pylist()}


@pytest.mark.requirement("L-04")
async def test_what_was_removed_or_superseded_is_in_no_file_one_version_later_and_versions_take_no_more_room(
    tmp_path: Path,
) -> None:
    await written(tmp_path, [document(n) for n in range(3)])
    gone = document(1).document.document_id
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.remove_documents([gone])
        await commit(writer)
    assert gone in documents_in_files(tmp_path), "the version before stays for whoever reads it"
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await commit(writer)
    assert gone not in documents_in_files(tmp_path)
    assert [path.name for path in (tmp_path / "vectors").glob("*.lance")] == ["chunks_000002.lance"]
    files = set[int]()
    for number in range(4):
        async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
            await writer.replace_documents([document(2, f"Fassung {number}.")])
            await commit(writer)
        files.add(sum(name.endswith(".parquet") for name in Place(str(tmp_path)).names("")))
    assert max(files) == min(files)
    async with DatasetReader(tmp_path) as reader:
        assert (await reader.sql("SELECT count(*) FROM chunks WHERE text LIKE 'Fassung%'", limit=9)).rows == ((1,),)


async def test_a_large_document_comes_in_parts_and_counts_once_it_is_recorded(tmp_path: Path) -> None:
    whole = document(5)
    assert whole.parts.vectors is not None
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.discard([whole.document.document_id])
        for part in (0, 1):
            vectors = whole.parts.vectors[part : part + 1]
            await writer.append(DocumentParts(chunks=[whole.parts.chunks[part]], vectors=vectors))
        without_chunks = dataclasses.replace(whole.parts, chunks=(), vectors=None)
        await writer.append(without_chunks)
        assert await writer.documents() == {}
        await writer.record([whole.document])
        manifest = await commit(writer)
    assert manifest.dataset_digest == (await written(tmp_path / "whole", [whole])).dataset_digest


def large(passages: int) -> DocumentBundle:
    """A document of so many passages and products, each with two features."""
    one, texts = document(5), [f"Klemme {n}" for n in range(passages)]
    owner = one.document.document_id
    products = [product_id(owner, text) for text in texts]
    parts = DocumentParts(
        chunks=[ChunkRow(chunk_id(owner, n), owner, n, text, 1) for n, text in enumerate(texts)],
        vectors=np.stack([vector_of(text) for text in texts]),
        products=[ProductRow(products[n], owner, n, text, 1) for n, text in enumerate(texts)],
        features=[FeatureRow(owner, each, n, f"Merkmal {n}", 1) for each in products for n in (0, 1)],
        relations=[RelationRow(owner, text, "similar", texts[0], 1) for text in texts],
    )
    return DocumentBundle(one.document, parts)


async def test_a_table_comes_in_order_and_in_pieces_even_where_one_document_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [*(document(n) for n in range(5)), large(200), document(6), document(7)]
    whole = await written(tmp_path / "whole", bundles)
    for bound in ("ROWS_AT_ONCE", "SPREAD_ROWS_AT_ONCE"):
        monkeypatch.setattr(tables, bound, 50)
    pieced = await written(tmp_path / "pieced", bundles, seed=3, batch=2)
    assert pieced.dataset_digest == whole.dataset_digest
    assert frozen(tmp_path / "pieced").keys() == frozen(tmp_path / "whole").keys()
    held = tables.Tables(Place(str(tmp_path / "pieced")))
    for name in ("chunks", "vectors", "products", "features", "relations", "documents"):
        pieces = list(held.in_order(name))
        assert max(piece.num_rows for piece in pieces) <= 75  # hashes are only about evenly spread
        joined = pa.concat_tables(pieces).combine_chunks()
        assert joined == in_order(name, held.read(name))
    assert [each.num_rows for each in held.in_order("chunks")] == [each.num_rows for each in held.in_order("vectors")]


async def test_the_graph_is_made_in_pieces_that_together_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [*(document(n) for n in range(5)), large(200), document(6)]
    whole = await written(tmp_path / "whole", bundles)
    monkeypatch.setattr(graph, "ROWS_AT_ONCE", 50)
    pieced = await written(tmp_path / "pieced", bundles, seed=3, batch=2)
    for name, count in (("nodes", whole.counts.nodes), ("edges", whole.counts.edges)):
        one = pq.ParquetFile(tmp_path / "whole" / whole.pins.graph / f"{name}.parquet")
        many = pq.ParquetFile(tmp_path / "pieced" / pieced.pins.graph / f"{name}.parquet")
        assert (one.num_row_groups, many.num_row_groups) == (1, -(-count // 50))
        assert many.read() == one.read() == in_order(name, one.read())
        assert one.metadata.num_rows == count > 200


async def test_parts_of_a_large_document_are_joined_up_to_a_bound_before_they_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = large(40)
    assert whole.parts.vectors is not None
    monkeypatch.setattr(writer_module, "JOINED_BYTES", 3000)
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        for n in range(40):
            await writer.append(DocumentParts(chunks=[whole.parts.chunks[n]], vectors=whole.parts.vectors[n : n + 1]))
        added = tables.Tables(Place(str(tmp_path))).open("chunks").version()
        await writer.record([whole.document])
        manifest = await commit(writer)
    assert 2 <= added <= 20
    assert manifest.counts.chunks == 40


@pytest.mark.requirement("G-01")
async def test_equal_content_makes_no_new_version_and_other_parameters_another_digest(tmp_path: Path) -> None:
    before = await written(tmp_path, [document(n) for n in range(3)])
    again = await written(tmp_path, [document(n) for n in range(3)], seed=4)
    assert again == before
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:  # vectors, which they decide, are not in the digest
        other = await writer.commit(parameter_version=1, fingerprint="sha256:" + "1" * 64, model=MODEL)
    assert other.dataset_digest != before.dataset_digest


async def test_nothing_is_visible_before_the_first_commit(tmp_path: Path) -> None:
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.replace_documents([document(1)])
        with pytest.raises(NotFound):
            await DatasetReader(tmp_path).__aenter__()


async def test_an_empty_dataset_can_be_committed_and_asked(tmp_path: Path) -> None:
    await written(tmp_path / "data", [unreadable(1)])
    (tmp_path / "scratch").mkdir()
    async with DatasetReader(tmp_path / "data", scratch=tmp_path / "scratch") as reader:
        assert await reader.search("Klemme") == []
        assert (await reader.sql("SELECT count(*) AS n FROM chunks")).rows == ((0,),)
        assert (await reader.cypher("MATCH (n:Node) RETURN n.kind")).rows == (("document",),)


@pytest.mark.requirement("I-03")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_a_vector_that_is_not_finite_is_refused_and_nothing_of_its_batch_is_written(
    tmp_path: Path, value: float
) -> None:
    bad = document(1)
    assert bad.parts.vectors is not None
    bad.parts.vectors[1, 3] = value
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        with pytest.raises(InvalidInput, match="NaN or infinity"):
            await writer.replace_documents([document(0), bad])
        assert await writer.documents() == {}


@pytest.mark.requirement("I-03", "I-04")
async def test_numbers_and_texts_that_no_table_can_hold_are_refused_by_column(tmp_path: Path) -> None:
    plain = document(1)
    number = dataclasses.replace(plain.parts.features[0], number=float("nan"))
    text = dataclasses.replace(plain.parts.products[0], name="\ud800")
    size = dataclasses.replace(plain.parts.chunks[0], start=2**63)
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        for parts, column in (
            (DocumentParts(features=[number]), "number"),
            (DocumentParts(products=[text]), "name"),
            (DocumentParts(chunks=[size], vectors=np.ones((1, DIMENSION), np.float32)), "start"),
        ):
            with pytest.raises(InvalidInput) as refused:
                await writer.append(parts)
            assert refused.value.field == column


async def test_a_second_writer_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    async with DatasetWriter(str(tmp_path), DIMENSION):
        with pytest.raises(Unavailable, match="Another process is writing"):
            await DatasetWriter(str(tmp_path), DIMENSION).__aenter__()
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        assert await writer.documents() == {}


@pytest.mark.requirement("M-05", "F-01")
async def test_a_writer_whose_caller_was_cancelled_leaves_no_lock(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:  # as the server cancels a call: every later await in it is cancelled again
        async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
            scope.cancel()
            await writer.replace_documents([document(1)])
    async with asyncio.timeout(240):
        while True:
            try:
                async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
                    assert set(await writer.documents()) <= {document(1).document.path}
                    return
            except Unavailable:  # the cancelled one still ends what it was writing
                await asyncio.sleep(0.01)


@pytest.mark.requirement("F-01")
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("Tables", "delete", 1),
        ("Tables", "delete", 3),
        ("Tables", "append", 2),
        ("Tables", "append", 8),
        ("lance", "build", 1),
        ("graph", "derive", 1),
        ("Place", "write", 2),
        ("Place", "write", 3),
    ],
)
async def test_a_writer_killed_anywhere_leaves_the_old_version_and_the_next_run_makes_the_new_one(
    tmp_path: Path, owner: str, name: str, call: int
) -> None:
    root = tmp_path / "dataset"
    before = await written(root, [document(n) for n in range(3)])
    victim = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", VICTIM, str(root), owner, name, str(call)],
        env={"PYTHONPATH": ":".join(sys.path)},
        timeout=240,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL
    assert visible(Place(str(root))) == before
    async with DatasetReader(root) as reader:
        assert (await reader.passages(document(1).document.path))[0].text.startswith("Die Klemme")
        assert (await reader.search(document(2).parts.products[0].gtin))[0].path == document(2).document.path
        assert (await reader.sql("SELECT count(*) AS n FROM products")).rows == ((3,),)
    wanted = [document(0), document(1, "Neuer Text."), document(2), document(9)]
    async with DatasetWriter(str(root), DIMENSION) as writer:
        ledger = await writer.documents()
        missing = [each for each in wanted if ledger.get(each.document.path) != each.document]
        await writer.replace_documents(missing)
        after = await commit(writer)
    assert after.dataset_digest == (await written(tmp_path / "clean", wanted)).dataset_digest
    assert after.counts.chunks == 8


async def test_what_was_never_recorded_does_not_count(tmp_path: Path) -> None:
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.replace_documents([document(1)])
        await writer.append(document(2).parts)
        manifest = await commit(writer)
    assert manifest.counts.chunks == 2


def as_before_dates(root: Path) -> None:
    """The dataset as a release before wrote it, whose documents had no dates."""
    from deltalake import DeltaTable, write_deltalake

    address = str(root / "tables/documents")
    older = DeltaTable(address).to_pyarrow_table().drop_columns(["dated"])
    write_deltalake(address, older, mode="overwrite", schema_mode="overwrite")
    manifest = orjson.loads((root / "manifest.json").read_bytes())
    manifest["pins"]["tables"]["documents"] = DeltaTable(address).version()
    (root / "manifest.json").write_bytes(orjson.dumps(manifest))


async def test_a_dataset_of_an_earlier_release_is_read_and_written_on_with_its_digest(tmp_path: Path) -> None:
    before = await written(tmp_path / "d", [document(1), document(2)])
    as_before_dates(tmp_path / "d")
    async with DatasetReader(tmp_path / "d") as reader:
        assert [each.dated for each in (await reader.documents()).documents] == ["", ""]
    assert len(frozen(tmp_path / "d"))
    async with DatasetWriter(str(tmp_path / "d"), DIMENSION) as writer:
        assert (await commit(writer)).dataset_digest == before.dataset_digest
        dated = document(3)
        dated = dataclasses.replace(dated, document=dataclasses.replace(dated.document, dated="2026-03-01"))
        await writer.replace_documents([dated])
        assert (await commit(writer)).dataset_digest != before.dataset_digest
        assert sorted(each.dated for each in (await writer.documents()).values()) == ["", "", "2026-03-01"]
