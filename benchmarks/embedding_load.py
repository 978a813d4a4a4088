"""The embedding service under load, in one process: fairness (L-02), overload (L-01), batching (L-03). About
two minutes.

What is compared is measured in turn, a few seconds at a time, so that neighbours on the machine disturb both alike.
Capacity is measured first; what follows is told in relation to it. Clients and server share the processors.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from embedding import processor_seconds
from prometheus_client import REGISTRY

from servers.cradle.embedding.service import EmbeddingService
from shared.errors import DeadlineExceeded, Overloaded
from shared.settings import load

ROUNDS, ROUND_S, SHARES_S, OVERLOAD_S, DEADLINE_S = 6, 4.0, 8.0, 60.0, 4.0
WORDS = ("Klemme", "Leuchte", "Netzteil", "Schutzart", "Montage", "rail", "power", "supply", "lamp", "torque")
DICE = random.Random(711)


def text() -> str:
    """A text of 8 to about 60 tokens."""
    return " ".join(DICE.choices(WORDS, k=DICE.randint(4, 28)))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Busy:
    """How much of the machine a phase got: less than all of it while it is saturated is what neighbours took."""

    def __init__(self) -> None:
        self._started, self._used = time.monotonic(), processor_seconds()

    def told(self) -> str:
        share = (processor_seconds() - self._used) / (time.monotonic() - self._started) / (os.cpu_count() or 1)
        return f"[{share:.0%} of the processors were ours, load {os.getloadavg()[0]:.1f}]"


async def caller(service: EmbeddingService, tenant: str, texts: int, until: float, served: Counter[str]) -> list[float]:
    """One call after the other's answer, until the time is over; the seconds of each."""
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


async def flooded(service: EmbeddingService) -> list[float]:
    """The seconds of one caller of single texts while another tenant has 100 callers of four texts each."""
    until, nothing = time.monotonic() + ROUND_S + 0.5, Counter[str]()
    flood = [asyncio.create_task(caller(service, "a", 4, until, nothing)) for _ in range(100)]
    await asyncio.sleep(0.5)
    seconds = await caller(service, "b", 1, until, nothing)
    await asyncio.gather(*flood)
    return seconds


async def fairness(service: EmbeddingService) -> None:
    """Prints the first half of L-02, and the delay of L-03."""
    busy, alone, crowded, waits = Busy(), list[list[float]](), list[list[float]](), []
    for _ in range(ROUNDS):
        before = [sample(f"embedding_wait_seconds_{each}", priority="interactive") for each in ("sum", "count")]
        alone.append(await caller(service, "b", 1, time.monotonic() + ROUND_S, Counter()))
        after = [sample(f"embedding_wait_seconds_{each}", priority="interactive") for each in ("sum", "count")]
        waits.append((after[0] - before[0]) / max(1.0, after[1] - before[1]))
        crowded.append(await flooded(service))
    for name, rounds in (("alone", alone), ("while a floods with 100 callers", crowded)):
        every = [each for part in rounds for each in part]
        p50, p99 = percentile(every, 0.5) * 1000, percentile(every, 0.99) * 1000
        print(f"L-02  b {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms ({len(every)} calls)")
    ratios = [percentile(b, 0.99) / percentile(a, 0.99) for a, b in zip(alone, crowded, strict=True)]
    together = [percentile([each for part in rounds for each in part], 0.99) for rounds in (alone, crowded)]
    told = " ".join(f"{each:.1f}" for each in ratios)
    print(
        f"      p99 × {together[1] / together[0]:.1f} (goal 2); median of the rounds × {statistics.median(ratios):.1f} "
        f"({told}) {busy.told()}"
    )
    print(f"L-03  idle delay: {statistics.median(waits) * 1000:.2f} ms from the queue to the device (goal 5)")


