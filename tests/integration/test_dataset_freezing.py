"""Frozen files: the same bytes for the same content, and a copy that opens and answers on a read-only file system."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_corpus import DIMENSION, commit, document, frozen, unpack, unreadable, vector_of, written

from shared.dataset import sketch
from shared.dataset.filters import Filters
from shared.dataset.freeze import frozen_files
from shared.dataset.reader import DatasetReader
from shared.dataset.writer import DatasetWriter
from shared.errors import NotFound

ASK = """
import asyncio, sys, tempfile
from pathlib import Path
from dataset_corpus import vector_of
from shared.dataset.filters import Filters
from shared.dataset.reader import DatasetReader

async def main(root, scratch):
    try:
        (Path(root) / "probe").write_bytes(b"")
    except OSError:
        pass
    else:
        sys.exit("the folder is not read-only")
    async with DatasetReader(root, scratch=Path(scratch)) as reader:
        hits = await reader.search("Reihenklemme 3", vector_of("Die Klemme sitzt im Schaltschrank."), limit=5)
        table = await reader.sql("SELECT count(*) AS n FROM products")
        graph = await reader.cypher("MATCH (:Node)-[e:Edge]->(:Node) RETURN count(e) AS n")
        about = await reader.describe()
        print(len(hits), table.rows[0][0], graph.rows[0][0], about["tables"]["chunks"]["rows"])

asyncio.run(main(*sys.argv[1:]))
"""


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.requirement("G-01", "O-03")
async def test_two_runs_in_other_folders_and_orders_freeze_to_the_same_bytes(tmp_path: Path) -> None:
    corpus = [*(document(n) for n in range(12)), unreadable(1)]
    one = await written(tmp_path / "one", corpus, seed=1)
    two = await written(tmp_path / "elsewhere" / "two", corpus, seed=2, batch=5)
    assert one.dataset_digest == two.dataset_digest
    first, second = frozen(tmp_path / "one"), frozen(tmp_path / "elsewhere" / "two")
    assert [name for name in first if first[name] != second.get(name)] == []
    assert list(first) == list(second)


@pytest.mark.requirement("O-03")
async def test_a_dataset_that_grew_freezes_like_one_that_was_written_at_once(tmp_path: Path) -> None:
    await written(tmp_path / "grown", [document(1, "Ein alter Text."), document(7)])
    async with DatasetWriter(str(tmp_path / "grown"), DIMENSION) as writer:
        await writer.remove_documents([document(7).document.document_id])
        await writer.replace_documents([document(n) for n in range(4)])
        grown = await commit(writer)
    at_once = await written(tmp_path / "at-once", [document(n) for n in range(4)])
    assert (grown.dataset_version, at_once.dataset_version) == (2, 1)
    assert frozen(tmp_path / "grown") == frozen(tmp_path / "at-once")


async def test_only_the_delivered_version_is_frozen_in_few_files(tmp_path: Path) -> None:
    await written(tmp_path, [document(1, "Der Text von gestern.")])
    async with DatasetWriter(str(tmp_path), DIMENSION) as writer:
        await writer.replace_documents([document(1, "Der Text von heute.")])
        await commit(writer)
    files = frozen(tmp_path)
    assert len(files) < 40
    assert list(files)[-1] == "manifest.json"
    documents = [name for name in files if name.startswith("tables/chunks/")]
    assert documents == ["tables/chunks/part-00000.parquet", "tables/chunks/_delta_log/00000000000000000000.json"]
    unpack(files, tmp_path / "copy")
    async with DatasetReader(tmp_path / "copy") as reader:
        assert [row[0] for row in (await reader.sql("SELECT text FROM chunks WHERE ordinal = 0")).rows] == [
            "Der Text von heute."
        ]


async def test_other_content_freezes_to_other_bytes(tmp_path: Path) -> None:
    one = await written(tmp_path / "one", [document(1)])
    two = await written(tmp_path / "two", [document(1, "Ein anderer Text.")])
    assert one.dataset_digest != two.dataset_digest
    assert frozen(tmp_path / "one") != frozen(tmp_path / "two")


@pytest.mark.requirement("O-02")
async def test_the_frozen_copy_answers_like_the_original(tmp_path: Path) -> None:
    await written(tmp_path / "original", [document(n) for n in range(8)])
    copy = unpack(frozen(tmp_path / "original"), tmp_path / "copy")
    queries = [("Reihenklemme 3", None), ("Schaltschrank", vector_of("Die Klemme sitzt im Schaltschrank."))]
    answers = []
    for root in (tmp_path / "original", copy):
        async with DatasetReader(root) as reader:
            hits = [await reader.search(text, vector, limit=5) for text, vector in queries]
            rows = (await reader.sql("SELECT * FROM products ORDER BY product_id")).rows
            answers.append((hits, rows, await reader.documents()))
    assert answers[0] == answers[1]


@pytest.mark.requirement("O-03")
async def test_a_large_dataset_freezes_with_a_sketch_and_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, asked = [document(n) for n in range(8)], vector_of("Die Klemme sitzt im Schaltschrank.")
    await written(tmp_path / "plain", documents)
    monkeypatch.setattr(sketch, "ABOVE", 5)
    monkeypatch.setattr(sketch, "CANDIDATES", 50)
    for name, seed in (("one", 1), ("two", 2)):
        assert (await written(tmp_path / name, documents, seed=seed)).vector_index
    assert frozen(tmp_path / "one") == frozen(tmp_path / "two")
    assert "vectors/chunks.sketch" in frozen(tmp_path / "one")
    answers = []
    for root in (tmp_path / "plain", unpack(frozen(tmp_path / "one"), tmp_path / "copy")):
        async with DatasetReader(root) as reader:
            answers.append(await reader.search("Reihenklemme 3", asked, limit=5))
            answers.append(await reader.search("Reihenklemme 3", asked, limit=5, filters=Filters(language="de")))
    for plain, sketched in zip(answers[:2], answers[2:], strict=True):
        assert [hit.chunk_id for hit in sketched] == [hit.chunk_id for hit in plain]
        assert [hit.similarity for hit in sketched] == pytest.approx([hit.similarity for hit in plain], abs=1e-5)


@pytest.mark.requirement("O-02")
@pytest.mark.skipif(sys.platform != "linux", reason="drops a Linux capability")
async def test_the_frozen_copy_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    await written(tmp_path / "original", [document(n) for n in range(6)])
    copy = unpack(frozen(tmp_path / "original"), tmp_path / "copy")
    (tmp_path / "scratch").mkdir()
    for path in (*copy.rglob("*"), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = files_of(copy)
    asked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", ASK, str(copy), str(tmp_path / "scratch")],
        env={"PYTHONPATH": ":".join(sys.path)},
        preexec_fn=_without_override if os.geteuid() == 0 else None,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert (asked.returncode, asked.stderr.decode()[-500:]) == (0, "")
    # edges: six each of CONTAINS, MADE_BY, IN_CLASS, IN_GROUP, SUBGROUP_OF, REFERS_TO
    assert asked.stdout.decode().split() == ["5", "6", "36", "12"]
    assert files_of(copy) == before


def test_without_a_visible_version_there_is_nothing_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        next(frozen_files(tmp_path))


def _without_override() -> None:
    """Root without the capability to write in spite of a file's mode (CAP_DAC_OVERRIDE is 1, PR_CAPBSET_DROP 24)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
