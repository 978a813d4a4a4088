"""The own packed encoder in the shape of XLM-RoBERTa-large with random weights: on a GPU if there is one, else on one
thread of a CPU with fewer layers. `embedding_encoder.py tiny` runs all of it on a small shape, to see that it runs.

Prints, for lengths 16, 128, 512 and a mixed corpus: tokens a second, the share of the matrix products' peak as measured
here on the model's own shapes, and how often faster that is than the same weights in transformers (padded, sorted by
length; in batches as large as ours and in sentence-transformers' default of 32 texts) and, on a GPU, than in
sentence-transformers in bfloat16 with FlashAttention 2 and without padding (in our batches and in four times larger
ones). Then through the queue and a worker process: bulk load, of documents and of short texts; single queries, idle and
under bulk load; the worker's memory, and what it grows by; and the seconds that 31,807 documents of 220 tokens would
take. On a CPU OpenVINO too, in float32 and, where the processor computes it, in bfloat16, each against the peak of its
dtype; and time is processor time, but for the queries: the machine may have other users.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flash_attn_peer import put

from servers.cradle.embedding import worker
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.base import CUDA_SIZES, Backend
from servers.cradle.embedding.backends.conversion import convert
from servers.cradle.embedding.device import Spec, open_backend
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.worker import Worker
from shared.encoder import Graph, ModelCard

CUDA = torch.cuda.is_available()
DEVICE = "cuda:0" if CUDA else "cpu"
TINY = sys.argv[1:] == ["tiny"]
HIDDEN, INNER, HEADS = (64, 256, 4) if TINY else (1024, 4096, 16)
LAYERS, VOCABULARY = (2, 1000) if TINY else (24, 250_002) if CUDA else (4, 5000)
BUDGET, BATCHES, ROUNDS = (512, 1, 1) if TINY else (CUDA_SIZES[-1], 20, 3) if CUDA else (512, 2, 3)
QUERIES = 20 if TINY else 1000 if CUDA else 100
DOCUMENTS, DOCUMENT_TOKENS = 31_807, 220
Texts = list[np.ndarray]
CARD = ModelCard(
    model="random",
    revision="0",
    dimension=HIDDEN,
    max_tokens=512,
    pooling="mean",
    normalize=True,
    weights_digest=(NONE := "sha256:" + "0" * 64),
    tokenizer_digest=NONE,
)


def write_model(folder: Path) -> None:
    """Random weights, as safetensors, and a tokenizer, without which sentence-transformers opens no model."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(711)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    special = {"pad_token": "<pad>", "unk_token": "<unk>"}
    words = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, special["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def batches(lengths: Callable[[], int]) -> list[Texts]:
    """Batches of at most `BUDGET` tokens."""
    draw, found = np.random.default_rng(711), []
    for _ in range(BATCHES):
        batch, left = [], BUDGET
        while (length := lengths()) <= left:
            batch.append(draw.integers(4, VOCABULARY, length))
            left -= length
        found.append(batch)
    return found


def clock() -> float:
    """Seconds: passed on a GPU, of the processor on a CPU."""
    if CUDA:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def median_of(run: Callable[[], Any]) -> float:
    """Seconds of a run."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        started = clock()
        run()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def flops(work: list[Texts]) -> float:
    """Multiplications and additions of the model's matrix products, attention's included."""
    lengths = [len(text) for batch in work for text in batch]
    per_token = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    return LAYERS * sum(length * per_token + 4 * length * length * HIDDEN for length in lengths)


def peak(dtype: torch.dtype) -> float:
    """Flop a second of the model's four kinds of product, in their proportion."""
    shapes = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN)]
    pairs = [
        (torch.randn(BUDGET, a, device=DEVICE, dtype=dtype), torch.randn(b, a, device=DEVICE, dtype=dtype))
        for a, b in shapes
    ]
    repeats = 50 if CUDA else 4
    seconds = median_of(lambda: [torch.nn.functional.linear(x, w) for _ in range(repeats) for x, w in pairs])
    return repeats * sum(2 * BUDGET * a * b for a, b in shapes) / seconds


def ours(backend: Backend, work: list[Texts]) -> np.ndarray:
    """The vectors, two batches in flight where the backend likes that."""
    waiting, found = [], []
    for batch in work:
        waiting.append(backend.start(np.concatenate(batch), np.array([len(text) for text in batch])))
        if len(waiting) >= backend.in_flight:
            found.append(waiting.pop(0)()[1])
    return np.concatenate(found + [each()[1] for each in waiting])


