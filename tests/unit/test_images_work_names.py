"""Names of what is being made, by which a sweep knows whether the process that makes it lives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_corpus import document, written

from servers.cradle.images import files
from servers.cradle.images.files import sweep, work_name
from servers.cradle.images.signing import Signer
from servers.cradle.images.updates import DeliveredDataset, make_update
from shared.dataset.places import Place
from shared.ids import digest

ROOT = Path(__file__).parents[2]
TELL = "from servers.cradle.images.files import work_name; print(work_name('.building-p1'), flush=True); input()"


def maker() -> tuple[subprocess.Popen[str], str]:
    """A process that makes something until it is told a line, and the name of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", TELL], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def left(folder: Path, *names: str) -> list[str]:
    """Those of the names that a sweep leaves."""
    for name in names:
        (folder / name).mkdir()
        (folder / name / "image.tar").write_bytes(b"content")
    sweep(folder)
    return [name for name in names if (folder / name).exists()]


@pytest.mark.requirement("Z-01")
def test_what_a_dead_process_left_goes_though_another_one_has_its_number(tmp_path: Path) -> None:
    process, name = maker()
    process.communicate("end\n")
    recurring = name.replace(str(process.pid), str(os.getpid()))
    own = work_name(".building-p1")
    assert recurring.split("-")[2].split(".")[0] == own.split("-")[2].split(".")[0]
    assert left(tmp_path, name, recurring, own) == [own]


@pytest.mark.requirement("F-01")
async def test_what_a_killed_maker_of_an_update_left_is_gone_with_the_next_update(tmp_path: Path) -> None:
    process, name = maker()
    process.communicate("end\n")
    half = tmp_path / "updates" / name.replace(".building-p1", ".building-aaaaaaaaaaaa-bbbbbbbbbbbb")
    half.mkdir(parents=True)
    (half / "chunks.parquet").write_bytes(b"content")
    root = tmp_path / "dataset"
    manifest = await written(root, [document(1)])
    signer = Signer.open(tmp_path / "keys")
    made = await make_update(
        "acme", DeliveredDataset(digest(b"delivered"), {}), Place(str(root)), manifest, tmp_path, signer
    )
    assert list((tmp_path / "updates").iterdir()) == [Path(made.location)]


def test_of_two_live_processes_each_leaves_the_others_work(tmp_path: Path) -> None:
    process, name = maker()
    own = work_name(".building-p1")
    assert left(tmp_path, name, own) == [name, own]
    process.communicate("end\n")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [own]


def test_without_proc_the_number_alone_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_proc = work_name(".building-p1")
    monkeypatch.setattr(files, "_PROC", tmp_path / "none")
    own = work_name(".building-p1")
    assert re.fullmatch(rf"\.building-p1-{os.getpid()}-[0-9a-f]{{8}}", own)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "made").mkdir()
    assert left(tmp_path / "made", own, with_proc, f".building-p1-{gone.pid}-abcd") == [own, with_proc]


def test_every_name_with_a_process_comes_from_one_place() -> None:
    by_hand = re.compile(r"getpid\(\)\}-")
    sources = (ROOT / "servers" / "cradle").rglob("*.py")
    assert [path.name for path in sources if by_hand.search(path.read_text())] == []
