"""The embedding service under load, in one process: fairness (L-02), overload (L-01), batch fill (L-03).

Capacity is measured first; what follows is told in relation to it. Clients and server share the processors.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from prometheus_client import REGISTRY

from servers.cradle.embedding.service import EmbeddingService
from shared.errors import DeadlineExceeded, Overloaded
from shared.settings import load

SECONDS, OVERLOAD_SECONDS, DEADLINE_S = 8.0, 30.0, 4.0
WORDS = ("Klemme", "Leuchte", "Netzteil", "Schutzart", "Montage", "rail", "power", "supply", "lamp", "torque")
DICE = random.Random(711)


def text() -> str:
    """A text of 8 to about 60 tokens."""
    return " ".join(DICE.choices(WORDS, k=DICE.randint(4, 28)))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


async def caller(service: EmbeddingService, tenant: str, texts: int, until: float, served: Counter[str]) -> list[float]:
    """One caller after the other's answer, until the time is over; the seconds of each call."""
    seconds = []
    while time.monotonic() < until:
        started = time.monotonic()
        try:
            result = await service.vectors([text() for _ in range(texts)], "passage", tenant)
        except Overloaded as full:
            await asyncio.sleep(full.retry_after or 0.1)
            continue
        seconds.append(time.monotonic() - started)
        served[tenant] += result.tokens
    return seconds


async def fairness(service: EmbeddingService) -> float:
    """Prints L-02; returns the capacity in tokens a second."""
    served: Counter[str] = Counter()
    alone = await caller(service, "b", 1, time.monotonic() + SECONDS, served)
    until = time.monotonic() + SECONDS
    flood = [asyncio.create_task(caller(service, "a", 4, until, served)) for _ in range(100)]
    await asyncio.sleep(0.5)
    crowded = await caller(service, "b", 1, until, served)
    await asyncio.gather(*flood)
    p99 = [percentile(each, 0.99) * 1000 for each in (alone, crowded)]
    p50 = [percentile(each, 0.5) * 1000 for each in (alone, crowded)]
    print(
        f"L-02  b alone p50 {p50[0]:.0f} ms p99 {p99[0]:.0f} ms ({len(alone)} calls); while a floods with 100 callers"
    )
    print(f"      p50 {p50[1]:.0f} ms p99 {p99[1]:.0f} ms ({len(crowded)} calls): p99 × {p99[1] / p99[0]:.1f} (goal 2)")
    served.clear()
    started = time.monotonic()
    jobs = [caller(service, f"t{at}", 4, started + SECONDS, served) for at in range(8) for _ in range(6 + 4 * (at % 4))]
    await asyncio.gather(*jobs)
    capacity = served.total() / (time.monotonic() - started)
    shares = list(served.values())
    jain = sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))
    print(f"L-02  8 tenants with 6 to 18 callers each: Jain index of tokens {jain:.3f} (goal 0.9)")
    return capacity


async def overload(service: EmbeddingService, capacity: float) -> None:
    """Prints L-01: five times the capacity arrives, whatever becomes of it."""
    process, tokens_a_call = psutil.Process(), 20.0
    accepted: list[float] = []
    refused: list[float] = []
    late, tokens = 0, 0

    async def one() -> None:
        nonlocal late, tokens
        started = time.monotonic()
        try:
            result = await service.vectors([text()], "passage", f"t{DICE.randint(0, 7)}", deadline_s=DEADLINE_S)
        except Overloaded:
            refused.append(time.monotonic() - started)
        except DeadlineExceeded:
            late += 1
        else:
            accepted.append(time.monotonic() - started)
            tokens += result.tokens

    before = process.memory_info().rss
    started = time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    sent = 0
    while (elapsed := time.monotonic() - started) < OVERLOAD_SECONDS:
        while sent * tokens_a_call < 5 * capacity * elapsed:
            calls.add(task := asyncio.create_task(one()))
            task.add_done_callback(calls.discard)
            sent += 1
        await asyncio.sleep(0.005)
    after = process.memory_info().rss
    await asyncio.gather(*calls)
    took = time.monotonic() - started
    print(f"L-01  {sent} calls in {OVERLOAD_SECONDS:.0f} s, about 5 × capacity, deadline {DEADLINE_S:.0f} s")
    print(f"      accepted {len(accepted)}: p99 {percentile(accepted, 0.99):.2f} s; past the deadline {late}")
    print(f"      refused {len(refused)}: p99 {percentile(refused, 0.99) * 1000:.0f} ms (goal 50)")
    print(f"      goodput {tokens / took / capacity:.0%} of capacity (goal 90 %); memory + {after / before - 1:.1%}")


async def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        service = EmbeddingService(load(home=Path(folder), embedding_device="cpu"))
        await service.start()
        await service.identity(deadline_s=300)
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        await caller(service, "warm", 4, time.monotonic() + 2, Counter())
        capacity = await fairness(service)
        print(f"      capacity {capacity:.0f} tokens/s with all of them")
        await overload(service, capacity)
        fill = (REGISTRY.get_sample_value(f"embedding_batch_fill_{each}") or 0.0 for each in ("sum", "count"))
        total, count = fill
        print(f"L-03  mean fill of {count:.0f} batches {total / count:.0%} (goal 70 % when saturated)")
        await service.close()


if __name__ == "__main__":
    asyncio.run(main())
