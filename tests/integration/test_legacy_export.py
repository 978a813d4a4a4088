"""A legacy deployment's folder: what is found in it, how it is copied, and what its tables say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest

from servers.cradle.legacy import backup
from servers.cradle.legacy.backup import back_up
from servers.cradle.legacy.export import Export, layout, plain_name, read_export
from servers.cradle.legacy.reconcile import NewDataset, compare
from shared.errors import Conflict, InvalidInput
from tests.e2e.legacy_rig import TEXTS, write_legacy


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
    assert sorted(path.name for path in found.files) == ["hl240.txt", "nt24.txt", "preise.csv", "rk4.txt"]
    assert sorted(path.name for path in found.tables) == ["documents", "embeddings.lance", "products"]
    assert found.links == 2


def test_its_tables_say_what_it_held(legacy: Path) -> None:
    export = read_export(layout(legacy).tables)
    assert export.documents == 4
    assert export.names == {"rk4.txt", "hl240.txt", "nt24.txt", "preise.csv"}
    assert export.articles == {"RK-4", "HL-240-50"}
    assert {sample.text for sample in export.samples} == set(TEXTS.values())
    assert {sample.name for sample in export.samples} == {"rk4.txt", "hl240.txt", "nt24.txt"}


def test_a_folder_without_files_or_with_a_broken_table_is_refused(legacy: Path, tmp_path: Path) -> None:
    next((legacy / "delta" / "documents" / "_delta_log").iterdir()).write_text("{broken")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_export(layout(legacy).tables)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no original files"):
        layout(tmp_path / "empty")


def test_the_copy_is_whole_goes_on_after_a_break_and_notices_a_change(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    found = layout(legacy)
    made = back_up(found, bucket)
    assert (made.files, made.tables) == (4, 3)
    hashes = orjson.loads((bucket / "legacy" / "manifest.json").read_bytes())
    for name, value in hashes.items():
        assert hashlib.sha256((bucket / "legacy" / name).read_bytes()).hexdigest() == value
    (bucket / "legacy" / "files" / "files" / "preise.csv").write_text("cut o")  # a copy that broke off
    assert back_up(found, bucket).digest == made.digest
    (legacy / "files" / "preise.csv").write_text("first;state\n")
    real = backup.copy

    def changing(source: Path, target: Path) -> None:
        source.write_text(source.read_text() + "written meanwhile\n")
        real(source, target)

    monkeypatch.setattr(backup, "copy", changing)
    monkeypatch.setattr(backup, "reflink", lambda *_: False)
    with pytest.raises(Conflict, match="changed while it was copied"):
        back_up(layout(legacy), bucket)
    assert not (bucket / "legacy" / "files" / "files" / "preise.csv").exists()


def test_documents_are_compared_by_count_by_name_and_by_state() -> None:
    export = Export(names={"a.pdf", "b.pdf", "c.pdf"}, documents=3, articles={"1", "2"})
    new = NewDataset(processed={"a.pdf"}, failed={"b.pdf"}, documents=2, articles={"1"})
    found = compare(export, 3, new)
    assert {check.name: check.passed for check in found.checks} == dict.fromkeys(
        ("documents", "missing documents", "unreadable documents", "articles"), False
    )
    assert found.missing == {"missing documents": ["c.pdf"], "unreadable documents": ["b.pdf"], "articles": ["2"]}
    same = NewDataset(processed={"a.pdf", "b.pdf", "c.pdf"}, failed=set(), documents=3, articles={"1", "2", "3"})
    assert all(check.passed for check in compare(export, 3, same).checks)
    only_files = compare(Export(), 3, same)
    assert [(check.name, check.passed) for check in only_files.checks] == [("documents", True)]


def test_a_name_is_the_same_in_two_systems() -> None:
    assert plain_name("C:\\Daten\\Prüfung.PDF") == plain_name("/srv/Pru\u0308fung.pdf")
