"""What a legacy deployment holds and a migration could lose without a word: each is found, or is a difference."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from servers.cradle.legacy.backup import back_up
from servers.cradle.legacy.export import SHORTEST, Export, layout, read_export
from servers.cradle.legacy.reconcile import NewDataset, compare
from shared.dataset.foreign import ForeignTable
from shared.dataset.lance import module
from shared.dataset.places import Place
from shared.errors import Conflict, InvalidInput
from tests.e2e.legacy_rig import TEXTS, write_legacy

PASSAGE = "Das Anzugsdrehmoment der Reihenklemme beträgt 0,6 Nm."

pytestmark = pytest.mark.requirement("O-07")


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A legacy deployment of one file."""
    root = tmp_path / "legacy"
    root.mkdir()
    (root / "a.pdf").write_text("a")
    return root


def passages(root: Path, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    module().connect(str(root)).create_table(name, list(rows))


def export_of(root: Path) -> Export:
    return read_export(Place(str(root)), layout(root).tables)


def test_a_customers_files_in_the_folder_of_a_table_are_files(legacy: Path, tmp_path: Path) -> None:
    write_deltalake(str(legacy / "products"), pa.table({"sku": ["A"], "year": [2024]}), partition_by=["year"])
    write_deltalake(str(legacy / "products" / "preise"), pa.table({"sku": ["A"]}))
    passages(legacy / "lancedb", "v", [{"text": PASSAGE}])
    put = ["products/blatt.pdf", "products/datenblätter/b.pdf", "lancedb/v.lance/originale/c.pdf"]
    for name in put:
        (legacy / name).parent.mkdir(exist_ok=True)
        (legacy / name).write_text(name)
    found = layout(legacy)
    assert found.files == sorted(["a.pdf", *put])
    assert found.tables == ["lancedb/v.lance", "products", "products/preise"]
    assert back_up(found, legacy, tmp_path / "bucket").files == 4
    copied = tmp_path / "bucket" / "legacy" / "export"
    assert [ForeignTable(Place(str(copied)), name).count() for name in found.tables] == [1, 1, 1]


def test_a_dump_of_a_graph_is_copied_and_is_no_document(legacy: Path, tmp_path: Path) -> None:
    store = "neo4j/data/databases/kunde"
    graph = [
        "graph.dump", "old/neo4j.dump", "neo4j/kunde.dump", f"{store}/neostore", f"{store}/neostore.nodestore.db.id",
        f"{store}/neostore.counts.db", f"{store}/block.x1.db", f"{store}/database_lock",
        f"{store}/schema/index/range-1.0/3/index-3", f"{store}/schema/index/fulltext-1.0/4/4/_0.cfs",
        "neo4j/data/transactions/kunde/neostore.transaction.db.0", "neo4j/data/transactions/kunde/checkpoint.0",
        "neo4j/logs/debug.log.01.zip", "neo4j/conf/neo4j.conf", "neo4j/plugins/apoc-5.26.jar",
    ]  # fmt: skip
    for name in graph:
        _write(legacy, name)
    found = layout(legacy)
    assert (found.files, found.tables, found.parts) == (["a.pdf"], [], sorted(graph))
    back_up(found, legacy, tmp_path / "bucket")
    assert (tmp_path / "bucket" / "legacy" / "export" / "graph.dump").read_text() == "graph.dump"


def test_a_customers_file_that_is_named_or_lies_as_if_it_were_a_parts_is_a_file(legacy: Path) -> None:
    passages(legacy, "x", [{"text": PASSAGE}])
    write_deltalake(str(legacy / "products"), pa.table({"sku": ["A"]}))
    theirs = [
        "neo4j/handbook.pdf", "projects/neo4j/kundendaten.xlsx", "neo4j/import/artikel.csv", "neo4j/block.pdf",
        "kunde.dump", "x.lance/_liste.pdf", "products/_liste.pdf", "products/_alt/liste.pdf", "neo4j.pdf",
    ]  # fmt: skip
    for name in theirs:
        _write(legacy, name)
    found = layout(legacy)
    assert found.files == sorted(["a.pdf", *theirs])
    assert found.tables == ["products", "x.lance"]


def test_a_document_that_only_passages_name_is_expected_too(legacy: Path) -> None:
    write_deltalake(str(legacy / "documents"), pa.table({"path": ["/alt/a.pdf"]}))
    passages(legacy, "v", [{"text": PASSAGE, "source": name} for name in ("a.pdf", "fehlt.pdf", "fehlt.pdf")])
    export = export_of(legacy)
    assert (export.documents, export.names) == (1, Counter({"a.pdf": 1, "fehlt.pdf": 1}))
    found = compare(export, 1, NewDataset(Counter(["a.pdf"]), Counter(), 1, set()))
    assert found.missing["missing documents"] == ["fehlt.pdf"]


def test_a_passage_is_not_found_by_a_files_name_that_several_have(legacy: Path) -> None:
    rows = [{"text": PASSAGE, "source": name} for name in ("rk4/datenblatt.pdf", "hl240/datenblatt.pdf", "a.pdf")]
    passages(legacy, "v", rows)
    assert [sample.name for sample in export_of(legacy).samples] == ["", "", "a.pdf"]


def test_what_is_asked_for_is_long_enough_to_mean_something(legacy: Path) -> None:
    passages(
        legacy, "v", [{"text": text, "source": "a.pdf"} for text in (PASSAGE, "Inhalt", " " * SHORTEST + "Seite 2")]
    )
    assert [sample.text for sample in export_of(legacy).samples] == [PASSAGE]


def test_documents_without_known_names_are_a_difference_although_their_number_is_the_same(legacy: Path) -> None:
    write_deltalake(str(legacy / "documents"), pa.table({"key": ["verschollen.pdf"]}))
    found = compare(export_of(legacy), 1, NewDataset(Counter(["a.pdf"]), Counter(), 1, set()))
    assert {each.name for each in found.checks if not each.passed} == {"unrecognised tables"}
    assert found.missing == {"unrecognised tables": ["documents"]}


def test_the_names_of_documents_are_found_where_such_systems_write_them(legacy: Path) -> None:
    write_deltalake(str(legacy / "Dokumente"), pa.table({"Dateiname": ["Prüfung.pdf"]}))
    rows = [{"text": PASSAGE, "metadata": {"source": name, "page": 1}, "vector": [0.5] * 8} for name in ("b", "b", "c")]
    passages(legacy, "documents", rows)  # LangChain's; a row is a passage, whatever the table is called
    export = export_of(legacy)
    assert (export.documents, export.names) == (1, Counter(["prüfung.pdf", "b", "c"]))
    assert {sample.name for sample in export.samples} == {"b", "c"}
    (legacy / "Dokumente").rename(legacy.parent / "elsewhere")
    assert export_of(legacy).documents == 2


def test_an_article_number_that_a_missing_one_has_made_a_fraction_is_the_same(legacy: Path) -> None:
    write_deltalake(str(legacy / "products"), pa.table({"sku": pa.array([4711.0, None, 0.5])}))
    assert export_of(legacy).articles == {"4711", "0.5"}


@pytest.mark.parametrize("broken", ["last commit", "data"])
def test_half_a_table_is_refused_before_anything_is_processed(legacy: Path, broken: str) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_deltalake(str(legacy / "documents"), pa.table({"path": [name]}), mode="append")
    if broken == "last commit":
        (legacy / "documents" / "_delta_log" / f"{1:020}.json").write_bytes(b"")
    else:
        next((legacy / "documents").glob("*.parquet")).unlink()
    with pytest.raises(InvalidInput, match="damaged"):
        ForeignTable(Place(str(legacy)), "documents").count()


def test_a_table_whose_name_is_refused_is_not_called_damaged(legacy: Path) -> None:
    passages(legacy, "kunden", [{"text": PASSAGE, "vector": [0.5] * 8}])
    table = next(legacy.rglob("kunden.lance"))
    table.rename(table.with_name("kunden & partner.lance"))
    (named,) = layout(legacy).tables
    with pytest.raises(InvalidInput, match=r"Rename the folder"):
        ForeignTable(Place(str(legacy)), named)
    (legacy / named).rename(table.with_name("kunden_partner.lance"))
    (named,) = layout(legacy).tables
    assert ForeignTable(Place(str(legacy)), named).count() == 1
    write_deltalake(str(legacy / "kunden & partner"), pa.table({"sku": ["1", "2"]}))  # Delta's may be called anything
    assert ForeignTable(Place(str(legacy)), "kunden & partner").count() == 2


def test_what_is_no_file_is_counted_with_the_links(legacy: Path) -> None:
    os.mkfifo(legacy / "pipe")
    (legacy / "nas").symlink_to(legacy.parent)
    assert layout(legacy).links == 2


def test_a_second_copy_holds_nothing_that_the_legacy_deployment_has_no_more(tmp_path: Path) -> None:
    legacy, bucket = tmp_path / "legacy", tmp_path / "bucket"
    write_legacy(legacy)
    back_up(layout(legacy), legacy, bucket)
    (legacy / "files" / "preise.csv").rename(legacy / "files" / "preise 2024.csv")
    (legacy / "files" / "handbuch" / "nt24.txt").unlink()
    (legacy / "files" / "handbuch").rmdir()
    (legacy / "files" / "handbuch").write_text("now a file")
    (bucket / "legacy" / "files" / "files" / "handbuch" / "empty" / "too").mkdir(parents=True)
    shutil.rmtree(legacy / "delta" / "products")
    back_up(layout(legacy), legacy, bucket)
    copied = bucket / "legacy" / "files" / "files"
    names = sorted(path.relative_to(copied).as_posix() for path in copied.rglob("*") if path.is_file())
    assert names == [*sorted(name for name in TEXTS if name.startswith("daten")), "handbuch", "preise 2024.csv"]
    assert not (bucket / "legacy" / "export" / "delta" / "products").exists()


def test_a_second_copy_that_fails_leaves_the_first_one_whole(legacy: Path, tmp_path: Path) -> None:
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    back_up(layout(legacy), legacy, bucket)
    before = _content(bucket)
    other.mkdir()
    for name in ("a.pdf", "b.pdf", "z.pdf"):
        (other / name).write_text(f"another {name}")
    found = layout(other)
    (other / "z.pdf").unlink()
    with pytest.raises(Conflict, match="Stop its updates"):
        back_up(found, other, bucket)
    assert {name: text for name, text in _content(bucket).items() if not name.startswith("legacy/next/")} == before
    back_up(layout(legacy), legacy, bucket)
    assert _content(bucket) == before


def test_what_the_customer_put_beside_the_copy_stays_and_is_never_overwritten(legacy: Path, tmp_path: Path) -> None:
    copied = tmp_path / "bucket" / "legacy" / "files"
    back_up(layout(legacy), legacy, tmp_path / "bucket")
    (copied / "mehr").mkdir()
    (copied / "mehr" / "neu.pdf").write_text("the customer's")
    back_up(layout(legacy), legacy, tmp_path / "bucket")
    assert (copied / "mehr" / "neu.pdf").read_text() == "the customer's"
    for theirs in ("mehr", "mehr/neu.pdf", "mehr/neu.pdf/deeper"):
        (legacy / theirs).parent.mkdir(parents=True, exist_ok=True)
        (legacy / theirs).write_text("of the legacy deployment")
        with pytest.raises(Conflict, match="customer's own"):
            back_up(layout(legacy), legacy, tmp_path / "bucket")
        assert sorted(path.name for path in copied.rglob("*") if path.is_file()) == ["a.pdf", "neu.pdf"]
        assert (copied.parent / "manifest.json").exists()
        shutil.rmtree(legacy / "mehr") if (legacy / "mehr").is_dir() else (legacy / "mehr").unlink()


def test_a_switch_to_the_new_copy_that_is_killed_is_finished_by_the_next_call(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    (legacy / "b.pdf").write_text("b")
    back_up(layout(legacy), legacy, bucket)
    (legacy / "a.pdf").write_text("another a")
    (legacy / "b.pdf").rename(legacy / "c.pdf")
    with monkeypatch.context() as killed:
        killed.setattr(Path, "mkdir", _killed(bucket / "legacy" / "files", Path.mkdir))
        with pytest.raises(KeyboardInterrupt):
            back_up(layout(legacy), legacy, bucket)
    assert not (bucket / "legacy" / "manifest.json").exists()  # which vouched for `a`
    (legacy / "c.pdf").rename(legacy / "d.pdf")
    back_up(layout(legacy), legacy, bucket)
    kept = _content(bucket)
    assert sorted(kept) == ["legacy/files/a.pdf", "legacy/files/d.pdf", "legacy/manifest.json"]
    assert kept["legacy/files/a.pdf"] == "another a"


def test_a_manifest_that_another_wrote_removes_nothing_elsewhere(legacy: Path, tmp_path: Path) -> None:
    outside, copied = tmp_path / "outside", tmp_path / "bucket" / "legacy"
    outside.mkdir()
    (outside / "x.pdf").write_text("another's")
    (copied / "files").mkdir(parents=True)
    (copied / "files" / "link").symlink_to(outside)
    names = ["../../outside/x.pdf", "files/../../../outside/x.pdf", "files/link/x.pdf"]
    (copied / "manifest.json").write_bytes(orjson.dumps(dict.fromkeys(names, "0")))
    back_up(layout(legacy), legacy, tmp_path / "bucket")
    assert (outside / "x.pdf").exists()


def _write(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(name)


def _content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def _killed(at: Path, real: Callable[..., None]) -> Callable[..., None]:
    def mkdir(path: Path, *options: Any, **named: Any) -> None:
        if path == at:
            raise KeyboardInterrupt
        real(path, *options, **named)

    return mkdir


def test_a_file_that_went_after_it_was_listed_changed_and_is_not_one_without_rights(
    legacy: Path, tmp_path: Path
) -> None:
    found = layout(legacy)
    (legacy / "a.pdf").unlink()
    with pytest.raises(Conflict, match="Stop its updates"):
        back_up(found, legacy, tmp_path / "bucket")


def test_a_name_that_is_too_long_once_its_bytes_are_written_out_is_refused_in_a_sentence(
    legacy: Path, tmp_path: Path
) -> None:
    Path(os.fsdecode(os.fsencode(legacy) + b"/" + b"\xfc" * 70)).write_text("x")
    with pytest.raises(InvalidInput, match="too long"):
        back_up(layout(legacy), legacy, tmp_path / "bucket")
