"""Models that cannot be loaded: one sentence that says why, and what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.export import export_model
from servers.cradle.embedding.models import describe, resolve
from servers.cradle.embedding.worker import Worker
from shared.errors import PlatformError, StorageFull, Unavailable
from shared.settings import Settings


def cut_off(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(1_000_000)


def pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.requirement("S-03")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda file: file.write_text("{")),
        ("config.json", lambda file: file.write_text("[]")),
        ("modules.json", lambda file: file.write_text('[{"path": "x"}]')),
        ("modules.json", lambda file: file.write_text("7")),
        ("1_Pooling/config.json", lambda file: file.write_text('"mean"')),
        ("model.safetensors", cut_off),
        ("model.safetensors", pointer),
        ("model.safetensors", lambda file: file.write_bytes(b"")),
        ("model.safetensors", folder),
    ],
)
def test_a_damaged_file_is_one_sentence_that_says_what_belongs_where(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(resolve(Settings(home=tmp_path)).folder, copy)
    describe(copy, "someone/else", "b" * 40)
    damage(copy / name)
    with pytest.raises(
        Unavailable, match=f"copy config.json.*models--someone--else/snapshots/{'b' * 40} of the model cache"
    ):
        describe(copy, "someone/else", "b" * 40)


@pytest.mark.parametrize(("free", "told"), [(2**40, Unavailable), (2**20, StorageFull)])
async def test_a_model_that_is_not_converted_for_want_of_room_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: type[PlatformError]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2**40, 2**40 - free, free))
    with pytest.raises(told):
        await export_model(resolve(Settings(home=tmp_path)), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.requirement("F-05")
@pytest.mark.parametrize(
    ("device", "folder", "told"),
    [("cpu", "nowhere", "openvino on cpu.*OPERATIONS"), ("cuda:99", "", "packed on cuda:99 .*nvidia-smi")],
)
async def test_a_worker_that_does_not_load_says_on_which_device_and_what_to_look_at(
    tmp_path: Path, device: str, folder: str, told: str
) -> None:
    place = tmp_path / folder if folder else resolve(Settings(home=tmp_path)).folder
    worker = Worker(Spec("packed" if device != "cpu" else "openvino", str(place), device))
    with pytest.raises(Unavailable, match=told):
        await worker.start()


async def test_a_worker_whose_process_ends_while_it_loads_speaks_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match=r"onnx on cpu \(lost\): free memory"):
        await Worker(Spec("onnx", "nowhere")).start()
