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
DEPTH = 50
"""So many passages each list has at least."""
WIDEST = 0.05
"""Filters that leave a smaller share of the rows are left to the table."""
MOST_RAISED = 2.0
"""What a score is multiplied by at most for what the passage says."""
COLUMNS = (*lance.CITED, "path", "title")
SAID = ("heading_path", "kind", "text")
"""The columns that raise or lower a score."""
Ranked = list[tuple[int, float]]
"""Row ids of the Lance table, best first, each with its score or distance."""


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

    async def read(self, hits: Sequence[Found], columns: Sequence[str]) -> None:
        """Give hits these columns of their rows."""
        if hits:
            query = self.table.take_row_ids([hit.row_id for hit in hits]).select(list(columns)).with_row_id()
            rows = {row["_rowid"]: row for row in await query.to_list()}
            for hit in hits:
                hit.row |= rows[hit.row_id]

    async def among(self, filters: Filters) -> Among | None:
        """Which rows satisfy the filters; None: all, or passages are few and the table may look for itself. The
        columns that filters look at are read once, 68 bytes a row."""
        if self.sketch is None or filters.where is None:
            return None
        columns = self._filtered
        if columns is None:
            columns = self._filtered = await self.table.query().select(list(FILTERED)).with_row_id().to_arrow()
        return Among(columns["_rowid"].to_numpy(), filters.mask(columns))


