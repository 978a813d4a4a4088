"""A legacy deployment's folder: what is found in it, how it is copied, and what its tables say."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from servers.cradle.legacy import backup
from servers.cradle.legacy.backup import back_up
from servers.cradle.legacy.export import Export, layout, plain_name, read_export
from servers.cradle.legacy.reconcile import NewDataset, compare
from shared.dataset.lance import module
from shared.dataset.places import Place
from shared.errors import Conflict, InvalidInput
from tests.e2e.legacy_rig import ARTICLES, TEXTS, write_legacy


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    root = tmp_path / "legacy"
    write_legacy(root)
    return root


def test_files_and_tables_are_told_apart_and_links_are_not_followed(legacy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("secret of another")
    (legacy / "files" / "link.txt").symlink_to(tmp_path / "outside.txt")
    (legacy / "files" / "loop").symlink_to(legacy)
    found = layout(legacy)
    assert sorted(Path(name).name for name in found.files) == ["hl240.txt", "nt24.txt", "preise.csv", "rk4.txt"]
    assert sorted(Path(name).name for name in found.tables) == ["documents", "embeddings.lance", "products"]
    assert "neo4j/neo4j.dump" in found.parts
    assert found.links == 2


@pytest.mark.requirement("I-09")
def test_a_link_that_is_named_like_a_table_or_lies_in_one_brings_in_nothing(legacy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_legacy(other)
    (legacy / "lancedb" / "theirs.lance").symlink_to(other / "lancedb" / "embeddings.lance")
    (legacy / "theirs").symlink_to(other / "delta" / "documents")
    (legacy / "delta" / "documents" / "theirs.txt").symlink_to(other / "files" / "preise.csv")
    (legacy / "delta" / "documents" / "folder").symlink_to(other / "files")
    (legacy / "delta" / "half").mkdir()
    (legacy / "delta" / "half" / "_delta_log").symlink_to(other / "delta" / "documents" / "_delta_log")
    found = layout(legacy)
    assert sorted(Path(name).name for name in found.tables) == ["documents", "embeddings.lance", "products"]
    assert back_up(found, legacy, tmp_path / "bucket").links_left_out == 5
    assert not [path for path in (tmp_path / "bucket").rglob("*") if "theirs" in path.name or path.name == "folder"]


@pytest.mark.requirement("I-09")
def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_copied(legacy: Path, tmp_path: Path) -> None:
    found = layout(legacy)
    (tmp_path / "outside.txt").write_text("secret of another")
    (legacy / "files" / "preise.csv").unlink()
    (legacy / "files" / "preise.csv").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(Conflict, match="changed while it was copied"):
        back_up(found, legacy, tmp_path / "bucket")
    (legacy / "files" / "preise.csv").unlink()
    (legacy / "files" / "preise.csv").symlink_to(
        legacy / "files" / "handbuch" / "nt24.txt"
    )  # nor is one that leads inside
    with pytest.raises(Conflict, match="changed while it was copied"):
        back_up(found, legacy, tmp_path / "bucket")
    (legacy / "files" / "preise.csv").unlink()
    (legacy / "files" / "preise.csv").write_text("again")
    (legacy / "files" / "datenblaetter").rename(tmp_path / "moved")
    (legacy / "files" / "datenblaetter").symlink_to(tmp_path / "moved")
    with pytest.raises(Conflict, match="changed while it was copied"):
        back_up(found, legacy, tmp_path / "bucket")


def test_a_name_that_is_no_utf8_is_copied_under_its_bytes_written_out(legacy: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(legacy / "files") + b"/pr\xfcfung.txt")).write_text("ja")
    assert back_up(layout(legacy), legacy, tmp_path / "bucket").files == 5
    assert (tmp_path / "bucket" / "legacy" / "files" / "files" / "pr\\xfcfung.txt").read_text() == "ja"
    (legacy / "files" / "pr\\xfcfung.txt").write_text("another's")
    with pytest.raises(Conflict, match="written alike"):
        back_up(layout(legacy), legacy, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_opened_ends_the_migration(legacy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def closed(path: Path | str) -> Any:
        if Path(path).name == "handbuch":
            raise PermissionError(13, "closed")  # root may open everything: the mode alone shows nothing
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InvalidInput, match="cannot be opened"):
        layout(legacy)


def test_its_tables_say_what_it_held(legacy: Path) -> None:
    export = read_export(Place(str(legacy)), layout(legacy).tables)
    assert export.documents == 4
    assert export.names == Counter(("rk4.txt", "hl240.txt", "nt24.txt", "preise.csv"))
    assert export.articles == {"RK-4", "HL-240-50"}
    assert {sample.text for sample in export.samples} == set(TEXTS.values())
    assert {sample.name for sample in export.samples} == {"rk4.txt", "hl240.txt", "nt24.txt"}


def test_several_tables_of_a_kind_count_together_and_the_unknown_are_told(legacy: Path) -> None:
    more = legacy / "more"
    write_deltalake(str(more / "files"), pa.table({"file_path": ["/srv/old/preise.csv", "/srv/old/b/preise.csv"]}))
    write_deltalake(str(more / "artikel"), pa.table({"sku": ["X-1 ", " ", None]}))
    write_deltalake(str(more / "prices"), pa.table({"price": [1], "text": ["no passage: it lies in no vector table"]}))
    export = read_export(Place(str(legacy)), layout(legacy).tables)
    assert export.documents == 5
    assert export.names == Counter({"preise.csv": 2, "rk4.txt": 1, "hl240.txt": 1, "nt24.txt": 1})
    assert export.articles == {"RK-4", "HL-240-50", "X-1"}
    assert export.unrecognised == ["prices"]
    check = compare(export, 5, NewDataset(Counter(), Counter(), 5, set())).checks[-1]
    assert (check.name, check.passed) == ("unrecognised tables", False)


def test_passages_of_every_table_name_documents_and_samples_come_from_all_over(tmp_path: Path) -> None:
    lance = tmp_path / "lancedb"
    for name, rows in (("a", 9000), ("b", 30)):
        texts = [f"{name} passage number {at} that is long enough to be asked for" for at in range(rows)]
        module().connect(str(lance)).create_table(
            name, pa.table({"text": texts, "source": [f"{name}{at % 3}" for at in range(rows)]})
        )
    export = read_export(Place(str(lance)), sorted(path.name for path in lance.iterdir()))
    assert export.names == Counter(f"{name}{at}" for name in "ab" for at in range(3))
    assert export.documents == 6
    places = [int(sample.text.split()[3]) for sample in export.samples if sample.text.startswith("a ")]
    assert len(places) == 20
    assert places[0] == 0
    assert places[-1] > 7000


def test_a_folder_without_files_or_with_a_broken_table_is_refused(legacy: Path, tmp_path: Path) -> None:
    next((legacy / "delta" / "documents" / "_delta_log").iterdir()).write_text("{broken")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_export(Place(str(legacy)), layout(legacy).tables)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no original files"):
        layout(tmp_path / "empty")


def test_the_copy_is_whole_goes_on_after_a_break_and_notices_a_change(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    found = layout(legacy)
    made = back_up(found, legacy, bucket)
    assert (made.files, made.tables) == (4, 3)
    hashes = orjson.loads((bucket / "legacy" / "manifest.json").read_bytes())
    for name, value in hashes.items():
        assert hashlib.sha256((bucket / "legacy" / name).read_bytes()).hexdigest() == value
    (bucket / "legacy" / "files" / "files" / "preise.csv").write_text("cut o")  # a copy that broke off
    assert back_up(found, legacy, bucket).digest == made.digest
    (legacy / "files" / "preise.csv").write_text("first;state\n")
    real = backup.copy

    def changing(source: Path, target: Path) -> None:
        source.write_text(source.read_text() + "written meanwhile\n")
        real(source, target)

    monkeypatch.setattr(backup, "copy", changing)
    monkeypatch.setattr(backup, "reflink", lambda *_: False)
    with pytest.raises(Conflict, match="changed while it was copied"):
        back_up(layout(legacy), legacy, bucket)
    assert (bucket / "legacy" / "files" / "files" / "preise.csv").read_text() == ARTICLES
    assert orjson.loads((bucket / "legacy" / "manifest.json").read_bytes()) == hashes


def test_the_copy_is_on_the_disk_before_its_manifest_says_so(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, steps = tmp_path / "bucket" / "legacy" / "manifest.json", list[str]()
    sync, fsync = os.sync, os.fsync

    def all_synced() -> None:
        steps.append("all" if (manifest.parent / "files" / "files" / "preise.csv").is_file() else "beside")
        sync()

    def synced(descriptor: int) -> None:
        about = os.fstat(descriptor)
        for path in (*manifest.parent.glob("*manifest.json*"), manifest.parent):
            if os.path.samestat(about, path.stat()):
                steps.append("folder" if path == manifest.parent else f"{about.st_size > 0} {manifest.exists()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "sync", all_synced)
    monkeypatch.setattr(os, "fsync", synced)
    back_up(layout(legacy), legacy, tmp_path / "bucket")
    assert steps == ["beside", "folder", "all", "True False", "folder"]
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["export", "files", "manifest.json"]


def test_documents_are_compared_by_count_by_name_and_by_state() -> None:
    export = Export(names=Counter(("a.pdf", "b.pdf", "c.pdf")), documents=3, articles={"1", "2"})
    new = NewDataset(processed=Counter(["a.pdf"]), failed=Counter(["b.pdf"]), documents=2, articles={"1"})
    found = compare(export, 3, new)
    assert {check.name: check.passed for check in found.checks} == dict.fromkeys(
        ("documents", "missing documents", "unreadable documents", "articles"), False
    )
    assert found.missing == {"missing documents": ["c.pdf"], "unreadable documents": ["b.pdf"], "articles": ["2"]}
    same = NewDataset(Counter(("a.pdf", "b.pdf", "c.pdf")), failed=Counter(), documents=3, articles={"1", "2", "3"})
    assert all(check.passed for check in compare(export, 3, same).checks)
    more = NewDataset(same.processed, Counter(), documents=4, articles=same.articles)
    assert {check.name for check in compare(export, 3, more).checks if not check.passed} == {"documents"}
    empty = compare(Export(documents=0), 3, same).checks[0]  # a table of documents that is empty says something too
    assert (empty.passed, empty.detail) == (False, "0 in the legacy export, 3 now")
    only_files = compare(Export(), 3, same)
    assert [(check.name, check.passed) for check in only_files.checks] == [
        ("documents", True),
        ("unreadable documents", True),
    ]


@pytest.mark.requirement("O-07")
def test_a_document_that_failed_is_told_where_nothing_names_it_and_where_another_has_its_name() -> None:
    failed = NewDataset(processed=Counter(), failed=Counter({"a.pdf": 500}), documents=500, articles=set())
    assert [check.passed for check in compare(Export(), 500, failed).checks] == [True, False]
    export = Export(names=Counter({"datenblatt.pdf": 2}), documents=2)
    one = NewDataset(Counter(["datenblatt.pdf"]), Counter(["datenblatt.pdf"]), documents=2, articles=set())
    assert {check.name for check in compare(export, 2, one).checks if not check.passed} == {"unreadable documents"}
    one = NewDataset(Counter(["datenblatt.pdf"]), Counter(), documents=2, articles=set())
    assert {check.name for check in compare(export, 2, one).checks if not check.passed} == {"missing documents"}


def test_a_name_is_the_same_in_two_systems() -> None:
    assert plain_name("C:\\Daten\\Prüfung.PDF") == plain_name("/srv/Pru\u0308fung.pdf")
