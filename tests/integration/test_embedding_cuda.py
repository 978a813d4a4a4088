"""What a GPU computes against the CPU, and what becomes of a call when the device fails. `CONTRIBUTING.md` says how to
run it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.base import CUDA_SIZES
from servers.cradle.embedding.backends.sentence_transformers import SentenceTransformersBackend
from servers.cradle.embedding.device import Spec, open_backend
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.models import cached_at, resolve
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.embedding.worker import Worker
from shared.errors import Unavailable
from shared.settings import Settings
from tests.integration.test_embedding_packed import packed, settings_of
from tests.random_model import write_model

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Backend

pytestmark = pytest.mark.gpu
MODEL, REVISION, VOCABULARY = "intfloat/multilingual-e5-tiny", "7" * 40, 1000
ALIKE = 0.9995
DRAW = np.random.default_rng(711)
Texts = list[np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def device() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose model cache holds a random XLM-RoBERTa, its heads as wide as the large one's."""
    home = tmp_path_factory.mktemp("cuda-home")
    write_model(home / "models" / cached_at(MODEL, REVISION), hidden=256, positions=514, spread=0.1)
    return home


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def folder(request: pytest.FixtureRequest, home: Path) -> Path:
    """The bundled model, whose weights are real, and the random one."""
    return resolve(Settings(home=home) if request.param == "bert" else settings_of(home)).folder


@pytest.fixture(scope="module", params=["own kernels", "torch's"])
def cuda(request: pytest.FixtureRequest, folder: Path) -> Backend:
    """On the GPU, also where Triton cannot be used."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "own kernels":
            kernels = "servers.cradle.embedding.backends.packed_cuda.own_kernels"  # its module loads torch
            patch.setattr(kernels, lambda weights: (None, "triton: as a test says"))
        backend = open_backend(Spec("packed", str(folder), "cuda:0"))
    assert bool(backend.lacks) == (request.param != "own kernels")
    return backend


@pytest.fixture(scope="module")
def cpu(folder: Path) -> Backend:
    return packed(folder)


def texts_of(*lengths: int) -> Texts:
    return [DRAW.integers(4, VOCABULARY, length) for length in lengths]


def unit(backend: Backend, texts: Texts) -> np.ndarray:
    return backend.start(np.concatenate(texts), np.array([len(text) for text in texts]))()[1]


def edges() -> Iterator[list[int]]:
    """Lengths of texts that fill a graph to the last token, miss it by one, or go beyond the largest."""
    yield [1]
    yield [1] * 65
    for size in CUDA_SIZES:
        yield [64] * (size // 64)
        yield [63, *[64] * (size // 64 - 1)]
        yield [*[64] * (size // 64), 1]
    yield [500] * 9
    yield [16] * (CUDA_SIZES[-1] // 16)
    yield [*DRAW.integers(1, 256, CUDA_SIZES[-1] // 130).tolist(), 500]


def test_batches_of_every_size_give_the_vectors_of_the_cpu(cpu: Backend, cuda: Backend) -> None:
    for lengths in edges():
        texts = texts_of(*lengths)
        assert (unit(cuda, texts) * unit(cpu, texts)).sum(1).min() >= ALIKE, lengths


@pytest.mark.parametrize(("heads", "width"), [(16, 64), (12, 32), (3, 24), (2, 128)])
def test_the_own_kernels_compute_what_torch_computes(heads: int, width: int) -> None:
    import torch
    from torch.nn import functional

    from servers.cradle.embedding.backends import kernels

    lengths = torch.tensor([1, 64, 63, 300, 2, 5, 5, 5, 128, 1, 17])
    ends = lengths.cumsum(0)
    qkv = torch.randn(int(ends[-1]), 3, heads, width, device="cuda", dtype=torch.bfloat16)
    own = [each.repeat_interleave(lengths).cuda() for each in (ends - lengths, ends)]
    found = kernels.attention(qkv, *own).float().split(lengths.tolist())
    for rows, text in zip(found, qkv.float().split(lengths.tolist()), strict=True):
        query, key, value = text.permute(1, 2, 0, 3)
        expected = functional.scaled_dot_product_attention(query[None], key[None], value[None])[0]
        assert (rows - expected.transpose(0, 1).flatten(1)).norm() <= 0.01 * expected.norm()
    hidden, weight, bias = torch.randn(len(qkv) + 2, heads * width, device="cuda").bfloat16().split([len(qkv), 1, 1])
    for mine, theirs in (
        (
            kernels.layer_norm(hidden, weight[0], bias[0], 1e-5),
            functional.layer_norm(hidden.float(), hidden.shape[1:], weight[0].float(), bias[0].float(), 1e-5),
        ),
        (kernels.gelu_(hidden.clone()), functional.gelu(hidden.float())),
    ):
        assert (mine.float() - theirs).norm() <= 0.005 * theirs.norm()


def test_two_batches_in_flight_do_not_mix(cpu: Backend, cuda: Backend) -> None:
    for lengths in ((3, 40, 9), (200, 300, 17), (500, 400, 300, 500, 500, 500)):
        batches = [texts_of(*lengths) for _ in range(4)]
        flat = [(np.concatenate(batch), np.array([len(text) for text in batch])) for batch in batches]
        waiting = [cuda.start(*each) for each in flat]
        for batch, each in zip(batches, waiting, strict=True):
            assert (each()[1] * unit(cpu, batch)).sum(1).min() >= ALIKE


def test_a_text_among_others_gives_what_it_gives_alone(cuda: Backend) -> None:
    texts = texts_of(5, 260, 31, 128, *DRAW.integers(1, 200, 30).tolist())
    together = unit(cuda, texts)
    for row, text in zip(together, texts, strict=True):
        assert row @ unit(cuda, [text])[0] >= ALIKE
    others = [texts[0], *texts_of(*[len(text) for text in texts[1:]])]
    assert unit(cuda, others)[0] @ together[0] >= 0.99999  # same sizes, so only a neighbour's tokens could show


def test_the_first_token_is_pooled_as_on_the_cpu(folder: Path) -> None:
    cpu, cuda = packed(folder, "cls"), open_backend(Spec("packed", str(folder), "cuda:0", pooling="cls"))
    texts = texts_of(5, 200, 31)
    assert (unit(cuda, texts) * unit(cpu, texts)).sum(1).min() >= ALIKE


def test_the_general_path_gives_the_vectors_of_the_packed_encoder(folder: Path, cpu: Backend) -> None:
    general, texts = SentenceTransformersBackend(folder, "cuda:0"), texts_of(90, 90, 90)
    assert (unit(general, texts) * unit(cpu, texts)).sum(1).min() >= ALIKE


def test_a_batch_without_room_fails_and_the_next_is_computed(cuda: Backend) -> None:
    import torch

    small = texts_of(20, 30)
    before = unit(cuda, small)
    held = torch.cuda.memory_reserved() + 64 * 2**20
    torch.cuda.set_per_process_memory_fraction(held / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            unit(cuda, texts_of(*[500] * 1000))
        assert (unit(cuda, small) * before).sum(1).min() >= 0.99999
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_model_takes_no_more_of_the_device_than_its_weights_while_it_is_read(tmp_path: Path) -> None:
    import torch

    from servers.cradle.embedding.backends.weights import read_weights

    write_model(tmp_path, hidden=1024, layers=6)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    weights = read_weights(tmp_path, torch.device("cuda:0"), torch.bfloat16)
    kept, peak = torch.cuda.memory_allocated() - before, torch.cuda.max_memory_allocated() - before
    largest = weights.layers[0].qkv[0]
    assert peak <= kept + 2 * largest.numel() * 4


async def test_a_device_that_breaks_is_replaced_and_serves_again(home: Path) -> None:
    """An id beyond the vocabulary: CUDA's own assertion, after which nothing works in that process any more."""
    spec = Spec("packed", str(resolve(settings_of(home)).folder), "cuda:0")
    engine = Engine(lambda place: Worker(spec), 256, [0, 2], Admission(), sizes=CUDA_SIZES)
    await engine.start()
    try:
        text = texts_of(40)[0].tolist()

        async def compute(ids: list[int]) -> np.ndarray:
            return await engine.compute([ids], "a", "interactive", time.monotonic() + 120, True)

        before = await compute(text)
        (worker,) = engine.workers.values()
        with pytest.raises(Unavailable, match="loaded again"):
            await compute([0, 1_000_000, 2])
        assert (await compute(text) * before).sum() >= 0.99999
        (replaced,) = engine.workers.values()
        assert replaced.pid != worker.pid
        assert replaced.memory > 0
    finally:
        await engine.close()


