"""The own packed encoder in the shape of XLM-RoBERTa-large with random weights: on a GPU if there is one, else on one
thread of a CPU with fewer layers. `embedding_encoder.py tiny` runs all of it on a small shape, to see that it runs.

Prints, for lengths 16, 128, 512 and a mixed corpus: tokens a second, the share of the matrix products' peak as measured
here on the model's own shapes, and the ratio to the same weights in transformers (padded, sorted by length) and, on a
GPU, in sentence-transformers with FlashAttention 2 and without padding, where that is installed. Then through the queue
and a worker process: single queries, idle and under bulk load; the worker's memory; and the seconds that 31,807
documents of 220 tokens would take. On a CPU time is processor time, but for the queries: the machine may have other
users.
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

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.packed import PackedBackend
from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.loader import CUDA_BATCH_TOKENS
from servers.cradle.embedding.worker import Worker

CUDA = torch.cuda.is_available()
DEVICE = "cuda:0" if CUDA else "cpu"
TINY = sys.argv[1:] == ["tiny"]
HIDDEN, INNER, HEADS = (64, 256, 4) if TINY else (1024, 4096, 16)
LAYERS, VOCABULARY = (2, 1000) if TINY else (24, 250_002) if CUDA else (4, 5000)
BUDGET, BATCHES, ROUNDS = (512, 1, 1) if TINY else (CUDA_BATCH_TOKENS, 40, 5) if CUDA else (512, 2, 3)
QUERIES = 20 if TINY else 1000 if CUDA else 100
DOCUMENTS, DOCUMENT_TOKENS = 31_807, 220
Texts = list[np.ndarray]


def write_model(folder: Path) -> None:
    """Random weights, as safetensors."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

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


def peak() -> float:
    """Flop a second of the model's four kinds of product, in their proportion."""
    dtype = torch.bfloat16 if CUDA else torch.float32
    shapes = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN)]
    pairs = [
        (torch.randn(BUDGET, a, device=DEVICE, dtype=dtype), torch.randn(b, a, device=DEVICE, dtype=dtype))
        for a, b in shapes
    ]
    repeats = 50 if CUDA else 4
    seconds = median_of(lambda: [torch.nn.functional.linear(x, w) for _ in range(repeats) for x, w in pairs])
    return repeats * sum(2 * BUDGET * a * b for a, b in shapes) / seconds


def ours(backend: PackedBackend, work: list[Texts]) -> np.ndarray:
    """The vectors, two batches in flight where the backend likes that."""
    waiting, found = [], []
    for batch in work:
        waiting.append(backend.start(np.concatenate(batch), np.array([len(text) for text in batch])))
        if len(waiting) >= backend.in_flight:
            found.append(waiting.pop(0)()[1])
    return np.concatenate(found + [each()[1] for each in waiting])


