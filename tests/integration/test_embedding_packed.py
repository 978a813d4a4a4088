"""The own packed encoder against sentence-transformers, on the bundled BERT and on a random XLM-RoBERTa; and how a
model is pinned and loaded."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from servers.cradle.embedding.backends.onnx import OnnxBackend
from servers.cradle.embedding.loader import Loader
from servers.cradle.embedding.models import cached_at, describe, resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.encoder import TOKENIZER, Tokenizer
from shared.errors import Unavailable
from shared.settings import Settings
from tests.random_model import write_model

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Backend

pytestmark = pytest.mark.slow

TORCH = "sentence-transformers"
"""The backend that takes seven seconds to load."""
MODEL, REVISION = "intfloat/multilingual-e5-tiny", "7" * 40
TEXTS = [
    "Klemme",
    "Leuchte, Größe 80 × 18 × 75 mm – 0,12 kg für 49,90 €",
    "Straße, daß ß nicht ss ist.",
    "断路器 🔌 rail power",
    "x",
    "Schutzschalter und Leuchte " * 6,
    "Klemme Leuchte",
    "b",
]


@pytest.fixture(scope="session")
def xlmr_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose model cache holds the random XLM-RoBERTa."""
    home = tmp_path_factory.mktemp("xlmr-home")
    write_model(home / "models" / cached_at(MODEL, REVISION))
    return home


def settings_of(home: Path, **more: object) -> Settings:
    return Settings(home=home, embedding_model=MODEL, embedding_revision=REVISION, **more)  # pyright: ignore[reportArgumentType]


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(texts))


def packed(folder: Path, pooling: Literal["mean", "cls"] = "mean") -> Backend:
    from servers.cradle.embedding.backends.packed import PackedBackend  # with torch, which takes seconds to load

    return PackedBackend(folder, pooling=pooling)


def flat(inputs: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.array(each, np.int64) for each in inputs]), np.array([len(each) for each in inputs])


@pytest.fixture(scope="session", params=["bert", "xlm-roberta"])
def folder(request: pytest.FixtureRequest, xlmr_home: Path) -> Path:
    return resolve(Settings(home=xlmr_home) if request.param == "bert" else settings_of(xlmr_home)).folder


def inputs_of(folder: Path, texts: list[str]) -> list[list[int]]:
    card = describe(folder, "some/model", REVISION).card
    return Tokenizer(folder / TOKENIZER, card).inputs(texts, "passage")


def test_a_packed_batch_of_any_lengths_gives_the_vectors_of_sentence_transformers(folder: Path) -> None:
    expected = reference(folder, TEXTS)
    assert np.triu(expected @ expected.T, 1).max() < 0.99, (
        "different texts must differ, or the comparison shows nothing"
    )
    unit = packed(folder).start(*flat(inputs_of(folder, TEXTS)))()[1]
    assert (unit * expected).sum(1).min() >= 0.99999
    assert np.abs(unit - expected).max() < 1e-5  # with GELU by tanh it is 3e-4


def test_a_text_in_a_packed_batch_gives_what_it_gives_alone(folder: Path) -> None:
    backend, inputs = packed(folder), inputs_of(folder, TEXTS)
    together = backend.start(*flat(inputs))()
    for at, text in enumerate(inputs):
        alone = backend.start(*flat([text]))()
        assert np.abs(together[1][at] - alone[1][0]).max() < 1e-5
        assert np.allclose(together[0][at], alone[0][0], rtol=1e-4, atol=1e-5)


def test_batch_mates_do_not_look_at_each_other(folder: Path) -> None:
    backend, inputs = packed(folder), inputs_of(folder, TEXTS)
    first = backend.start(*flat(inputs))()[1]
    changed = [inputs[0], *([token if token < 10 else 10 for token in each] for each in inputs[1:])]
    second = backend.start(*flat(changed))()[1]
    assert np.abs(first[0] - second[0]).max() < 1e-5
    assert np.abs(first[5] - second[5]).max() > 1e-3


@pytest.mark.parametrize(("backend", "workers"), [("packed", 2), ("openvino", 2), ("onnx", 2), (TORCH, 1)])
async def test_a_pinned_e5_model_is_served_by_every_backend_with_its_own_prefixes(
    xlmr_home: Path, backend: str, workers: int
) -> None:
    settings = settings_of(xlmr_home, embedding_backend=backend, embedding_device="cpu", embedding_workers=workers)
    serving = EmbeddingService(settings)
    await serving.start()
    try:
        vectors = await serving.embed_vectors(TEXTS, "query", "a")
        expected = reference(resolve(settings).folder, [f"query: {text}" for text in TEXTS])
        assert (vectors * expected).sum(1).min() >= 0.9999
        identity = await serving.identity()
        assert (identity.backend, identity.revision, identity.dtype) == (backend, REVISION, "float32")
        assert serving.health()["workers"] == workers
    finally:
        await serving.close()


