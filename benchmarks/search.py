"""Search by vectors in a large dataset: with the sketch, against a comparison with all vectors, in one run.

    python benchmarks/search.py [--passages 50000] [--dimension 1024] [--folder DIR]

Vectors are made up: 2,000 groups in 96 directions, with noise in all of them; questions come from the same source and
are not among them. The table has the columns and the compression of a real one and no full-text indexes. A folder that
holds one from an earlier run is used again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from servers.cradle.images.plots import percentile
from shared.dataset import lance
from shared.dataset.search import Passages, nearest
from shared.dataset.sketch import Sketch, SketchWriter

DIRECTIONS, GROUPS, QUESTIONS, EXACT = 96, 2_000, 200, 10
PIECE = 8_192


class Source:
    """Vectors that lie in groups, as embeddings of documents do."""

    def __init__(self, dimension: int) -> None:
        draw = np.random.default_rng(711)
        self._groups = draw.standard_normal((GROUPS, DIRECTIONS), dtype=np.float32)
        self._spread = draw.standard_normal((DIRECTIONS, dimension), dtype=np.float32) / np.sqrt(DIRECTIONS)
        self._mean = draw.standard_normal(dimension, dtype=np.float32)

    def vectors(self, number: int, seed: int) -> np.ndarray:
        draw = np.random.default_rng(seed)
        inner = self._groups[draw.integers(0, GROUPS, number)]
        inner = inner + 0.7 * draw.standard_normal((number, DIRECTIONS), dtype=np.float32)
        found = inner @ self._spread + self._mean
        found += 0.15 * draw.standard_normal(found.shape, dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def batches(source: Source, shape: pa.Schema, passages: int, sketch: SketchWriter) -> Iterator[pa.RecordBatch]:
    """The table's rows, and their vectors into the sketch."""
    for start in range(0, passages, PIECE):
        number = min(PIECE, passages - start)
        vectors = source.vectors(number, start)
        sketch.add(vectors)
        draw = np.random.default_rng(start)
        columns = []
        for field in shape:
            if field.name == "vector":
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]))
            elif pa.types.is_integer(field.type):
                columns.append(pa.array(np.arange(start, start + number)))
            elif field.name == "text":
                columns.append(pa.array([" ".join(map(str, row)) for row in draw.integers(0, 30_000, (number, 60))]))
            else:
                columns.append(pa.array([f"{field.name} {place:07}" for place in range(start, start + number)]))
        yield pa.record_batch(columns, schema=shape)


def build(folder: Path, passages: int, dimension: int) -> None:
    """Table and sketch, unless they are there."""
    if (folder / "chunks.sketch").exists():
        return
    started = time.perf_counter()
    shape, sketch = lance.schema(dimension), SketchWriter(dimension)
    rows = pa.RecordBatchReader.from_batches(shape, batches(Source(dimension), shape, passages, sketch))
    lance.connect(str(folder), dict).create_table("chunks", data=rows, schema=shape)
    (folder / "chunks.sketch").write_bytes(sketch.file())
    print(f"built in {time.perf_counter() - started:.0f} s")


async def timed(passages: Passages, questions: np.ndarray) -> tuple[list[list[str]], list[float], float]:
    """The ten best of each question, milliseconds of each, and processor seconds of all."""
    found, times, before = [], [], time.process_time()
    for question in questions:
        started = time.perf_counter()
        rows = await nearest(passages, question, 50, None)
        times.append((time.perf_counter() - started) * 1000)
        found.append([row["chunk_id"] for row in rows[:10]])
    return found, times, time.process_time() - before


async def measure(folder: Path, dimension: int) -> None:
    """Prints times and recall."""
    database = await lance.module().connect_async(str(folder))
    table = await database.open_table("chunks")
    started = time.perf_counter()
    sketch = Sketch((folder / "chunks.sketch").read_bytes())
    print(f"sketch of {sketch.rows} × {dimension}: opened in {(time.perf_counter() - started) * 1000:.0f} ms")
    questions = Source(dimension).vectors(QUESTIONS, 2**31)
    await timed(Passages(table, sketch), questions[:5])
    for name, passages, number in (("sketch", Passages(table, sketch), QUESTIONS), ("all", Passages(table), EXACT)):
        found, times, used = await timed(passages, questions[:number])
        if name == "sketch":
            ours = found
        else:
            same = sum(len(set(one) & set(other)) for one, other in zip(ours[:number], found, strict=True))
            print(f"recall@10 of the sketch against all: {same / (10 * number):.4f} over {number} (goal 0.99)")
        print(
            f"{name}: p50 {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms,"
            f" processor {1000 * used / number:.1f} ms a question, load {os.getloadavg()[0]:.0f}"
        )


def main() -> None:
    """Builds what is missing and measures."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--passages", type=int, default=50_000)
    given.add_argument("--dimension", type=int, default=1024)
    given.add_argument("--folder", type=Path)
    options = given.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        build(folder, options.passages, options.dimension)
        asyncio.run(measure(folder, options.dimension))


if __name__ == "__main__":
    main()
