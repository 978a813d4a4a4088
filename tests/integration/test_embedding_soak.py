"""What the embedding service holds: as much after many calls as after a few, and under five times what may wait as
under once. Counted, on the real service and its worker."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from servers.cradle.embedding.service import EmbeddingService
from shared.contracts.embedding import EmbeddingRequest
from shared.errors import Overloaded
from tests.conftest import ROOT
from tests.embedding_counted import AT_ONCE, ENDS, ROUNDS, SERVED

LOAD = ["Klemme " * 50] * 32
VECTOR_BYTES = 4 * 384
LIMIT = 40_000
"""Tokens that may wait: about ten calls of `LOAD`."""


@pytest.mark.requirement("L-04")
def test_nothing_grows_with_the_number_of_calls_however_they_end(model_home: Path) -> None:
    words = [sys.executable, "-m", "tests.embedding_counted", str(model_home)]
    kept = os.environ | {"MALLOC_TRIM_THRESHOLD_": str(10**12)}  # nothing goes back that would hide what stays
    counted = subprocess.run(words, stdout=subprocess.PIPE, cwd=ROOT, env=kept, check=True, timeout=600)
    before, after = json.loads(counted.stdout)
    grown = {name: after.pop(name) - before.pop(name) for name in ("objects", "resident", "worker's resident")}
    # where each call, or each end of one kind, leaves one, there are more
    assert grown["objects"] < AT_ONCE * ROUNDS * ENDS / 10
    # where the vectors of each call stay, or as much that Python does not count, it is twice as much
    assert max(grown["resident"], grown["worker's resident"]) < AT_ONCE * ROUNDS * SERVED * VECTOR_BYTES / 2
    assert after == before


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
            call = asyncio.create_task(service.embed(EmbeddingRequest(texts=texts), f"t{number}"))
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
    monkeypatch.setattr(service, "_settings", service._settings.model_copy(update={"call_deadline_s": 86_400}))
    await memory_after(service, 2)
    once, few = await memory_after(service, 15)
    five_times, many = await memory_after(service, 75)
    assert few < 10
    assert many > 55
    assert five_times <= 1.1 * once