@pytest.mark.parametrize("missing", ["openvino", "onnxruntime"])
def test_where_openvino_is_not_there_onnx_runtime_serves(
    xlmr_home: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    settings = settings_of(xlmr_home, embedding_device="cpu")
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else there(name))
    chosen = Loader(settings)._backend(resolve(settings))
    assert chosen == ("onnx" if missing == "openvino" else "openvino")


def test_the_onnx_graph_computes_what_the_packed_encoder_computes(folder: Path, tmp_path: Path) -> None:
    from servers.cradle.embedding.backends.onnx_graph import convert  # with torch, which is here already

    card = describe(folder, "some/model", REVISION).card
    poolings: list[Literal["mean", "cls"]] = ["mean", "cls"]
    made = {each: card.model_copy(update={"pooling": each}) for each in poolings}
    for name, wanted in (("mean", made["mean"]), ("cls", made["cls"]), ("again", made["cls"])):
        (tmp_path / name).mkdir()
        convert(folder, tmp_path / name, wanted)
    for name in ("model.onnx", "model.bin"):
        assert (tmp_path / "cls" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    for pooling in poolings:
        theirs, ours = packed(folder, pooling), OnnxBackend(tmp_path / pooling, threads=1)
        for text in inputs_of(folder, TEXTS):
            for mine, other in zip(ours.run(np.array([text])), theirs.run(np.array([text])), strict=True):
                assert np.allclose(mine, other, rtol=1e-4, atol=2e-5)


@pytest.mark.requirement("S-03")
@pytest.mark.parametrize("pin", ["weights", "tokenizer"])
def test_a_model_with_other_digests_than_the_pinned_ones_is_refused(xlmr_home: Path, pin: str) -> None:
    card = resolve(settings_of(xlmr_home)).card
    right = {"embedding_weights_digest": card.weights_digest, "embedding_tokenizer_digest": card.tokenizer_digest}
    assert resolve(settings_of(xlmr_home, **right)).card == card
    wrong = right | {f"embedding_{pin}_digest": "sha256:" + "0" * 64}
    with pytest.raises(Unavailable, match=f"P0711_EMBEDDING_{pin.upper()}_DIGEST"):
        resolve(settings_of(xlmr_home, **wrong))


LOADED = """
import socket
from pathlib import Path
def refuse(*args): raise SystemExit("a socket was opened")
socket.socket.connect = socket.getaddrinfo = refuse
from servers.cradle.embedding.backends.conversion import convert
from servers.cradle.embedding.device import Spec, open_backend
from servers.cradle.embedding.models import describe
for name in ("packed", "sentence-transformers"):
    print(open_backend(Spec(name, {folder!r})).name)
convert(Path({folder!r}), Path({folder!r}), describe(Path({folder!r}), "some/model", "7" * 40).card)
print("openvino")
"""
"""A model in all ways in which torch reads it; in one process, since its libraries take eight seconds to load."""


@pytest.mark.requirement("S-03")
def test_a_model_loads_without_a_network_and_neither_its_code_nor_a_pickle_beside_it_runs(
    xlmr_home: Path, tmp_path: Path
) -> None:
    copy, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(resolve(settings_of(xlmr_home)).folder, copy)
    (copy / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    (copy / "pytorch_model.bin").write_bytes(b"no weights of this model")
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "modeling_evil.Evil"},', 1))
    code = LOADED.format(folder=str(copy))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert run.stdout.split() == ["packed", TORCH, "openvino"], run.stderr
    assert not ran.exists()


def test_another_architecture_is_refused_by_the_packed_encoder(xlmr_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(resolve(settings_of(xlmr_home)).folder, copy)
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    assert not describe(copy, "some/model", REVISION).packable
    with pytest.raises(ValueError, match="not a BERT or XLM-RoBERTa"):
        packed(copy)


def test_the_script_that_measures_a_gpu_prints_every_figure_on_a_small_shape() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "embedding_encoder.py"
    run = subprocess.run(
        [sys.executable, str(script), "tiny"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"PYTHONPATH": str(script.parents[1])},
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.split()[0] in ("16", "128", "512", "mixed")}
    assert len(rows) == 4
    assert all(float(row[-1]) > 0.9995 and float(row[1]) > 0 for row in rows.values())
    for figure in ("31,807 documents", "16 tokens, idle: p50", "under bulk load: p50", "memory of the worker: 0."):
        assert figure in run.stdout