async def test_a_batch_beyond_the_memory_is_halved_until_it_fits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    share = 512 * 2**20 / torch.cuda.get_device_properties(0).total_memory
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", f"per_process_memory_fraction:{share:.6f}")
    spec = Spec("packed", str(resolve(settings_of(home)).folder), "cuda:0")
    worker = Worker(spec)
    engine = Engine(lambda place: worker, 256, [0, 2], Admission(), sizes=[400_000])
    await engine.start()
    try:
        texts = [text.tolist() for text in texts_of(*[400] * 1000)]
        vectors = await engine.compute(texts, "a", "bulk", time.monotonic() + 120, True)
        (alone,) = await engine.compute(texts[-1:], "a", "bulk", time.monotonic() + 120, True)
        assert vectors[-1] @ alone >= ALIKE
        assert np.allclose((vectors**2).sum(1), 1, atol=1e-3)
        assert engine._scheduler.limit < 400_000
        assert list(engine.workers.values()) == [worker]
        assert not worker.lost.is_set()
    finally:
        await engine.close()


def test_another_gpu_than_the_first_gives_the_same(folder: Path, cpu: Backend) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    try:
        second, texts = open_backend(Spec("packed", str(folder), "cuda:1")), texts_of(5, 200, 31)
        assert not second.lacks
        assert (unit(second, texts) * unit(cpu, texts)).sum(1).min() >= ALIKE
    finally:
        torch.cuda.set_device(0)


async def test_where_there_is_a_gpu_it_serves_without_being_named(home: Path) -> None:
    texts = ["Klemme", "Leuchte, Größe 80 × 18 × 75 mm – 0,12 kg für 49,90 €", "Schutzschalter und Leuchte " * 6]
    vectors = []
    for more in ({"embedding_workers": 2}, {"embedding_device": "cpu", "embedding_backend": "packed"}):
        serving = EmbeddingService(settings_of(home, **more))
        await serving.start()
        try:
            many = [serving.embed_vectors(texts, "query", tenant) for tenant in "abcdefgh"]
            vectors.append(await asyncio.gather(*many))
            identity = await serving.identity()
            assert (identity.backend, identity.dtype) == (
                "packed",
                "float32" if "embedding_device" in more else "bfloat16",
            )
        finally:
            await serving.close()
    for mine, other in zip(*vectors, strict=True):
        assert (mine * other).sum(1).min() >= ALIKE
