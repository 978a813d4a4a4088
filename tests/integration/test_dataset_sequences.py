"""Random sequences of updates: however a dataset came to what it holds, it is that of a whole installation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shared.dataset import delta, graph, lance, tables
from shared.dataset.manifest import Manifest
from shared.dataset.places import Place
from shared.dataset.rows import DocumentBundle
from shared.dataset.tables import Tables
from shared.dataset.writer import DatasetWriter
from tests.dataset_corpus import DIMENSION, commit, document, frozen, unpack, unreadable, written

pytestmark = pytest.mark.slow
DOCUMENTS, STEPS = 12, 3


def content(root: Path, manifest: Manifest) -> dict[str, Any]:
    """All that a version holds: its rows, the passages' table with the vectors, nodes and edges."""
    found: dict[str, Any] = {"digest": manifest.dataset_digest, "counts": manifest.counts}
    held = Tables(Place(str(root)), manifest.pins.tables)
    found |= {name: [row for piece in held.in_order(name) for row in piece.to_pylist()] for name in held.names()}
    found["lance"] = lance.connect(str(root / "vectors"), dict).open_table(manifest.pins.vectors).to_arrow().to_pylist()
    return found | {
        kind: pq.read_table(root / manifest.pins.graph / f"{kind}.parquet").to_pylist() for kind in ("nodes", "edges")
    }


def changed(rng: random.Random, held: dict[int, DocumentBundle]) -> dict[int, DocumentBundle]:
    """What the sources hold after a few files were added, replaced, broken or removed, or only removed."""
    found = dict(held)
    if found and rng.random() < 0.3:
        del found[rng.choice(sorted(found))]
        return found
    for _ in range(rng.randint(1, 4)):
        number = rng.randrange(DOCUMENTS)
        if number in found and rng.random() < 0.3:
            del found[number]
        else:
            found[number] = document(number, f"Fassung {rng.randrange(1000)}.")
    found[DOCUMENTS] = unreadable(rng.randrange(3))
    return found


async def update(root: Path, held: dict[int, DocumentBundle], wanted: dict[int, DocumentBundle]) -> Manifest:
    async with DatasetWriter(str(root), DIMENSION) as writer:
        await writer.replace_documents([each for number, each in wanted.items() if held.get(number) != each])
        there = {each.document.document_id for each in wanted.values()}
        await writer.remove_documents({row.document_id for row in (await writer.documents()).values()} - there)
        return await commit(writer)


@pytest.mark.requirement("G-01", "G-03", "O-06")
@pytest.mark.parametrize("seed", range(2))
async def test_a_dataset_that_was_updated_or_merged_is_the_one_that_is_written_at_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((tables, "ROWS_AT_ONCE"), (tables, "SPREAD_ROWS_AT_ONCE"), (graph, "ROWS_AT_ONCE")):
        monkeypatch.setattr(module, name, 12)  # of large tables only pieces are read
    rng, root = random.Random(seed), tmp_path / "bucket"  # noqa: S311
    held: dict[int, DocumentBundle] = {}
    now: dict[str, Any] = {}
    versions: list[tuple[Path, dict[str, str]]] = []
    for step in range(STEPS):
        wanted = changed(rng, held) if held else {number: document(number) for number in range(8)}
        now = content(root, await update(root, held, wanted))
        for base, known in versions[-1:] if step % 2 else versions[:1]:
            difference, merged = tmp_path / f"delta-{step}", tmp_path / f"merged-{step}"
            difference.mkdir()
            delta.write_delta(Place(str(root)), known, difference)
            assert content(merged, delta.merge(base, difference, merged)) == now
        versions.append((unpack(frozen(root), tmp_path / f"frozen-{step}"), delta.ledger(Place(str(root)))))
        held = wanted
    whole = tmp_path / "whole"
    assert content(whole, await written(whole, list(held.values()), seed)) == now


async def test_an_update_that_only_takes_documents_out_is_made(tmp_path: Path) -> None:
    root, made = tmp_path / "bucket", {number: document(number) for number in range(3)}
    await update(root, {}, made)
    base, known = unpack(frozen(root), tmp_path / "frozen"), delta.ledger(Place(str(root)))
    now = await update(root, made, {number: made[number] for number in (0, 2)})
    (tmp_path / "delta").mkdir()
    assert delta.write_delta(Place(str(root)), known, tmp_path / "delta") == {"changed": 0, "removed": 1}
    assert delta.merge(base, tmp_path / "delta", tmp_path / "merged").dataset_digest == now.dataset_digest
