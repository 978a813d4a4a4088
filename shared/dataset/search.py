"""Hybrid search over the Lance table: vectors, stemmed words, parts of compounds and exact codes, fused by rank.

Ranks say nothing of how much of the question a passage covers, so the fused score is raised, at most doubled, by the
share of the question's own words that stand in the passage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.dataset import lance, words

if TYPE_CHECKING:
    import numpy as np

RANK_OFFSET = 60
"""Reciprocal rank fusion's constant, as in Cormack, Clarke, Büttcher (2009)."""
WEIGHTS = {"vector": 1.0, "text": 1.0, "words": 0.5, "codes": 1.0, "exact": 4.0}
EXACT_BELOW = 20
"""A code that fewer passages hold than this identifies something: it outweighs all else."""
CONTENTS = 0.25
"""What a passage of a table of contents counts: it names everything, and a page that says something comes first."""
COLUMNS = [*lance.CITED, "path", "title"]


@dataclass(slots=True)
class Found:
    """A passage and how it was found."""

    row: dict[str, Any]
    score: float = 0.0
    similarity: float | None = None
    matched: list[str] = field(default_factory=list)


async def hybrid(table: Any, text: str, vector: np.ndarray | None, limit: int, where: str | None) -> list[Found]:
    """The best passages, best first; equal scores in the order of their ids."""
    depth = max(50, 4 * limit)
    lists = {
        "text": _full_text(table, "text", text, depth, where),
        "words": _full_text(table, "words", words.long_words(text), depth, where),
        "codes": _full_text(table, "codes", words.codes(text), depth, where),
    }
    if vector is not None:
        lists["vector"] = nearest(table, vector, depth, where)
    answers = dict(zip(lists, await asyncio.gather(*lists.values()), strict=True))
    found: dict[str, Found] = {}
    for name, rows in answers.items():
        weight = WEIGHTS["exact" if name == "codes" and 0 < len(rows) < EXACT_BELOW else name]
        for rank, row in enumerate(rows):
            hit = found.setdefault(row["chunk_id"], Found(row))
            hit.score += weight / (RANK_OFFSET + rank + 1)
            hit.matched.append("meaning" if name == "vector" else name)
            if name == "vector":
                hit.similarity = 1.0 - row["_distance"]
    wanted = words.content_words(text)
    for hit in found.values():
        hit.score *= 1 + words.coverage(wanted, f"{hit.row['heading_path']}\n{hit.row['text']}") ** 2
        if hit.row["kind"] == "contents":
            hit.score *= CONTENTS
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.row["chunk_id"]))[:limit]


async def _full_text(table: Any, column: str, text: str, depth: int, where: str | None) -> Sequence[dict[str, Any]]:
    from lancedb.query import MatchQuery

    if not text.strip():
        return []
    match = MatchQuery(text, column)  # pyright: ignore[reportCallIssue] - pydantic defaults that pyright does not see
    query = table.query().nearest_to_text(match).limit(depth).select([*COLUMNS, "_score"])
    rows = await (query.where(where) if where else query).to_list()
    return sorted(rows, key=lambda row: (-row["_score"], row["chunk_id"]))


async def nearest(table: Any, vector: np.ndarray, depth: int, where: str | None) -> Sequence[dict[str, Any]]:
    """The passages whose vectors lie nearest, nearest first; `_distance` is one minus the cosine."""
    query = table.query().nearest_to(vector).distance_type("cosine").limit(depth).select([*COLUMNS, "_distance"])
    rows = await (query.where(where) if where else query).to_list()
    return sorted(rows, key=lambda row: (row["_distance"], row["chunk_id"]))
