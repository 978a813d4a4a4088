"""L-04: the embedding service under a steady load; slopes of memory, descriptors and threads over the run.

`python benchmarks/embedding_soak.py 10` takes ten minutes after two of warming up. A slope is that of the least-squares
line through the samples, an hour, with its standard error.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import psutil
from embedding_load import Busy, caller, service_for_measuring

from servers.cradle.embedding.service import EmbeddingService

WARM_S, EVERY_S, TENANTS, CALLERS = 120.0, 2.0, 8, 3


def processes() -> list[psutil.Process]:
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


MEASURES: dict[str, tuple[str, Callable[[psutil.Process], float]]] = {
    "memory": ("MiB", lambda each: each.memory_info().rss / 2**20),
    "descriptors": ("", lambda each: each.num_fds()),
    "threads": ("", lambda each: each.num_threads()),
}


def slope(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares: growth an hour, and its standard error."""
    centred = seconds - seconds.mean()
    growth = (centred @ values) / (centred @ centred)
    left = values - values.mean() - growth * centred
    error = np.sqrt((left @ left) / max(1, len(values) - 2) / (centred @ centred))
    return growth * 3600, error * 3600


async def watch(until: float) -> dict[str, np.ndarray]:
    """A row a sample: seconds, and each measure over this process and its workers."""
    rows: dict[str, list[float]] = {name: [] for name in ("seconds", *MEASURES)}
    while time.monotonic() < until:
        rows["seconds"].append(time.monotonic())
        for name, (_, measure) in MEASURES.items():
            rows[name].append(sum(measure(each) for each in processes()))
        await asyncio.sleep(EVERY_S)
    return {name: np.array(values) for name, values in rows.items()}


async def soak(service: EmbeddingService, minutes: float) -> None:
    served, busy = Counter[str](), Busy()
    begins = time.monotonic() + WARM_S
    until = begins + minutes * 60
    load = [
        asyncio.create_task(caller(service, f"t{at % TENANTS}", 4, until, served)) for at in range(TENANTS * CALLERS)
    ]
    await asyncio.sleep(WARM_S)
    seen = await watch(until)
    calls = sum(len(each) for each in await asyncio.gather(*load))
    print(f"L-04  {calls} calls, {served.total()} tokens, {minutes:g} minutes {busy.told()}")
    for name, (unit, _) in MEASURES.items():
        growth, error = slope(seen["seconds"], seen[name])
        first, last = seen[name][0], seen[name][-1]
        print(f"      {name}: {first:.1f} → {last:.1f} {unit}, slope {growth:+.2f} ± {error:.2f} an hour")


async def main() -> None:
    async with service_for_measuring() as service:
        await soak(service, float(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    asyncio.run(main())
