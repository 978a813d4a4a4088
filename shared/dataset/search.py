"""Hybrid search over the Lance table: vectors, stemmed words, parts of compounds and exact codes, fused by rank.

Ranks say nothing of how much of the question a passage covers, so the fused score is raised, at most doubled, by the
share of the question's own words that stand in the passage.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.dataset import lance, words
from shared.dataset.commit import SKETCH, VECTORS, VOCABULARY, beside
from shared.dataset.filters import FILTERED, Filters
from shared.dataset.sketch import Sketch
from shared.dataset.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from shared.dataset.manifest import Manifest
    from shared.dataset.places import Place

RANK_OFFSET = 60
"""Reciprocal rank fusion's constant, as in Cormack, Clarke, Büttcher (2009)."""
WEIGHTS = {"vector": 1.0, "text": 1.0, "words": 0.5, "codes": 1.0, "exact": 4.0, "opening": 8.0}
EXACT_BELOW = 20
"""A code that fewer products, or passages of none, hold than this identifies something: it outweighs all else."""
CONTENTS = 0.25
"""What a passage of a table of contents counts: it names everything, and a page that says something comes first."""
HEADED = 0.75
"""What a passage counts that has a question's only code in its headings alone: the mail comes before what it brings."""
COLUMNS = [*lance.CITED, "path", "title"]


class Passages:
    """The Lance table of passages and what lies beside it.

    Args:
        vocabulary: the long words of all passages.
        sketch: narrows the search by vectors; there is one where passages are many.
    """

    def __init__(self, table: Any, vocabulary: Vocabulary, sketch: Sketch | None = None) -> None:
        self.table, self.vocabulary, self.sketch = table, vocabulary, sketch
        self._filtered: pa.Table | None = None

    def close(self) -> None:
        self.table.close()

    async def among(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Which rows satisfy the filters; None: all. Their columns are read once, 60 bytes a row."""
        if filters.where is None:
            return None
        if self._filtered is None:
            self._filtered = await self.table.query().select(list(FILTERED)).to_arrow()
        return filters.mask(self._filtered)


async def opened(place: Place, manifest: Manifest) -> Passages:
    """The passages of a dataset's visible version."""
    database = await lance.module().connect_async(place.at(VECTORS), storage_options=place.options() or None)
    table = await database.open_table(manifest.pins.vectors)
    data = await asyncio.to_thread(place.read, beside(manifest.pins.vectors, VOCABULARY))
    known = await asyncio.to_thread(Vocabulary, data or b"")
    if not manifest.vector_index:
        return Passages(table, known)
    data = await asyncio.to_thread(place.read, beside(manifest.pins.vectors, SKETCH))
    return Passages(table, known, await asyncio.to_thread(Sketch, data or b""))


@dataclass(slots=True)
class Found:
    """A passage and how it was found."""

    row: dict[str, Any]
    score: float = 0.0
    similarity: float | None = None
    matched: list[str] = field(default_factory=list)


async def hybrid(passages: Passages, text: str, vector: np.ndarray | None, limit: int, filters: Filters) -> list[Found]:
    """The best passages, best first; equal scores in the order of their ids."""
    depth, table, where = max(50, 4 * limit), passages.table, filters.where
    lists = {
        "text": _full_text(table, "text", words.apart(text), depth, where),
        "words": _full_text(table, "words", passages.vocabulary.meant(text), depth, where),
        "codes": _full_text(table, "codes", words.question_codes(text), depth, where),
    }
    if vector is not None:
        lists["vector"] = nearest(passages, vector, depth, filters)
    answers = dict(zip(lists, await asyncio.gather(*lists.values()), strict=True))
    found: dict[str, Found] = {}
    products = [row["product_id"] for row in answers["codes"]]
    exact = 0 < len({key or row["chunk_id"] for key, row in zip(products, answers["codes"], strict=True)}) < EXACT_BELOW
    asked = words.question_codes(text) if words.only_codes(text) else ""
    several = [key for key, count in Counter(products).items() if key and count > 1]
    if exact and several and asked:
        answers["opening"] = await _openings(table, several, where)
    for name, rows in answers.items():
        weight = WEIGHTS["exact" if exact and name == "codes" else name]
        for rank, row in enumerate(rows):
            hit = found.setdefault(row["chunk_id"], Found(row))
            hit.score += weight / (RANK_OFFSET + rank + 1)
            told = {"vector": "meaning", "opening": "codes"}.get(name, name)
            hit.matched += [] if told in hit.matched else [told]
            if name == "vector":
                hit.similarity = 1.0 - row["_distance"]
    wanted = words.wanted(text)
    for hit in found.values():
        hit.score *= 1 + words.coverage(wanted, f"{hit.row['heading_path']}\n{hit.row['text']}") ** 2
        if hit.row["kind"] == "contents":
            hit.score *= CONTENTS
        if asked and "codes" in hit.matched and not words.says(hit.row["text"], hit.row["heading_path"], asked):
            hit.score *= HEADED
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.row["chunk_id"]))[:limit]


