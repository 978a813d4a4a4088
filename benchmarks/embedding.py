"""Embedding on the CPU: this platform's service against sentence-transformers fp32, same texts, one run.

Prints medians of the seconds for the whole corpus, and their ratio. Mixed lengths up to the model's 256 tokens, seeded.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.settings import load

TEXTS, ROUNDS = 256, 5
WORDS = (
    "Klemme",
    "Leuchte",
    "Netzteil",
    "Schutzart",
    "Montage",
    "rail",
    "power",
    "supply",
    "lamp",
    "torque",
    "ambient",
)


def corpus() -> list[str]:
    """Texts of mixed lengths."""
    dice = random.Random(711)
    return [" ".join(dice.choices(WORDS, k=dice.randint(4, 80))) for _ in range(TEXTS)]


async def ours(texts: list[str], home: Path) -> tuple[list[float], np.ndarray]:
    """Seconds of each round, and the vectors."""
    service = EmbeddingService(load(home=home))
    await service.start()
    await service.identity(deadline_s=300)
    seconds, vectors = [], np.empty(0)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        vectors = await service.embed_vectors(texts, "passage", "bench", "bulk")
        seconds.append(time.perf_counter() - started)
    await service.close()
    return seconds, vectors


def peer(texts: list[str], folder: str) -> tuple[list[float], np.ndarray]:
    """The same by sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    seconds, vectors = [], np.empty(0)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        seconds.append(time.perf_counter() - started)
    return seconds, vectors


def main() -> None:
    """Prints the table."""
    texts = corpus()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        own, vectors = asyncio.run(ours(texts, home))
        theirs, reference = peer(texts, str(resolve(load(home=home)).folder))
    worst = float((vectors * reference).sum(axis=1).min())
    a, b = statistics.median(own), statistics.median(theirs)
    print(f"machine: {platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print(f"{TEXTS} texts, {ROUNDS} rounds   platform {a:.2f} s   sentence-transformers {b:.2f} s   ratio {b / a:.2f}")
    print(f"smallest cosine between both: {worst:.6f}")


if __name__ == "__main__":
    main()