@dataclass(frozen=True, slots=True)
class Among:
    """Rows of the table in its order: the id of each, ascending, and whether a hit may be there."""

    row_ids: NDArray[np.uint64]
    mask: NDArray[np.bool_]

    def holds(self, row_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether hits may be in these rows."""
        import numpy as np

        return self.mask[np.searchsorted(self.row_ids, row_ids)]


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
    """A passage and how it was found. `row` holds `COLUMNS`, once it was read."""

    row_id: int
    score: float = 0.0
    similarity: float | None = None
    matched: list[str] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)


async def hybrid(passages: Passages, text: str, vector: np.ndarray | None, limit: int, filters: Filters) -> list[Found]:
    """The best passages, best first; equal scores in the order of the table.

    What a passage says can at most double its score, so those are not read that could not come among the best then:
    reading passages takes longer than finding them.
    """
    together = passages.vocabulary.together(text)
    found, asked = await _fused(passages, text, together, vector, max(DEPTH, 4 * limit), filters)
    found.sort(key=_place)
    wanted = words.wanted(text, together)

    async def best_of(some: list[Found]) -> list[Found]:
        await passages.read(some, SAID)
        for hit in some:
            hit.score *= _raised(hit, wanted, asked)
        return sorted(some, key=_place)[:limit]

    first, rest = found[: 3 * limit], found[3 * limit :]
    best = await best_of(first)
    rest = [hit for hit in rest if MOST_RAISED * hit.score >= best[-1].score]
    best = sorted([*best, *await best_of(rest)], key=_place)[:limit]
    await passages.read(best, [each for each in COLUMNS if each not in SAID])
    return best


def _place(hit: Found) -> tuple[float, int]:
    return -hit.score, hit.row_id


async def _fused(
    passages: Passages, text: str, together: str, vector: np.ndarray | None, depth: int, filters: Filters
) -> tuple[list[Found], str]:
    """What the lists found with the score of its ranks, and the codes of a question that asks for nothing else."""
    table, where, among = passages.table, filters.where, await passages.among(filters)
    said = {
        "text": words.apart(text, together),
        "words": passages.vocabulary.meant(f"{text} {together}"),
        "codes": words.question_codes(text),
    }
    lists = {column: _full_text(table, column, each, depth, where, among) for column, each in said.items()}
    if vector is not None:
        lists["vector"] = nearest(passages, vector, depth, where, among)
    answers = dict(zip(lists, await asyncio.gather(*lists.values()), strict=True))
    asked = words.question_codes(text) if words.only_codes(text) else ""
    coded = [Found(row_id) for row_id, _ in answers["codes"]]
    await passages.read(coded, ["product_id"])
    products = [hit.row["product_id"] for hit in coded]
    exact = 0 < len({key or hit.row_id for key, hit in zip(products, coded, strict=True)}) < EXACT_BELOW
    several = [key for key, count in Counter(products).items() if key and count > 1]
    if exact and several and asked:
        answers["opening"] = await _openings(table, several, where)
    found: dict[int, Found] = {}
    for name, ranked in answers.items():
        weight = WEIGHTS["exact" if exact and name == "codes" else name]
        if name == "words" and not answers["text"]:  # where no passage has the words, those like them take their place
            weight = WEIGHTS["text"]
        told = {"vector": "meaning", "opening": "codes"}.get(name, name)
        for rank, (row_id, measure) in enumerate(ranked):
            hit = found.setdefault(row_id, Found(row_id))
            hit.score += weight / (RANK_OFFSET + rank + 1)
            hit.matched += [] if told in hit.matched else [told]
            if name == "vector":
                hit.similarity = 1.0 - measure
    return list(found.values()), asked


def _raised(hit: Found, wanted: tuple[frozenset[str], ...], asked: str) -> float:
    """What the score of a passage is multiplied by for what it says: `MOST_RAISED` at most."""
    row = hit.row
    factor = 1 + words.coverage(wanted, f"{row['heading_path']}\n{row['text']}") ** 2
    if row["kind"] == "contents":
        factor *= CONTENTS
    if asked and "codes" in hit.matched and not words.says(row["text"], row["heading_path"], asked):
        factor *= HEADED
    return factor


async def _openings(table: Any, products: list[str], where: str | None) -> Ranked:
    """The first passage of each product: what it is, where a question's code is in all that it says."""
    among = f"product_id IN ({_listed(products)})"
    query = table.query().where(f"({where}) AND {among}" if where else among)
    places = await query.select(["product_id", "ordinal"]).with_row_id().to_list()
    first = {row["product_id"]: row["_rowid"] for row in sorted(places, key=lambda row: -row["ordinal"])}
    return [(first[key], 0.0) for key in products if key in first]


def _listed(keys: list[str]) -> str:
    """Texts as SQL lists them."""
    return ", ".join("'" + key.replace("'", "''") + "'" for key in keys)


async def _full_text(table: Any, column: str, text: str, depth: int, where: str | None, among: Among | None) -> Ranked:
    """The rows whose words are most like the text's. Where many rows are left among which it may look, more are
    found and the others left out: a table looks at all rows to know which satisfy a condition."""
    from lancedb.query import MatchQuery

    if not text.strip():
        return []
    match = MatchQuery(text, column)  # pyright: ignore[reportCallIssue] - pydantic defaults that pyright does not see

    async def best(number: int, where: str | None) -> pa.Table:
        query = table.query().nearest_to_text(match).limit(number).select(["_score"]).with_row_id()
        return await (query.where(where) if where else query).to_arrow()

    share = among.mask.mean() if among is not None else 0.0
    if among is not None and share > WIDEST:
        wide = round(2 * depth / share)
        found = await best(wide, None)
        kept = found.filter(among.holds(found["_rowid"].to_numpy()))
        if kept.num_rows >= depth or found.num_rows < wide:
            return _ranked(kept, "_score", -1)[:depth]
    return _ranked(await best(depth, where), "_score", -1)


def _ranked(found: pa.Table, by: str, sign: int) -> Ranked:
    pairs = zip(found["_rowid"].to_pylist(), found[by].to_pylist(), strict=True)
    return sorted(pairs, key=lambda each: (sign * each[1], each[0]))


async def nearest(
    passages: Passages, vector: np.ndarray, depth: int, where: str | None = None, among: Among | None = None
) -> Ranked:
    """The passages whose vectors lie nearest, nearest first: row and distance, which is one minus the cosine. Where
    there is a sketch, its candidates are compared, else all."""
    if passages.sketch is not None:
        return await _narrowed(passages.table, passages.sketch, vector, depth, among and among.mask)
    query = passages.table.query().nearest_to(vector).distance_type("cosine").limit(depth)
    query = query.select(["_distance"]).with_row_id()
    return _ranked(await (query.where(where) if where else query).to_arrow(), "_distance", 1)


async def _narrowed(
    table: Any, sketch: Sketch, vector: np.ndarray, depth: int, among: NDArray[np.bool_] | None
) -> Ranked:
    """Candidates of the sketch, compared in full precision."""
    import numpy as np

    places = await asyncio.to_thread(sketch.candidates, vector, among=among)
    if not places:
        return []
    found = await table.take_offsets(places).select(["vector"]).with_row_id().to_arrow()
    vectors = lance.vectors_of(found["vector"].combine_chunks())
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    distances = 1.0 - vectors @ vector / np.maximum(lengths, 1e-12)
    rows = found["_rowid"].to_numpy()
    best = np.lexsort((rows, distances))[:depth]
    return list(zip(rows[best].tolist(), distances[best].tolist(), strict=True))
