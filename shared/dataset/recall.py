"""How well the search by vectors finds what an exact comparison with every passage finds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.dataset import lance, search
from shared.dataset.manifest import committed
from shared.dataset.places import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_ROUNDING = 1e-5  # passages that lie equally near, but for rounding, are equally good


@dataclass(frozen=True, slots=True)
class Recall:
    """Of each question: the share of the truly nearest passages that the search found, and its time in milliseconds."""

    shares: tuple[float, ...]
    milliseconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Recall over all questions; 1 where there are none."""
        return sum(self.shares) / len(self.shares) if self.shares else 1.0


async def recall(root: str, questions: Vectors, limit: int = 10) -> Recall:
    """Recall@`limit` of the search by vectors in the dataset at `root`, against all of its vectors.

    Args:
        questions: float32 [n, dimension].

    Raises:
        NotFound: no version is visible at `root`.
    """
    place = Place(root)
    manifest = committed(place)
    if not manifest.counts.chunks or not len(questions):
        return Recall((), ())
    passages = await search.opened(place, manifest)
    try:
        wanted = await _exact(passages.table, questions, limit)
        shares, times = [], []
        for question, least in zip(questions, wanted, strict=True):
            started = time.perf_counter()
            found = (await search.nearest(passages, question, max(50, limit)))[:limit]
            times.append((time.perf_counter() - started) * 1000)
            near = sum(1.0 - distance >= least[-1] - _ROUNDING for _, distance in found)
            shares.append(near / len(least))
    finally:
        passages.close()
    return Recall(tuple(shares), tuple(times))


async def _exact(table: Any, questions: Vectors, limit: int) -> Vectors:
    """The cosines of the nearest passages, best first: [n, at most limit]. Reads the vectors once, in pieces."""
    import numpy as np

    best = np.zeros((len(questions), 0), dtype=np.float32)
    unit = _unit(questions)
    async for batch in await table.query().select(["vector"]).to_batches():
        best = np.concatenate([best, unit @ _unit(lance.vectors_of(batch.column(0))).T], axis=1)
        best = -np.sort(-best, axis=1)[:, :limit]
    return best


def _unit(vectors: Vectors) -> Vectors:
    import numpy as np

    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