@torch.inference_mode()
def padded(model: Any, work: list[Texts], size: int) -> np.ndarray:
    """The same by transformers: sorted by length, padded within batches of so many texts."""
    texts = [text for batch in work for text in batch]
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    rows = np.empty((len(texts), HIDDEN), np.float32)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        longest = len(texts[part[0]])
        ids = torch.ones(len(part), longest, dtype=torch.int64)
        for row, at in enumerate(part):
            ids[row, : len(texts[at])] = torch.from_numpy(texts[at])
        mask = (torch.arange(longest)[None] < torch.tensor([len(texts[at]) for at in part])[:, None]).to(DEVICE)
        hidden = model(input_ids=ids.to(DEVICE), attention_mask=mask.long()).last_hidden_state.float()
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        rows[part] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
    return rows


def unpadded(folder: Path) -> Any:
    """The same weights in sentence-transformers, bfloat16, FlashAttention 2, no padding."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    options = {"attn_implementation": "flash_attention_2", "dtype": torch.bfloat16}
    body = Transformer(str(folder), model_kwargs=options)
    assert body.can_flatten_inputs
    return SentenceTransformer(modules=[body, Pooling(HIDDEN, "mean")], device=DEVICE)


def flattened(model: Any, work: list[Texts]) -> list[dict[str, Any]]:
    """Each batch as sentence-transformers itself hands it to a model that takes no padding; not timed."""
    body = model[0]
    found = []
    for batch in work:
        features = dict(body.data_collator([{"input_ids": text.tolist()} for text in batch]))
        features.pop("labels")
        features["position_ids"] = features["position_ids"] + body._flatten_position_offset
        found.append(features)
    return found


@torch.inference_mode()
def by_sentence_transformers(model: Any, work: list[dict[str, Any]]) -> np.ndarray:
    """The vectors of flattened batches; the copies to the host are all waited for at the end."""
    found = []
    for features in work:
        there = {
            name: each.to(DEVICE, non_blocking=True) if isinstance(each, torch.Tensor) else each
            for name, each in features.items()
        }
        found.append(torch.nn.functional.normalize(model(there)["sentence_embedding"].float(), dim=1))
    return torch.cat(found).cpu().numpy()


async def one_after_the_other(engine: Engine, ids: list[int], count: int) -> list[float]:
    """Seconds of each of so many queries."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        await engine.compute([ids], "asks", "interactive", time.monotonic() + 60, True)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


