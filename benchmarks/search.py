"""Search in a large dataset: whole, with filters, and by vectors alone, against a comparison with all vectors.

    python benchmarks/search.py [--passages 50000] [--dimension 1024] [--folder DIR]

Vectors are made up: 2,000 groups in 96 directions, with noise in all of them; questions come from the same source and
are not among them. Texts are made up of compounds, by Zipf's law, with measures and article numbers. The table has the
columns, the compression and the indexes of a real one. A folder that holds one from an earlier run is used again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from servers.cradle.images.plots import percentile
from shared.dataset import lance, words
from shared.dataset.filters import Filters
from shared.dataset.search import Passages, hybrid, nearest
from shared.dataset.sketch import Sketch, SketchWriter
from shared.dataset.vocabulary import Vocabulary, vocabulary_file

DIRECTIONS, GROUPS, QUESTIONS, EXACT = 96, 2_000, 200, 40
PIECE, ARTICLES = 8_192, 200_000
Ask = Callable[[int], Awaitable[list[int]]]
PARTS = [
    "Klemm",
    "Leucht",
    "Netz",
    "Schalt",
    "Schutz",
    "Strom",
    "Schien",
    "Sicher",
    "Dreh",
    "Geber",
    "Relais",
    "Gehäus",
    "Motor",
    "Pump",
    "Ventil",
    "Rohr",
    "Flansch",
    "Dicht",
    "Schraub",
    "Mutter",
    "Scheib",
    "Bolzen",
    "Kabel",
    "Leitung",
    "Stecker",
    "Buchs",
    "Sensor",
    "Mess",
    "Regel",
    "Steuer",
    "Antrieb",
    "Getrieb",
    "Lager",
    "Kupplung",
    "Brems",
    "Feder",
    "Platt",
    "Blech",
    "Profil",
    "Träger",
    "Halter",
    "Winkel",
    "Rahmen",
    "Deckel",
    "Boden",
    "Wand",
    "Fenster",
    "Filter",
    "Wasser",
    "Druck",
    "Kühl",
]
COMPOUNDS = [one + other.lower() + end for one in PARTS for other in PARTS for end in ("", "en", "er", "ung")]
SMALL = [
    "der",
    "die",
    "das",
    "und",
    "ist",
    "mit",
    "für",
    "von",
    "auf",
    "in",
    "zu",
    "den",
    "bei",
    "nicht",
    "ein",
    "eine",
    "werden",
    "sich",
    "im",
    "dem",
]


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


def texts(number: int, seed: int) -> list[str]:
    """Passages of some 80 words."""
    draw = np.random.default_rng(seed)
    often = 1 / np.arange(1, len(COMPOUNDS) + 1) ** 0.9
    order = np.random.default_rng(711).permutation(len(COMPOUNDS))
    content = order[draw.choice(len(COMPOUNDS), (number, 40), p=often / often.sum())]
    small, measures = draw.integers(0, len(SMALL), (number, 25)), draw.integers(0, 500, (number, 6))
    return [
        " ".join([*(COMPOUNDS[at] for at in row), *(SMALL[at] for at in some), *(f"{each} mm" for each in sizes), code])
        for row, some, sizes, code in zip(
            content, small, measures, map(article, range(seed, seed + number)), strict=True
        )
    ]


def article(number: int) -> str:
    """An article number; they come again."""
    return f"5SY{number % ARTICLES // 10}-{number % 10}"


def batches(
    source: Source, shape: pa.Schema, passages: int, sketch: SketchWriter, known: set[str]
) -> Iterator[pa.RecordBatch]:
    """The table's rows, their vectors into the sketch and their long words into the vocabulary."""
    for start in range(0, passages, PIECE):
        number = min(PIECE, passages - start)
        vectors = source.vectors(number, start)
        sketch.add(vectors)
        said = texts(number, start)
        long = [words.long_words(each) for each in said]
        known.update(*(each.split() for each in long))
        told = {"text": said, "words": long, "codes": [words.passage_codes(each) for each in said]}
        columns = []
        for field in shape:
            if field.name == "vector":
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]))
            elif pa.types.is_integer(field.type):
                columns.append(pa.array(np.arange(start, start + number) % 40))
            elif field.name == "language":
                columns.append(pa.array(["de" if place % 2 else "en" for place in range(number)]))
            elif field.name in told:
                columns.append(pa.array(told[field.name]))
            else:
                columns.append(pa.array([f"{field.name} {place:07}" for place in range(start, start + number)]))
        yield pa.record_batch(columns, schema=shape)


