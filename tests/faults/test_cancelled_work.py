"""Work in threads ends early when its caller is cancelled, and leaves nothing half made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.images import archive as archiving
from servers.cradle.images import layers, unpack
from servers.cradle.images import package as packaging
from servers.cradle.images.archive import Archive
from servers.cradle.images.package import package_delivery
from servers.cradle.images.running import running_instance
from servers.cradle.images.signing import Signer
from shared.dataset import lance
from shared.dataset.manifest import DatasetModel
from shared.dataset.rows import ChunkRow, DocumentBundle, DocumentParts, DocumentRow, chunk_id, document_id
from shared.dataset.writer import DatasetWriter
from shared.ids import digest
from shared.stopping import stoppable
from tests.image_rig import NO_ENGINE, small_image


class Gate:
    """Holds a thread at a function until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: object, name: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        real: Callable[..., object] = getattr(place, name)

        def held(*arguments: object, **named: object) -> object:
            self.reached.set()
            assert self.go_on.wait(180)
            return real(*arguments, **named)

        monkeypatch.setattr(place, name, held)

    async def cancel(self, task: asyncio.Task[object], *, waits: bool = False) -> None:
        """Cancel the task while it is held. `waits`: it ends only when its thread has."""
        assert await asyncio.to_thread(self.reached.wait, 180)
        task.cancel()
        if waits:
            assert await asyncio.wait([task], timeout=0.1) == (set(), {task})
            self.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        self.go_on.set()


@pytest.mark.requirement("M-05")
async def test_a_layer_whose_caller_has_gone_is_not_written_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, layers, "_add")
    entries = [layers.Entry(f"data/{number}", b"x" * 2**21) for number in range(3)]
    with ThreadPoolExecutor(1) as executor:
        work = stoppable(layers.write_layer, "vectors", entries, tmp_path, executor=executor)
        await gate.cancel(asyncio.create_task(work))
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    assert layers.write_layer("vectors", entries, tmp_path).path.is_file()


@pytest.mark.requirement("M-05")
async def test_an_archiving_that_is_cancelled_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer)
    archive = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    gate = Gate(monkeypatch, archiving, "_seal")
    ended = threading.Event()
    real = archiving.shutil.rmtree
    monkeypatch.setattr(archiving.shutil, "rmtree", lambda *a, **n: (real(*a, **n), ended.set()))
    await gate.cancel(asyncio.create_task(archive.keep(image.bucket, image.spec.tag)))
    assert await asyncio.to_thread(ended.wait, 180)
    assert list((tmp_path / "archive" / "acme").iterdir()) == []
    assert not (await archive.keep(image.bucket, image.spec.tag)).already_there


@pytest.mark.requirement("M-05")
async def test_an_image_whose_check_is_cancelled_while_it_is_unpacked_leaves_no_file_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys"))
    gate = Gate(monkeypatch, unpack, "_take")

    async def check() -> None:
        async with running_instance(image.tar, tmp_path / "scratch", docker_host=NO_ENGINE):
            pass

    await gate.cancel(asyncio.create_task(check()), waits=True)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.requirement("M-05")
async def test_a_delivery_that_is_cancelled_is_not_published_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path, signer)
    gate = Gate(monkeypatch, packaging, "_fill")
    await gate.cancel(asyncio.create_task(package_delivery(tmp_path, image.spec.tag, image.spec, signer)), waits=True)
    assert list((tmp_path / "delivery").iterdir()) == []
    assert (await package_delivery(tmp_path, image.spec.tag, image.spec, signer)).files > 0


@pytest.mark.requirement("M-05")
async def test_a_commit_that_is_cancelled_makes_no_version_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = document_id("a.txt")
    chunk = ChunkRow(chunk_id(doc, 0), doc, 0, "Text", 1, tokens=1, end=4)
    row = DocumentRow(doc, "a.txt", digest(b"a"), 4, "text/plain", "processed", 1, title="a", chunks=1, tokens=1)
    bundle = DocumentBundle(row, DocumentParts([chunk], np.ones((1, 4), np.float32)))
    about = DatasetModel(
        model="m", revision="r", dimension=4, query_prefix="", passage_prefix="", normalize=True
    )  # fmt: skip
    gate = Gate(monkeypatch, lance, "build")
    async with DatasetWriter(str(tmp_path), 4) as writer:
        await writer.replace_documents([bundle])
        commit = writer.commit(parameter_version=1, fingerprint=digest(b"p"), model=about)
        await gate.cancel(asyncio.create_task(commit))
        assert await writer.manifest() is None  # the writer's thread is free again, and nothing is visible
        made = await writer.commit(parameter_version=1, fingerprint=digest(b"p"), model=about)
        assert made.counts.documents == 1
