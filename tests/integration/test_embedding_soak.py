"""What the embedding service holds: as much after many calls as after a few, and under five times what may wait as
under once. Counted, on the real service and its worker."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import psutil
import pytest

from servers.cradle.embedding.service import EmbeddingService
from shared.contracts.embedding import EmbeddingRequest
from shared.errors import DeadlineExceeded, InvalidInput, Overloaded

AT_ONCE, ROUNDS, ENDS = 40, 5, 5
TEXTS = ["Leitungsschutzschalter B16", "Größe 80 × 18 mm"]
LOAD = ["Klemme " * 50] * 32
LIMIT = 40_000
"""Tokens that may wait: about ten calls of `LOAD`."""


def held(service: EmbeddingService) -> dict[str, int]:
    """What must not grow with the number of calls, of this process and the worker's."""
    assert service._loaded is not None
    (worker,) = service._loaded.engine.workers.values()
    both = [psutil.Process(), psutil.Process(worker.pid)]
    gc.collect()
    return {
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "own threads": threading.active_count(),
        "threads": sum(each.num_threads() for each in both),
        "descriptors": sum(each.num_fds() for each in both),
    }


async def ended(error: type[Exception] | tuple[type[Exception], ...], call: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(error):
        await call


async def every_end(service: EmbeddingService, tenant: str) -> None:
    """Two calls that are served, and one each that is refused for its text, comes too late, and is given up."""
    asked = EmbeddingRequest(texts=TEXTS)
    await service.embed(asked, tenant)
    await service.embed_vectors(TEXTS, "query", tenant)
    await ended(InvalidInput, service.embed(EmbeddingRequest(texts=["Klemme " * 400]), tenant))
    await ended((DeadlineExceeded, Overloaded), service.embed(asked, tenant, 1e-9))
    given_up = asyncio.create_task(service.embed(asked, tenant))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])


@pytest.mark.requirement("L-04")
async def test_nothing_grows_with_the_number_of_calls_however_they_end(service: EmbeddingService) -> None:
    numbers = itertools.count()

    async def one_round() -> None:
        await asyncio.gather(*(every_end(service, f"t{next(numbers)}") for _ in range(AT_ONCE)))

    async def grown() -> int:
        """Objects that many calls leave; everything else is as before."""
        before = held(service)
        for _ in range(ROUNDS):
            await one_round()
        after = held(service)
        more = after.pop("objects") - before.pop("objects")
        assert after == before
        return more

    await service.identity()
    for _ in range(2):
        await one_round()
    # Where each call, or each end of one kind, leaves one, there are more each time; what else this process does only
    # adds to it.
    assert min([await grown() for _ in range(3)]) < AT_ONCE * ROUNDS * ENDS / 10


async def memory_after(service: EmbeddingService, calls: int) -> tuple[int, int]:
    """Bytes that Python holds once so many calls have come, one after the other, and how many of them were refused."""
    assert service._loaded is not None
    waiting, refused, tasks = service._loaded.engine._calls, 0, list[asyncio.Task[object]]()
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        for number in range(calls):
            texts = [f"{number} {text}" for text in LOAD]
            call = asyncio.create_task(service.embed(EmbeddingRequest(texts=texts), f"t{number}", 86_400))
            there = len(waiting)
            while not call.done() and len(waiting) == there:  # noqa: ASYNC110  it is queued, or it is refused
                await asyncio.sleep(0.001)
            if call.done():
                refused += isinstance(call.exception(), Overloaded)
                gc.collect()  # an error and its traceback name each other
            else:
                tasks.append(call)
        return tracemalloc.get_traced_memory()[0], refused
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.requirement("L-01")
async def test_five_times_what_may_wait_takes_as_much_memory_as_what_may_wait(
    service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over the limit leaves nothing: neither texts nor ids wait anywhere."""
    await service.identity()
    monkeypatch.setattr(service._admission, "limit", LIMIT)
    await memory_after(service, 2)
    once, few = await memory_after(service, 15)
    five_times, many = await memory_after(service, 75)
    assert few < 10
    assert many > 55
    assert five_times <= 1.1 * once
