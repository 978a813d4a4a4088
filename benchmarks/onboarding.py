"""A generated corpus of mixed documents through the pipeline: `make bench-onboarding`, the whole of it with
`ONBOARDING="--documents 31807"`.

Prints documents a second with embedding as a no-op, each stage's share, memory over time, at a quarter and at full
size, the machine's load, and what part of the embedding engine's own rate the pipeline reaches.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from corpus import write
from processing import Run, processed

from servers.cradle.embedding.service import EmbeddingService
from shared.dataset.reader import DatasetReader
from shared.objects import CustomerStore
from shared.settings import Settings


def told(name: str, documents: int, run: Run) -> str:
    counts, spent = run.report.counts, run.report.seconds_by_stage
    shares = " ".join(f"{stage} {seconds / sum(spent.values()):.0%}" for stage, seconds in spent.items())
    return (
        f"{name}: {documents} documents ({counts.failed} not read), {counts.pages} pages, {counts.chunks} passages, "
        f"{counts.tokens} tokens in {run.seconds:.1f} s ({run.cpu_s:.1f} s of the platform's and "
        f"{run.readers_s:.1f} s of the readers' processor time): {documents / run.seconds:.0f} documents/s, "
        f"{2 * documents / (run.cpu_s + run.readers_s):.0f} for each second of two processors; "
        f"platform {run.memory.own:.0f} MiB, largest reader {run.memory.children:.0f} MiB; {shares}; "
        f"platform at each tenth of the time {' '.join(f'{each:.0f}' for each in run.memory.over_time())} MiB; "
        f"load {os.getloadavg()[1]:.1f}"
    )


async def engine_rate(home: Path) -> float:
    """Tokens a second of the engine alone on the passages that a run wrote."""
    settings = Settings(home=home / "home", model_cache=home.parent / "models", source_roots=[home])
    service = EmbeddingService(settings)
    await service.start()
    await service.identity(600)
    store = await CustomerStore.open(settings, "bench")
    async with DatasetReader(store.path("dataset")) as reader:
        rows: Any = (await reader.sql("SELECT text, tokens FROM chunks", limit=1000)).rows
    started = time.perf_counter()
    await service.embed_vectors([text for text, _ in rows], "passage", "bench", "bulk")
    seconds = time.perf_counter() - started
    await service.close()
    return sum(tokens for _, tokens in rows) / seconds


def main() -> None:
    """Prints the table's lines."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=2000)
    options.add_argument("--embedded", type=int, default=300, help="documents of the run with the real model; 0: none")
    options.add_argument("--seed", type=int, default=711)
    options.add_argument("--latency-ms", type=float, default=0, help="how late each file comes, as from a bucket")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as base:
        home, peaks = Path(base), []
        for size in (asked.documents // 4, asked.documents):
            write_all, late_s = partial(write, documents=size, seed=asked.seed), asked.latency_ms / 1000
            run = asyncio.run(processed(home / str(size), write_all, latency_s=late_s))
            assert run.report.counts.documents == size, "a document is missing"
            assert run.report.counts.failed == size // 200, "other documents than the damaged ones were not read"
            print(told("no-op embedding", size, run), flush=True)
            peaks.append(run.memory.own)
        print(f"memory at full size against a quarter: {peaks[1] / peaks[0]:.2f}")
        if asked.embedded:
            write_some = partial(write, documents=asked.embedded, seed=asked.seed)
            run = asyncio.run(processed(home / "embedded", write_some, embedding=True))
            print(told("real embedding", asked.embedded, run), flush=True)
            alone, together = asyncio.run(engine_rate(home / "embedded")), run.report.counts.tokens / run.seconds
            print(
                f"engine alone {alone:.0f} tokens/s, pipeline {together:.0f} tokens/s: {together / alone:.2f} of it"
                " (goal 0.9 where embedding is the bottleneck)"
            )


if __name__ == "__main__":
    main()
