"""What the embedding service holds before and after many calls, counted in a process in which nothing else runs:
`python -m tests.embedding_counted HOME` prints both as JSON."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import json
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.cradle.embedding.service import EmbeddingService
from shared.contracts.embedding import EmbeddingRequest
from shared.errors import DeadlineExceeded, InvalidInput, Overloaded
from shared.settings import Settings

AT_ONCE, ROUNDS, ENDS = 40, 5, 5
TEXTS = ["Leitungsschutzschalter B16", "Größe 80 × 18 mm"]
SERVED = 2 * len(TEXTS)
"""Vectors that `every_end` gets."""


def held(service: EmbeddingService) -> dict[str, int]:
    """What must not grow with the number of calls, of this process and the worker's."""
    assert service._loaded is not None
    (worker,) = service._loaded.engine.workers.values()
    both = [psutil.Process(), psutil.Process(worker.pid)]
    gc.collect()
    here, there = (each.memory_info().rss for each in both)
    return {
        "resident": here,
        "worker's resident": there,
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "own threads": threading.active_count(),
        "threads": sum(each.num_threads() for each in both),
        "descriptors": sum(each.num_fds() for each in both),
    }


async def ended(error: type[Exception] | tuple[type[Exception], ...], call: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(error):
        await call


def hurried(service: EmbeddingService) -> EmbeddingService:
    """The same service, whose calls are late as they come."""
    late = copy.copy(service)
    late._settings = service._settings.model_copy(update={"call_deadline_s": 1e-9})
    return late


async def every_end(service: EmbeddingService, tenant: str) -> None:
    """Two calls that are served, and one each that is refused for its text, comes too late, and is given up."""
    asked = EmbeddingRequest(texts=TEXTS)
    await service.embed(asked, tenant)
    await service.embed_vectors(TEXTS, "query", tenant)
    await ended(InvalidInput, service.embed(EmbeddingRequest(texts=["Klemme " * 400]), tenant))
    await ended((DeadlineExceeded, Overloaded), hurried(service).embed(asked, tenant))
    given_up = asyncio.create_task(service.embed(asked, tenant))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])


async def main(home: Path) -> None:
    """Some calls first, for what is made once, then many."""
    settings = Settings(home=home, call_deadline_s=600)  # a slow machine must not refuse what would be late
    service, numbers = EmbeddingService(settings), itertools.count()

    async def one_round() -> None:
        await asyncio.gather(*(every_end(service, f"t{next(numbers)}") for _ in range(AT_ONCE)))

    await service.start()
    await service.identity()
    for _ in range(4):
        await one_round()
    before = held(service)
    for _ in range(ROUNDS):
        await one_round()
    print(json.dumps([before, held(service)]))
    await service.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
