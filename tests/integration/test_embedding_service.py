"""The embedding service and the query encoder on the bundled model."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from servers.cradle.embedding import service as service_module
from servers.cradle.embedding.backends.sentence_transformers import SentenceTransformersBackend
from servers.cradle.embedding.export import export_model, is_exported
from servers.cradle.embedding.models import describe, resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.contracts.embedding import EmbeddingRequest
from shared.encoder import Encoder
from shared.errors import InvalidInput, PlatformError, Unavailable
from shared.settings import Settings

pytestmark = pytest.mark.slow

TEXTS = [
    "Leitungsschutzschalter B16, 1-polig, 6 kA",
    "Größe und Gewicht: 80 × 18 × 75 mm, 0,12 kg – für 49,90 €",
    "Straße, Fußweg, Öl, Übermaß: daß ß nicht ss ist.",
    "The quick brown fox jumps over the lazy dog.",
    "🔌⚡ Steckdose mit USB 🙂",
    "断路器的额定电流是多少？",
    "Z" + "\u0301" * 40 + " combining",
    " ",
    "x",
    "Ein Satz über Klemmen und Schaltschränke. " * 12,
]


async def test_vectors_equal_those_of_sentence_transformers(service: EmbeddingService, model_home: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = resolve(Settings(home=model_home)).folder
    reference = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(TEXTS)
    vectors = await service.embed_vectors(TEXTS, "passage", "a")
    assert (np.asarray(reference) * vectors).sum(1).min() >= 0.9999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


async def test_a_vector_does_not_depend_on_other_texts_or_callers_bit_for_bit(service: EmbeddingService) -> None:
    alone = [await service.embed_vectors([text], "passage", "a") for text in TEXTS]
    crowds = await asyncio.gather(
        *(service.embed_vectors(TEXTS[at:] + TEXTS[:at], "passage", f"t{at}") for at in range(len(TEXTS)))
    )
    for at, crowd in enumerate(crowds):
        assert np.array_equal(np.roll(crowd, at, axis=0), np.concatenate(alone))


async def test_the_image_encoder_gives_the_bits_that_the_service_gives(
    service: EmbeddingService, model_folder: Path
) -> None:
    encoder = Encoder(model_folder)
    assert np.array_equal(encoder.encode(TEXTS, "passage"), await service.embed_vectors(TEXTS, "passage", "a"))
    one_thread = Encoder(model_folder, threads=1)
    assert np.array_equal(one_thread.encode(TEXTS, "passage"), encoder.encode(TEXTS, "passage"))


async def test_sentence_transformers_as_backend_gives_the_same_vectors(
    service: EmbeddingService, model_home: Path
) -> None:
    backend = SentenceTransformersBackend(resolve(Settings(home=model_home)).folder)
    ids = service.tokenizer.inputs(TEXTS[:1], "passage")
    unit = backend.run(np.array(ids, np.int64))[1]
    assert (unit @ (await service.embed_vectors(TEXTS[:1], "passage", "a")).T).item() >= 0.9999


async def test_a_long_text_is_refused_by_name_or_cut_and_reported(service: EmbeddingService) -> None:
    texts = ["kurz", "Klemme " * 400]
    with pytest.raises(InvalidInput, match="256 tokens") as error:
        await service.embed(EmbeddingRequest(texts=texts), "a")
    assert error.value.field == "texts.1"
    result = await service.embed(EmbeddingRequest(texts=texts, truncate=True), "a")
    assert result.truncated == [1]
    assert result.tokens == len(service.tokenizer.passage("kurz")) + 256


async def test_the_answer_is_little_endian_float32_in_base64_or_numbers(service: EmbeddingService) -> None:
    packed = await service.embed(EmbeddingRequest(texts=TEXTS[:3]), "a")
    plain = await service.embed(EmbeddingRequest(texts=TEXTS[:3], encoding="float"), "a")
    vectors = np.frombuffer(base64.b64decode(packed.data or ""), "<f4").reshape(3, 384)
    assert np.array_equal(vectors, np.array(plain.vectors, np.float32))


async def test_without_normalising_the_vectors_keep_their_length(service: EmbeddingService) -> None:
    raw = await service.embed(EmbeddingRequest(texts=TEXTS[:3], normalize=False, encoding="float"), "a")
    unit = await service.embed(EmbeddingRequest(texts=TEXTS[:3], encoding="float"), "a")
    lengths = np.linalg.norm(np.array(raw.vectors), axis=1, keepdims=True)
    assert np.abs(lengths - 1).min() > 0.01
    assert np.array(raw.vectors) / lengths == pytest.approx(np.array(unit.vectors), abs=1e-6)


async def test_what_was_tokenised_to_be_cut_is_not_tokenised_again_and_gives_the_very_same_vectors(
    service: EmbeddingService,
) -> None:
    inputs = [service.tokenizer.passage(text) for text in TEXTS]
    known = await service.embed_vectors([""] * len(TEXTS), "passage", "a", inputs=inputs)
    assert np.array_equal(known, await service.embed_vectors(TEXTS, "passage", "a"))
    with pytest.raises(InvalidInput, match="256 tokens"):
        await service.embed_vectors(["Klemme " * 400], "passage", "a", inputs=[[7] * 257])


@pytest.mark.requirement("L-02")
async def test_work_in_this_process_goes_on_in_smaller_parts_while_others_leave_no_room_for_larger_ones(
    service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Klemme {at}" for at in range(20)]
    alone = await service.embed_vectors(texts, "passage", "a")
    asked = [len(service.tokenizer.passage(text)) for text in texts]
    monkeypatch.setattr(service._admission, "limit", 1000 + max(asked))
    monkeypatch.setattr(service, "_settings", service._settings.model_copy(update={"job_step_deadline_s": 60.0}))
    with service._admission.held(("interactive", "others"), 1000, time.monotonic()):
        assert np.array_equal(await service.embed_vectors(texts, "passage", "a"), alone)


@pytest.mark.requirement("I-04")
async def test_half_a_character_is_refused_by_name(service: EmbeddingService) -> None:
    with pytest.raises(InvalidInput) as error:
        await service.embed_vectors(["gut", "\ud800"], "passage", "a")
    assert error.value.field == "texts.1"


async def test_tokens_begin_at_characters_of_the_text(service: EmbeddingService) -> None:
    text = "Größe 😀 断路 groß"
    starts = service.tokenizer.starts(text)
    words = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    assert "".join(words) == text
    assert all(word[0] != " " for word in words)
    assert len(service.tokenizer.passage(text)) == len(words) + 2


async def test_the_service_tells_its_stage_while_it_loads_and_the_first_call_waits(model_home: Path) -> None:
    loading = EmbeddingService(Settings(home=model_home))
    await loading.start()
    try:
        assert loading.health()["status"] == "loading"
        assert (await loading.embed(EmbeddingRequest(texts=["früh"]), "a")).count == 1
        assert loading.health()["status"] == "healthy"
    finally:
        await loading.close()
    assert loading.health()["status"] == "stopped"


@pytest.mark.requirement("L-03")
async def test_a_text_that_comes_alone_waits_for_its_vector_and_for_no_clock(
    service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, timers = asyncio.get_running_loop(), list[float]()
    await service.embed_vectors(["Klemme"], "query", "a")
    plain = loop.call_at

    def noted(when: float, *arguments: Any, **named: Any) -> asyncio.TimerHandle:
        timers.append(when - loop.time())
        return plain(when, *arguments, **named)

    monkeypatch.setattr(loop, "call_at", noted)
    waits = list[float]()
    for _ in range(5):  # what the service does by the clock may fall into one of them, not into each
        timers.clear()
        await service.embed_vectors(["Klemme"], "query", "a")
        deadlines = [delay for delay in timers if delay > 30]
        assert deadlines, "the loop's timers were not seen"
        waits.append(sum(timers) - sum(deadlines))
    assert min(waits) <= 0.005, waits


@pytest.mark.requirement("F-05")
async def test_a_killed_worker_is_replaced_and_the_service_is_not_ready_meanwhile(model_home: Path) -> None:
    serving = EmbeddingService(Settings(home=model_home))
    await serving.start()
    try:
        await serving.identity()
        assert serving._loaded is not None
        (worker,) = serving._loaded.engine.workers.values()
        first = worker.pid
        worker.kill()
        await worker.lost.wait()
        await asyncio.sleep(0)
        assert serving.health()["status"] == "loading"
        assert (await serving.embed(EmbeddingRequest(texts=["wieder da"]), "a")).count == 1
        assert serving.health()["status"] == "healthy"
        (worker,) = serving._loaded.engine.workers.values()
        assert worker.pid != first
    finally:
        await serving.close()


@pytest.mark.requirement("S-03")
async def test_a_missing_model_is_one_sentence_that_says_which_files_belong_where(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, embedding_model="intfloat/multilingual-e5-large", embedding_revision="a" * 40)
    serving = EmbeddingService(settings)
    await serving.start()
    try:
        with pytest.raises(Unavailable, match=r"models--intfloat--multilingual-e5-large/snapshots/a{40}"):
            await serving.identity()
        assert serving.health()["status"] == "failed"
    finally:
        await serving.close()


async def test_a_model_that_could_not_be_loaded_is_loaded_later_though_no_call_comes(
    model_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "RETRY_LOAD_S", 0.01)
    serving = EmbeddingService(Settings(home=model_home))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            await serving.start()
            with pytest.raises(Unavailable):
                await serving.identity()
            assert serving.health()["status"] == "failed"
        async with asyncio.timeout(240):
            while serving.health()["status"] != "healthy":  # noqa: ASYNC110  # nothing else tells of it
                await asyncio.sleep(0.01)
    finally:
        await serving.close()


async def test_a_model_that_cannot_be_loaded_holds_nothing_of_the_calls_that_it_failed(tmp_path: Path) -> None:
    serving = EmbeddingService(Settings(home=tmp_path, embedding_model="some/model", embedding_revision="a" * 40))
    await serving.start()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await serving.embed(EmbeddingRequest(texts=["Kanarienvogel"]), "a")
        assert serving._failure is not None
        frames = [frame for frame, _ in traceback.walk_tb(serving._failure.__traceback__)]
        assert not [frame for frame in frames if "texts" in frame.f_locals]
    finally:
        await serving.close()


async def test_who_waits_for_a_model_is_told_that_the_service_stops(model_home: Path) -> None:
    serving = EmbeddingService(Settings(home=model_home))
    await serving.start()
    waiting = asyncio.create_task(serving.embed(EmbeddingRequest(texts=["Klemme"]), "a"))
    await asyncio.sleep(0)
    await serving.close()
    with pytest.raises(Unavailable, match="stopped"):
        await waiting


async def test_a_call_that_comes_while_the_service_stops_waits_once_and_is_told(model_home: Path) -> None:
    class Counted(asyncio.Event):
        waits = 0

        async def wait(self) -> Literal[True]:
            self.waits += 1
            assert self.waits < 10  # it would turn here for ever, and no deadline would be heard
            return await super().wait()

    serving = EmbeddingService(Settings(home=model_home))
    serving._changed = counted = Counted()
    await serving.start()
    await serving.identity()
    stopping = asyncio.create_task(serving.close())
    while serving._loaded is not None:  # noqa: ASYNC110  # it is gone before the workers are
        await asyncio.sleep(0)
    assert not stopping.done()
    counted.waits = 0
    with pytest.raises(Unavailable, match="stopped"):
        await serving.embed(EmbeddingRequest(texts=["Klemme"]), "a")
    assert counted.waits == 1
    await stopping


def test_a_model_without_a_pinned_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as error:
        resolve(Settings(home=tmp_path, embedding_model="intfloat/multilingual-e5-large"))
    assert error.value.field == "embedding_revision"


@pytest.mark.requirement("S-03")
def test_pickled_weights_are_no_weights(tmp_path: Path, model_home: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(resolve(Settings(home=model_home)).folder, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(Unavailable, match=r"model\.safetensors"):
        describe(copy, "someone/else", "b" * 40)


def test_e5_models_have_prefixes_and_others_have_none(tmp_path: Path, model_home: Path) -> None:
    folder = resolve(Settings(home=model_home)).folder
    e5 = describe(folder, "intfloat/multilingual-e5-large", "c" * 40).card
    assert (e5.query_prefix, e5.passage_prefix) == ("query: ", "passage: ")
    other = describe(folder, "sentence-transformers/paraphrase", "c" * 40).card
    assert (other.query_prefix, other.passage_prefix) == ("", "")


@pytest.fixture(scope="module")
async def exported_again(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int]]:
    """The model exported a second time, to another folder, which torch takes seconds for; and which files and folders
    were on the disk before the folder had its name."""
    made, synced = tmp_path_factory.mktemp("exported") / "somewhere" / "else", set[int]()

    def fsync(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        fsync(descriptor)
        if not made.exists():
            synced.add(os.fstat(descriptor).st_ino)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        await export_model(resolve(Settings(home=model_home)), made)
    return made, synced


@pytest.mark.requirement("G-01")
def test_the_same_model_is_exported_to_the_same_bytes(
    model_folder: Path, exported_again: tuple[Path, set[int]]
) -> None:
    again, _ = exported_again
    names = sorted(file.name for file in model_folder.iterdir())
    assert names == ["encoder.json", "model.bin", "model.xml", "tokenizer.json"]
    for name in names:
        assert (again / name).read_bytes() == (model_folder / name).read_bytes(), name
    assert [each.name for each in again.parent.iterdir()] == ["else"]


def test_an_exported_model_is_on_the_disk_before_it_has_its_name(exported_again: tuple[Path, set[int]]) -> None:
    made, synced = exported_again
    assert {each.stat().st_ino for each in (made, *made.iterdir())} <= synced


async def test_a_model_that_cannot_be_converted_leaves_nothing_behind(model_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(resolve(Settings(home=model_home)).folder, copy)
    (copy / "config.json").write_text(json.dumps({"model_type": "unheard-of", "hidden_size": 384}))
    with pytest.raises(PlatformError, match="could not be converted"):
        await export_model(describe(copy, "someone/else", "d" * 40), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_export_of_other_settings_is_made_again(model_home: Path, model_folder: Path) -> None:
    card = resolve(Settings(home=model_home)).card
    assert is_exported(model_folder, card)
    assert not is_exported(model_folder, card.model_copy(update={"max_tokens": 128}))


def test_the_image_encoder_needs_neither_torch_nor_transformers_nor_a_network(model_folder: Path) -> None:
    code = f"""
import socket, sys
for name in ("torch", "transformers", "sentence_transformers", "huggingface_hub"):
    sys.modules[name] = None
def refuse(*args): raise SystemExit("a socket was opened")
socket.socket.connect = socket.getaddrinfo = refuse
from shared.encoder import Encoder
print(Encoder({str(model_folder)!r}).encode(["Hallo"], "query").shape)
assert sys.modules.get("openvino_telemetry") is None
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert run.stdout.strip() == "(1, 384)", run.stderr