async def shares(service: EmbeddingService) -> None:
    """Prints the second half of L-02 and the fill of L-03."""
    served, busy = Counter[str](), Busy()
    before = [sample(f"embedding_batch_fill_{each}") for each in ("sum", "count")]
    started = time.monotonic()
    jobs = [
        caller(service, f"t{at}", 4, started + SHARES_S, served) for at in range(8) for _ in range(6 + 4 * (at % 4))
    ]
    await asyncio.gather(*jobs)
    capacity = served.total() / (time.monotonic() - started)
    got = list(served.values())
    jain = sum(got) ** 2 / (len(got) * sum(each**2 for each in got))
    print(f"L-02  8 tenants with 6 to 18 callers each: Jain index of tokens {jain:.3f} (goal 0.9) {busy.told()}")
    total, count = (
        sample(f"embedding_batch_fill_{each}") - was for each, was in zip(("sum", "count"), before, strict=True)
    )
    print(f"L-03  saturated: mean fill of {count:.0f} batches {total / count:.0%} (goal 70 %), {capacity:.0f} tokens/s")


async def capacity_alone(service: EmbeddingService) -> float:
    """Tokens a second of calls of one text each, as in overload: a token costs more than in larger calls."""
    served, started = Counter[str](), time.monotonic()
    await asyncio.gather(*(caller(service, f"t{at % 8}", 1, started + SHARES_S, served) for at in range(384)))
    return served.total() / (time.monotonic() - started)


async def overload(service: EmbeddingService, capacity: float) -> None:
    """Prints L-01: five times the capacity arrives, whatever becomes of it."""
    process, busy, tokens_a_call = psutil.Process(), Busy(), 36.0
    accepted: list[float] = []
    refused: list[float] = []
    late, tokens, without = 0, 0, 0

    async def one() -> None:
        nonlocal late, tokens, without
        started = time.monotonic()
        try:
            result = await service.vectors([text()], "passage", f"t{DICE.randint(0, 7)}")
        except Overloaded as full:
            refused.append(time.monotonic() - started)
            without += not full.retry_after
        except DeadlineExceeded:
            late += 1
        else:
            accepted.append(time.monotonic() - started)
            tokens += result.tokens

    calls: set[asyncio.Task[None]] = set()
    computed = sample("embedding_tokens_total", priority="interactive")
    started, sent, before = time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - started) < OVERLOAD_S:
        while sent * tokens_a_call < 5 * capacity * elapsed:
            calls.add(task := asyncio.create_task(one()))
            task.add_done_callback(calls.discard)
            sent += 1
        before = before or (process.memory_info().rss if elapsed > 5 else 0)
        await asyncio.sleep(0.005)
    after = process.memory_info().rss
    await asyncio.gather(*calls)
    took = time.monotonic() - started
    computed = sample("embedding_tokens_total", priority="interactive") - computed
    print(
        f"L-01  {sent} calls in {OVERLOAD_S:.0f} s, about 5 × the capacity of {capacity:.0f} tokens/s, "
        f"deadline {DEADLINE_S:.0f} s {busy.told()}"
    )
    print(f"      accepted {len(accepted)}: p99 {percentile(accepted, 0.99):.2f} s; let in and then too late {late}")
    print(
        f"      refused {len(refused)}: p99 {percentile(refused, 0.99) * 1000:.0f} ms (goal 50); "
        f"without Retry-After {without}"
    )
    print(
        f"      goodput {tokens / took / capacity:.0%} of capacity (goal 90 %), "
        f"{tokens / computed:.1%} of what was computed; "
        f"memory after 5 s + {after / before - 1:.1%}"
    )


@asynccontextmanager
async def service_for_measuring(backend: str = "openvino") -> AsyncIterator[EmbeddingService]:
    """A service on the CPU whose model is loaded; says what and where."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"embedding_device": "cpu", "embedding_backend": backend}
        service = EmbeddingService(load(home=Path(folder), call_deadline_s=DEADLINE_S, **given))
        await service.start()
        identity = await service.identity(deadline_s=300)
        print(f"{identity.model} on {identity.backend}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        try:
            yield service
        finally:
            await service.close()


async def main() -> None:
    """Prints the figures."""
    async with service_for_measuring(*sys.argv[1:2]) as service:
        await flooded(service)  # every shape once
        await fairness(service)
        await shares(service)
        await overload(service, await capacity_alone(service))


if __name__ == "__main__":
    asyncio.run(main())