@torch.inference_mode()
def padded(model: Any, work: list[Texts]) -> np.ndarray:
    """The same by transformers: sorted by length, padded within a batch of the same number of texts."""
    texts = [text for batch in work for text in batch]
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    size = max(1, len(texts) // len(work))
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
    """The same weights in sentence-transformers, bfloat16, FlashAttention 2, no padding.

    Raises:
        Exception: whatever it raises where that is not installed.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    options = {"attn_implementation": "flash_attention_2", "dtype": torch.bfloat16}
    body = Transformer(str(folder), model_args=options)
    return SentenceTransformer(modules=[body, Pooling(HIDDEN, "mean")], device=DEVICE)


@torch.inference_mode()
def by_sentence_transformers(model: Any, work: list[Texts]) -> None:
    """Each batch as the model takes it: padded ids and mask, from which it takes the padding away again."""
    for batch in work:
        longest = max(map(len, batch))
        ids, mask = torch.ones(2, len(batch), longest, dtype=torch.int64)
        for row, text in enumerate(batch):
            ids[row, : len(text)] = torch.from_numpy(text)
            mask[row, len(text) :] = 0
        model({"input_ids": ids.to(DEVICE), "attention_mask": mask.to(DEVICE)})["sentence_embedding"].cpu()


async def one_after_the_other(engine: Engine, ids: list[int], count: int) -> list[float]:
    """Seconds of each of so many queries."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        await engine.compute([ids], "asks", "interactive", time.monotonic() + 60, True)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


async def through_the_queue(folder: Path) -> None:
    """Prints the time of single queries in front of a worker process, idle and under bulk load, and its memory."""
    spec = Spec("packed", str(folder), DEVICE, threads=0 if CUDA else 1)
    engine = Engine(lambda place: Worker(spec), HIDDEN, [0, 2], Admission(), budget=BUDGET)
    await engine.start()
    draw = np.random.default_rng(7)
    ids = draw.integers(4, VOCABULARY, 16).tolist()
    documents = [draw.integers(4, VOCABULARY, DOCUMENT_TOKENS).tolist() for _ in range(64)]

    async def bulk() -> None:
        while True:
            await engine.compute(documents, "fills", "bulk", time.monotonic() + 600, True)

    await one_after_the_other(engine, ids, 10)
    idle = await one_after_the_other(engine, ids, QUERIES)
    filling = [asyncio.create_task(bulk()) for _ in range(2)]
    await one_after_the_other(engine, ids, 10)
    busy = await one_after_the_other(engine, ids, QUERIES)
    for name, seconds, goal in (("idle", idle, 5), ("under bulk load", busy, 25)):
        p50, p99 = (seconds[int(len(seconds) * share)] * 1000 for share in (0.5, 0.99))
        print(f"query of 16 tokens, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal on a GPU {goal})")
    (worker,) = engine.workers.values()
    print(f"memory of the worker: {worker.memory / 2**30:.2f} GiB (goal on a GPU 5)")
    for each in filling:
        each.cancel()
    await asyncio.gather(*filling, return_exceptions=True)
    await engine.close()


def table(folder: Path) -> None:
    """Prints what the encoder does by itself."""
    from transformers import AutoModel

    dice = random.Random(711)
    backend, theirs = PackedBackend(folder, DEVICE), None
    dtype = torch.float16 if CUDA else torch.float32
    model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(DEVICE).eval()
    try:
        theirs = unpadded(folder) if CUDA else None
    except Exception as error:  # noqa: BLE001  # told: the rest of the table is worth having
        print(f"sentence-transformers without padding is skipped: {type(error).__name__}")
    best = peak()
    print(f"peak of the model's products {best / 1e12:.3f} TFLOP/s")
    print("length  tokens/s  share of peak  against padded transformers  against unpadded FA2  min cosine")
    lengths: dict[str, Callable[[], int]] = {
        "16": lambda: 16,
        "128": lambda: 128,
        "512": lambda: 512,
        "mixed": lambda: dice.choice((12, 24, 48, 96, 180, 256)),
    }
    for label, length in lengths.items():
        work = batches(length)
        tokens = sum(len(text) for batch in work for text in batch)
        seconds = median_of(lambda: ours(backend, work))  # noqa: B023
        slow = median_of(lambda: padded(model, work))  # noqa: B023
        other = median_of(lambda: by_sentence_transformers(theirs, work)) if theirs else None  # noqa: B023
        cosine = float((ours(backend, work) * padded(model, work)).sum(1).min())
        line = f"{label:>6}{tokens / seconds:10.0f}{flops(work) / seconds / best:15.0%}{slow / seconds:29.2f}"
        print(line + (f"{other / seconds:23.2f}" if other else f"{'-':>23}") + f"{cosine:12.6f}")
    print(f"{DOCUMENTS:,} documents at the mixed rate: {DOCUMENTS * DOCUMENT_TOKENS / (tokens / seconds):.0f} s")


def main() -> None:
    """Prints everything."""
    torch.set_num_threads(torch.get_num_threads() if CUDA else 1)
    name = torch.cuda.get_device_name() if CUDA else f"CPU, 1 thread, load {os.getloadavg()[0]:.1f}"
    print(f"{name}; {LAYERS} layers, hidden {HIDDEN}")
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        table(Path(folder))
        if CUDA:
            torch.cuda.empty_cache()
        asyncio.run(through_the_queue(Path(folder)))


if __name__ == "__main__":
    main()