def build(folder: Path, passages: int, dimension: int) -> None:
    """Table, indexes, vocabulary and sketch, unless they are there."""
    if (folder / "chunks.sketch").exists():
        return
    started = time.perf_counter()
    shape, sketch, known = lance.schema(dimension), SketchWriter(dimension), set[str]()
    rows = pa.RecordBatchReader.from_batches(shape, batches(Source(dimension), shape, passages, sketch, known))
    lance.index(lance.connect(str(folder), dict).create_table("chunks", data=rows, schema=shape))
    (folder / "chunks.words").write_bytes(vocabulary_file(known))
    (folder / "chunks.sketch").write_bytes(sketch.file())
    print(f"built in {time.perf_counter() - started:.0f} s")


async def timed(name: str, number: int, ask: Ask) -> list[list[int]]:
    """Asks so many questions and prints how long they took; what was found of each."""
    await ask(0)
    found, times, before = [], [], time.process_time()
    for at in range(number):
        started = time.perf_counter()
        found.append(await ask(at))
        times.append((time.perf_counter() - started) * 1000)
    used = (time.process_time() - before) * 1000 / number
    print(
        f"{name}: p50 {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms, processor {used:.1f} ms a "
        f"question, load {os.getloadavg()[0]:.0f}"
    )
    return found


async def measure(folder: Path, dimension: int) -> None:
    """Prints times and recall."""
    database = await lance.module().connect_async(str(folder))
    table = await database.open_table("chunks")
    started = time.perf_counter()
    sketch, known = Sketch((folder / "chunks.sketch").read_bytes()), Vocabulary((folder / "chunks.words").read_bytes())
    print(
        f"sketch of {sketch.rows} × {dimension}, vocabulary: opened in {(time.perf_counter() - started) * 1000:.0f} ms"
    )
    vectors, draw = Source(dimension).vectors(QUESTIONS, 2**31), np.random.default_rng(2**31)
    passages, everything = Passages(table, known, sketch), Passages(table, known)
    said = [
        f"Welche {COMPOUNDS[one]} hat {COMPOUNDS[two]} und {COMPOUNDS[three]}?"
        for one, two, three in draw.integers(0, len(COMPOUNDS), (QUESTIONS, 3))
    ]
    codes = [f"Was ist {article(each)}?" for each in draw.integers(0, ARTICLES, QUESTIONS)]

    def by_vector(among: Passages, filters: Filters) -> Ask:
        async def ask(at: int) -> list[int]:
            rows = await among.among(filters)
            return [row_id for row_id, _ in (await nearest(among, vectors[at], 50, filters.where, rows))[:10]]

        return ask

    def whole(asked: list[str], filters: Filters) -> Ask:
        async def ask(at: int) -> list[int]:
            return [each.row_id for each in await hybrid(passages, asked[at], vectors[at], 10, filters)]

        return ask

    german = Filters(language="de")
    await timed("search, words and meaning", QUESTIONS, whole(said, Filters()))
    await timed("search, words and meaning, one language", QUESTIONS, whole(said, german))
    await timed("search, an article number", QUESTIONS, whole(codes, Filters()))
    for name, filters in (("vectors", Filters()), ("vectors, one language", german)):
        ours = await timed(name, QUESTIONS, by_vector(passages, filters))
        truth = await timed(f"{name}, compared with all", EXACT, by_vector(everything, filters))
        same = sum(len(set(one) & set(other)) for one, other in zip(ours[:EXACT], truth, strict=True))
        print(f"recall@10 against all: {same / (10 * EXACT):.4f} over {EXACT} questions (goal 0.99)")


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
