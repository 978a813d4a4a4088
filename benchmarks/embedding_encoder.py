"""The own packed encoder in the shape of XLM-RoBERTa-large with random weights: on a GPU if there is one, else on one
thread of a CPU with fewer layers.

Prints, for lengths 16, 128, 512 and a mixed corpus: tokens a second, the share of the matrix products' peak as measured
here on the model's own shapes, and the ratio to the same weights in transformers, padded, sorted by length. On a GPU
also the time of single queries, memory, and the seconds that 31,807 documents of 220 tokens would take. On a CPU time
is processor time: the machine may have other users.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from servers.cradle.embedding.backends.packed import PackedBackend

CUDA = torch.cuda.is_available()
DEVICE = "cuda:0" if CUDA else "cpu"
HIDDEN, INNER, HEADS = 1024, 4096, 16
LAYERS, VOCABULARY = (24, 250_002) if CUDA else (4, 5000)
BUDGET, BATCHES, ROUNDS = (4224, 40, 5) if CUDA else (512, 2, 3)
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


def single_queries(backend: PackedBackend) -> None:
    """Prints the time of one query after the other."""
    draw, seconds = np.random.default_rng(7), []
    for _ in range(300):
        ids = draw.integers(4, VOCABULARY, 16)
        started = clock()
        backend.start(ids, np.array([16]))()
        seconds.append(clock() - started)
    seconds = sorted(seconds[50:])
    print(f"one query of 16 tokens: p50 {seconds[125] * 1000:.2f} ms, p99 {seconds[247] * 1000:.2f} ms")


def main() -> None:
    """Prints the table."""
    from transformers import AutoModel

    torch.set_num_threads(torch.get_num_threads() if CUDA else 1)
    name = (
        torch.cuda.get_device_name() if CUDA else f"CPU, 1 thread, {LAYERS} of 24 layers, load {os.getloadavg()[0]:.1f}"
    )
    dice = random.Random(711)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        backend = PackedBackend(Path(folder), DEVICE)
        dtype = torch.float16 if CUDA else torch.float32
        model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(DEVICE).eval()
        best = peak()
        print(f"{name}; peak of the model's products {best / 1e12:.3f} TFLOP/s")
        print("length  tokens/s  share of peak  against padded transformers  min cosine")
        lengths: dict[str, Callable[[], int]] = {
            "16": lambda: 16,
            "128": lambda: 128,
            "512": lambda: 512,
            "mixed": lambda: dice.choice((12, 24, 48, 96, 180, 256)),
        }
        for label, length in lengths.items():
            work = batches(length)
            tokens = sum(len(text) for batch in work for text in batch)
            seconds, theirs = median_of(lambda: ours(backend, work)), median_of(lambda: padded(model, work))  # noqa: B023
            cosine = float((ours(backend, work) * padded(model, work)).sum(1).min())
            share = flops(work) / seconds / best
            print(f"{label:>6}{tokens / seconds:10.0f}{share:15.0%}{theirs / seconds:29.2f}{cosine:12.6f}")
        if CUDA:
            single_queries(backend)
            print(f"31,807 documents of 220 tokens at the mixed rate: {31_807 * 220 / (tokens / seconds):.0f} s")
            print(f"memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB, both models together")


if __name__ == "__main__":
    main()