async def bulk_rate(engine: Engine, length: int, seconds: float) -> None:
    """Prints how much bulk load of two callers comes through the queue, and what the worker's memory does."""
    draw, (there,) = np.random.default_rng(7), engine.workers.values()
    documents = [draw.integers(4, VOCABULARY, length).tolist() for _ in range(max(64, 4 * BUDGET // length))]
    done, until, memory = 0, time.perf_counter() + seconds, there.memory
    started = time.perf_counter()

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await engine.compute(documents, "fills", "bulk", time.monotonic() + 600, True)
            done += len(documents) * length

    await asyncio.gather(one(), one())
    rate, grown = done / (time.perf_counter() - started), (there.memory - memory) / 2**20
    print(f"bulk load of {length} tokens a text through the queue: {rate:.0f} tokens/s; memory + {grown:.1f} MiB")


async def through_the_queue(folder: Path) -> None:
    """Prints what comes through the queue and a worker process, the time of single queries, and the worker's memory."""
    spec = Spec("packed", str(folder), DEVICE, threads=0 if CUDA else 1)
    engine = Engine(lambda place: Worker(spec), HIDDEN, [0, 2], Admission(), sizes=CUDA_SIZES if CUDA else ())
    await engine.start()
    ids = np.random.default_rng(7).integers(4, VOCABULARY, 16).tolist()
    await one_after_the_other(engine, ids, 10)
    idle = await one_after_the_other(engine, ids, QUERIES)
    for length, seconds in ((DOCUMENT_TOKENS, 2), (DOCUMENT_TOKENS, 10), (16, 4)):
        await bulk_rate(engine, length, seconds if CUDA else 0.2)
    filling = asyncio.create_task(bulk_rate(engine, DOCUMENT_TOKENS, 3600))
    await one_after_the_other(engine, ids, 10)
    busy = await one_after_the_other(engine, ids, QUERIES)
    filling.cancel()
    for name, seconds, goal in (("idle", idle, 5), ("under bulk load", busy, 25)):
        p50, p99 = (seconds[int(len(seconds) * share)] * 1000 for share in (0.5, 0.99))
        print(f"query of 16 tokens, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal on a GPU {goal})")
    (there,) = engine.workers.values()
    print(f"memory of the worker: {there.memory / 2**30:.2f} GiB (goal on a GPU 5)")
    await asyncio.gather(filling, return_exceptions=True)
    await engine.close()


def table(folder: Path) -> None:
    """Prints what the encoder does by itself."""
    from transformers import AutoModel

    dice = random.Random(711)
    backend = open_backend(Spec("packed", str(folder), DEVICE))
    dtype = torch.float16 if CUDA else torch.float32
    model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(DEVICE).eval()
    theirs = unpadded(folder) if CUDA else None
    best = peak(torch.bfloat16 if CUDA else torch.float32)
    print(f"peak of the model's products {best / 1e12:.3f} TFLOP/s")
    print("        tokens/s    peak  × padded  × padded, 32  × FA2  × FA2, large  min cosine")
    lengths: dict[str, Callable[[], int]] = {
        "16": lambda: 16,
        "128": lambda: 128,
        "512": lambda: 512,
        "mixed": lambda: dice.choice((12, 24, 48, 96, 180, 256)),
    }
    rate = 0.0
    for label, length in lengths.items():
        work = batches(length)
        rate = sum(len(text) for batch in work for text in batch) / row(label, work, backend, model, theirs, best)
    print(f"{DOCUMENTS:,} documents at the mixed rate: {DOCUMENTS * DOCUMENT_TOKENS / rate:.0f} s")


def on_openvino(folder: Path) -> None:
    """Prints what OpenVINO does with the same weights, in texts of one length."""
    able = not worker.BFLOAT16.isdisjoint(worker.CPUINFO.read_text().split())
    convert(folder, folder, CARD)
    draw = np.random.default_rng(711)
    for dtype, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16))[: 1 + able]:
        graph, best = Graph(folder, 1, dtype), peak(kind)
        for length in (16, 128, 512):
            ids = draw.integers(4, VOCABULARY, (max(1, BUDGET // length), length), dtype=np.int64)
            seconds = median_of(lambda: graph.run(ids))  # noqa: B023
            print(
                f"OpenVINO, {dtype}, {length} tokens a text: {ids.size / seconds:.0f} tokens/s, "
                f"{flops([list(ids)]) / seconds / best:.0%} of {best / 1e12:.3f} TFLOP/s"
            )


def row(label: str, work: list[Texts], backend: Backend, model: Any, theirs: Any, best: float) -> float:
    """Prints one corpus; the seconds of the own encoder."""
    texts, seconds = sum(map(len, work)), median_of(lambda: ours(backend, work))
    tokens = sum(len(text) for batch in work for text in batch)
    vectors, size = ours(backend, work), max(1, texts // len(work))
    others = [median_of(lambda: padded(model, work, each)) for each in (size, 32)]  # noqa: B023
    closest = [(vectors * padded(model, work, size)).sum(1).min()]
    if theirs:
        large = [[text for batch in work[at : at + 4] for text in batch] for at in range(0, len(work), 4)]
        for flat in (flattened(theirs, work), flattened(theirs, large)):
            others.append(median_of(lambda: by_sentence_transformers(theirs, flat)))  # noqa: B023
            closest.append((vectors * by_sentence_transformers(theirs, flat)).sum(1).min())
    cells = [f"{other / seconds:.2f}" for other in others] + ["-"] * (4 - len(others))
    print(
        f"{label:>5}{tokens / seconds:11.0f}{flops(work) / seconds / best:8.0%}{cells[0]:>10}{cells[1]:>14}"
        f"{cells[2]:>7}{cells[3]:>14}{min(closest):12.6f}",
        flush=True,
    )
    return seconds


def main() -> None:
    """Prints everything."""
    torch.set_num_threads(torch.get_num_threads() if CUDA else 1)
    name = torch.cuda.get_device_name() if CUDA else f"CPU, 1 thread, load {os.getloadavg()[0]:.1f}"
    print(f"{name}; torch {torch.__version__}; {LAYERS} layers, hidden {HIDDEN}")
    with tempfile.TemporaryDirectory() as folder:
        if CUDA and put(Path(folder) / "stand-in"):
            print("flash-attn is a stand-in over torch's own FlashAttention 2")
        write_model(Path(folder))
        table(Path(folder))
        if CUDA:
            torch.cuda.empty_cache()
        else:
            on_openvino(Path(folder))
        asyncio.run(through_the_queue(Path(folder)))


if __name__ == "__main__":
    main()