async def _openings(table: Any, products: list[str], where: str | None) -> list[dict[str, Any]]:
    """The first passage of each product: what it is, where a question's code is in all that it says."""
    among = f"product_id IN ({_listed(products)})"
    query = table.query().where(f"({where}) AND {among}" if where else among)
    places = await query.select(["chunk_id", "product_id", "ordinal"]).to_list()
    first = {row["product_id"]: row for row in sorted(places, key=lambda row: -row["ordinal"])}
    wanted = [row["chunk_id"] for row in first.values()]
    if not wanted:
        return []
    rows = await table.query().where(f"chunk_id IN ({_listed(wanted)})").select(COLUMNS).to_list()
    return sorted(rows, key=lambda row: products.index(row["product_id"]))


def _listed(keys: list[str]) -> str:
    """Texts as SQL lists them."""
    return ", ".join("'" + key.replace("'", "''") + "'" for key in keys)


async def _full_text(table: Any, column: str, text: str, depth: int, where: str | None) -> Sequence[dict[str, Any]]:
    from lancedb.query import MatchQuery

    if not text.strip():
        return []
    match = MatchQuery(text, column)  # pyright: ignore[reportCallIssue] - pydantic defaults that pyright does not see
    query = table.query().nearest_to_text(match).limit(depth).select([*COLUMNS, "_score"])
    rows = await (query.where(where) if where else query).to_list()
    return sorted(rows, key=lambda row: (-row["_score"], row["chunk_id"]))


async def nearest(passages: Passages, vector: np.ndarray, depth: int, filters: Filters) -> Sequence[dict[str, Any]]:
    """The passages whose vectors lie nearest, nearest first; `_distance` is one minus the cosine. Where there is a
    sketch, its candidates are compared, else all."""
    if passages.sketch is not None:
        return await _narrowed(passages.table, passages.sketch, vector, depth, await passages.among(filters))
    query = passages.table.query().nearest_to(vector).distance_type("cosine").limit(depth)
    query = query.select([*COLUMNS, "_distance"])
    rows = await (query.where(filters.where) if filters.where else query).to_list()
    return sorted(rows, key=lambda row: (row["_distance"], row["chunk_id"]))


async def _narrowed(
    table: Any, sketch: Sketch, vector: np.ndarray, depth: int, among: NDArray[np.bool_] | None
) -> Sequence[dict[str, Any]]:
    """Candidates of the sketch, compared in full precision; only the best of them are read whole."""
    import numpy as np

    places = np.asarray(await asyncio.to_thread(sketch.candidates, vector, among=among), np.int64)
    if not len(places):
        return []
    vectors = lance.vectors_of(
        (await table.take_offsets(places.tolist()).select(["vector"]).to_arrow())["vector"].combine_chunks()
    )
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    distances = 1.0 - vectors @ vector / np.maximum(lengths, 1e-12)
    best = np.argsort(distances, kind="stable")[:depth]
    order = np.sort(best)
    rows = await table.take_offsets(places[order].tolist()).select(COLUMNS).to_list()
    for row, distance in zip(rows, distances[order].tolist(), strict=True):
        row["_distance"] = distance
    return sorted(rows, key=lambda row: (row["_distance"], row["chunk_id"]))
