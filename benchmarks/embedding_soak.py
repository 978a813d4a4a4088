"""L-04: the embedding service under a steady load; slopes of memory, descriptors and threads over the run.

`python benchmarks/embedding_soak.py 10` takes ten minutes after five of warming up. A slope is that of the line through
the samples with the least squares, an hour, with its standard error.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import psutil
from embedding_load import Busy, service_for_measuring, text

from servers.cradle.embedding.service import EmbeddingService
from shared.errors import Overloaded

WARM_S, EVERY_S, TENANTS, CALLERS = 300.0, 2.0, 8, 3


async def steady(service: EmbeddingService, tenant: str, until: float, served: Counter[str]) -> None:
    """One call after the other; nothing of them is kept, so that what grows is not the measurement."""
    while time.monotonic() < until:
        try:
            result = await service.vectors([text() for _ in range(4)], "passage", tenant)
        except Overloaded as full:
            await asyncio.sleep(full.retry_after or 0.1)
            continue
        served["calls"] += 1
        served["tokens"] += result.tokens


def service_process() -> list[psutil.Process]:
    return [psutil.Process()]


def workers() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def memory(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


MEASURES: dict[str, tuple[str, Callable[[], list[psutil.Process]], Callable[[psutil.Process], float]]] = {
    "memory, service and callers": ("MiB", service_process, memory),
    "memory, worker with the model": ("MiB", workers, memory),
    "descriptors": ("", lambda: [*service_process(), *workers()], lambda each: each.num_fds()),
    "threads": ("", lambda: [*service_process(), *workers()], lambda each: each.num_threads()),
}


def slope(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares: growth an hour, and its standard error."""
    centred = seconds - seconds.mean()
    growth = (centred @ values) / (centred @ centred)
    left = values - values.mean() - growth * centred
    error = np.sqrt((left @ left) / max(1, len(values) - 2) / (centred @ centred))
    return growth * 3600, error * 3600


async def watch(until: float) -> dict[str, np.ndarray]:
    """A row a sample: seconds, and each measure."""
    room = int((until - time.monotonic()) / EVERY_S) + 8
    rows, at = {name: np.zeros(room) for name in ("seconds", *MEASURES)}, 0
    while time.monotonic() < until and at < room:
        rows["seconds"][at] = time.monotonic()
        for name, (_, of, measure) in MEASURES.items():
            rows[name][at] = sum(measure(each) for each in of())
        at += 1
        await asyncio.sleep(EVERY_S)
    return {name: values[:at] for name, values in rows.items()}


async def soak(service: EmbeddingService, minutes: float) -> None:
    served, busy = Counter[str](), Busy()
    until = time.monotonic() + WARM_S + minutes * 60
    load = [asyncio.create_task(steady(service, f"t{at % TENANTS}", until, served)) for at in range(TENANTS * CALLERS)]
    await asyncio.sleep(WARM_S)
    served.clear()
    seen = await watch(until)
    await asyncio.gather(*load)
    print(f"L-04  {served['calls']} calls, {served['tokens']} tokens, {minutes:g} minutes {busy.told()}")
    for name, (unit, _, _) in MEASURES.items():
        growth, error = slope(seen["seconds"], seen[name])
        half = len(seen[name]) // 2
        later, _ = slope(seen["seconds"][half:], seen[name][half:])
        first, last = seen[name][0], seen[name][-1]
        print(
            f"      {name}: {first:.1f} → {last:.1f} {unit}, slope {growth:+.2f} ± {error:.2f} an hour, "
            f"{later:+.2f} in the second half"
        )


async def main() -> None:
    async with service_for_measuring() as service:
        await soak(service, float(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    asyncio.run(main())
