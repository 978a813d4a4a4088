"""What can be measured of an image's own files: its model against the stored probes, its search against an exact one.

The sample is content: it lies in memory only, and nothing of it is reported but numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servers.cradle.installations.probes import Probes, cosines
from shared.dataset.reader import DatasetReader
from shared.dataset.recall import Recall, recall
from shared.encoder import Encoder

SAMPLE = 20
WORDS = 12
_PASSAGES = f"""
    SELECT chunk_id, text FROM chunks WHERE kind <> 'contents' AND length(text) >= 20
    ORDER BY chunk_id LIMIT {2 * SAMPLE}
"""  # noqa: S608 - a constant. Ids are hashes: their order is a sample that is the same every time.


@dataclass(frozen=True, slots=True)
class Sampled:
    """A question made of a passage's own words, and what answers it."""

    question: str
    chunk_id: str

    @classmethod
    def of(cls, chunk_id: str, text: str) -> Sampled:
        """A question out of the middle of a passage: few passages share its words."""
        words = text.split()
        start = max(0, (len(words) - WORDS) // 2)
        return cls(" ".join(words[start : start + WORDS])[:400], chunk_id)


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one image: questions to ask it, recall of its search by vectors, cosines of its model to the probes."""

    questions: list[Sampled]
    recall: Recall
    probe_cosines: list[float]


async def measure(data: Path, model: Path, probes: Probes) -> Measured:
    """Measure an unpacked image.

    Args:
        data: its `/data`.
        model: its `/model`.
        probes: texts and vectors of the installation.
    """
    async with DatasetReader(data) as reader:
        rows = (await reader.sql(_PASSAGES, limit=2 * SAMPLE, timeout=60)).rows
    sample = [Sampled.of(str(chunk), str(text)) for chunk, text in rows]
    held_back = [each.question for each in sample[1::2]]
    encoder = await asyncio.to_thread(Encoder, model)
    vectors = await asyncio.to_thread(encoder.encode, held_back, "query") if held_back else []
    found = await recall(str(data), vectors) if held_back else Recall((), ())  # pyright: ignore[reportArgumentType]
    return Measured(sample[::2], found, await asyncio.to_thread(_cosines, encoder, probes))


def _cosines(encoder: Encoder, probes: Probes) -> list[float]:
    import numpy as np

    if encoder.dimension != probes.vectors.shape[1]:
        return [0.0]
    vectors = np.stack([encoder.encode([text], kind)[0] for kind, text in probes.texts])
    return cosines(probes.vectors, vectors).tolist()


def rank_of(sampled: Sampled, hits: Sequence[tuple[str, str]]) -> int:
    """The place, from 1, of the first hit (chunk id, text) that is the passage or holds the same words; else 0."""
    wanted = _folded(sampled.question)
    for place, (chunk, text) in enumerate(hits, start=1):
        if chunk == sampled.chunk_id or wanted in _folded(text):
            return place
    return 0


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
