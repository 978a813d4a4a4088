"""What the benchmarks of processing share: one run of the real pipeline in a home of its own, and its memory."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.processing import pipeline
from servers.cradle.processing.parameters import current_parameters
from servers.cradle.processing.sources import SourceFile, SourceList, find_files
from servers.cradle.vision.service import VisionService
from shared.contracts.installation import InstallationVersion, ParameterChoice
from shared.contracts.processing import ProcessingReport
from shared.objects import CustomerStore
from shared.settings import Settings


class NoEmbedding:
    """The model's tokenizer, and a vector that costs nothing: embedding would hide everything else."""

    def __init__(self, service: EmbeddingService, dimension: int) -> None:
        self.tokenizer: Any = service.tokenizer
        self._one = np.full(dimension, dimension**-0.5, np.float32)

    async def embed_vectors(self, texts: list[str], *_: object, **__: object) -> np.ndarray:
        return np.tile(self._one, (len(texts), 1))


class Memory:
    """Resident MiB while the block runs: the largest of this process and of any child, and this one's over time."""

    def __enter__(self) -> Memory:
        self.own = self.children = 0.0
        self._seen: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def over_time(self, moments: int = 10) -> list[float]:
        """What this process held at so many evenly spaced moments, the last at the end."""
        return [self._seen[max(len(self._seen) * at // moments - 1, 0)] for at in range(1, moments + 1)]

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._seen.append(_resident(os.getpid()))
            self.own = max(self.own, self._seen[-1])
            listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            self.children = max([self.children, *(_resident(int(each)) for each in listed)])


def _resident(pid: int) -> float:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGESIZE") / 2**20


def children_s() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Run:
    """A run and what it took: `seconds` passed, processor time of this process and of the readers."""

    report: ProcessingReport
    seconds: float
    cpu_s: float
    readers_s: float
    memory: Memory


def late(file: SourceFile, seconds: float) -> SourceFile:
    """The file, whose bytes come so much later: as from a bucket."""

    async def read() -> bytes:
        await asyncio.sleep(seconds)
        return await file.read()

    return replace(file, read=read)


async def processed(
    home: Path,
    write: Callable[[Path], None],
    *,
    embedding: bool = False,
    workers: int | None = None,
    latency_s: float = 0.0,
) -> Run:
    """What `write` puts into a folder, through the pipeline.

    Args:
        embedding: whether the model embeds; else a no-op stands for it.
        latency_s: how long each file takes to come.
    """
    folder = home / "files"
    folder.mkdir(parents=True)
    write(folder)
    settings = Settings(home=home / "home", model_cache=home.parent / "models", source_roots=[home])
    service, vision = EmbeddingService(settings), VisionService(settings)
    await service.start()
    identity = await service.identity(600)  # a busy machine takes its time to load the model
    parameters: Any = current_parameters(ParameterChoice(), identity, vision.parameters(None))  # pyright: ignore[reportCallIssue]
    version = InstallationVersion.model_validate(
        {
            "customer_id": "bench", "version": 1, "fingerprint": "sha256:" + "0" * 64, "parameters": parameters,
            "probes_digest": "sha256:" + "0" * 64, "created_at": "2026-01-01T00:00:00Z",
        }
    )  # fmt: skip
    store = await CustomerStore.open(settings, "bench", create=True)
    files = await find_files(SourceList.parse([str(folder)], settings), settings, store)
    files = [late(file, latency_s) for file in files] if latency_s else files
    embedder: Any = service if embedding else NoEmbedding(service, parameters.embedding.dimension)

    async def no_ocr(png: bytes) -> str:
        raise AssertionError("no page of this corpus is a scan")

    async def quiet(done: float, total: float | None = None, note: str = "") -> None:
        """Nobody watches."""

    started, cpu, readers = time.perf_counter(), time.process_time(), children_s()
    with Memory() as memory:
        report = await pipeline.process(store, files, version, embedder, no_ocr, quiet, workers=workers)
    seconds = time.perf_counter() - started
    run = Run(report, seconds, time.process_time() - cpu, children_s() - readers, memory)
    await service.close()
    return run
