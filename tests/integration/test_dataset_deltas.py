"""The difference between two versions of a dataset: what it holds, and that merging it gives the newer version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from shared.dataset import delta, lance
from shared.dataset.commit import VECTORS
from shared.dataset.manifest import Manifest, committed
from shared.dataset.places import Place
from shared.dataset.rows import DocumentBundle
from shared.dataset.tables import Tables
from shared.dataset.writer import DatasetWriter
from shared.errors import Conflict
from tests.dataset_corpus import DIMENSION, commit, document, frozen, unpack, unreadable, written


async def replaced(root: Path, bundles: list[DocumentBundle], gone: list[DocumentBundle]) -> Manifest:
    async with DatasetWriter(str(root), DIMENSION) as writer:
        await writer.replace_documents(bundles)
        await writer.remove_documents([each.document.document_id for each in gone])
        return await commit(writer)


def difference(root: Path, known: dict[str, str], folder: Path) -> dict[str, int]:
    folder.mkdir()
    return delta.write_delta(Place(str(root)), known, folder)


@pytest.mark.requirement("O-06")
async def test_a_difference_holds_the_rows_of_new_and_changed_documents_and_the_names_of_those_that_went(
    tmp_path: Path,
) -> None:
    root, old = tmp_path / "bucket", [document(number) for number in range(4)]
    await written(root, [*old, unreadable(0)])
    base, known = unpack(frozen(root), tmp_path / "frozen"), delta.ledger(Place(str(root)))
    changed, new = document(1, "Die Klemme sitzt auf der Hutschiene."), document(7)
    now = await replaced(root, [changed, new], [old[2]])
    assert difference(root, known, tmp_path / "delta") == {"changed": 2, "removed": 1}
    ids = [each.document.document_id for each in (changed, new)]
    told = orjson.loads((tmp_path / "delta" / delta.CHANGES).read_bytes())
    assert told == {"changed": sorted(ids), "removed": [old[2].document.document_id]}
    for name in ("documents", "chunks", "vectors", "products", "prices"):
        table = pq.read_table(tmp_path / "delta" / f"{name}.parquet")
        assert set(table["document_id"].to_pylist()) == set(ids), name
    merged = delta.merge(base, tmp_path / "delta", tmp_path / "merged")
    assert (merged.dataset_digest, merged.counts) == (now.dataset_digest, now.counts)
    assert difference(tmp_path / "merged", delta.ledger(Place(str(root))), tmp_path / "none") == {
        "changed": 0, "removed": 0,
    }  # fmt: skip


@pytest.mark.requirement("O-06", "G-03")
@pytest.mark.parametrize("part", ["words", "feature"])
async def test_what_a_model_read_otherwise_of_the_same_file_is_part_of_the_update(tmp_path: Path, part: str) -> None:
    root, first = tmp_path / "bucket", document(0, "Der Stempel lautet: geprüft am 3. Mai.")
    await written(root, [first, document(1)])
    base, known = unpack(frozen(root), tmp_path / "frozen"), delta.ledger(Place(str(root)))
    again = document(0, "Der Stempel lautet: geprüft am 8. Mai." if part == "words" else first.parts.chunks[0].text)
    if part == "feature":
        again = replace(again, parts=replace(again.parts, features=[replace(again.parts.features[0], value="18")]))
    now = await replaced(root, [replace(again, document=first.document)], [])
    assert difference(root, known, tmp_path / "delta") == {"changed": 1, "removed": 0}
    merged = delta.merge(base, tmp_path / "delta", tmp_path / "merged")
    assert merged.dataset_digest == now.dataset_digest


@pytest.mark.requirement("O-06")
async def test_a_ledger_of_an_earlier_release_gives_an_update_of_everything_and_the_same_dataset(
    tmp_path: Path,
) -> None:
    root, held = tmp_path / "bucket", [document(number) for number in range(3)]
    await written(root, held)
    base, place = unpack(frozen(root), tmp_path / "frozen"), Place(str(root))
    known = dict.fromkeys(delta.ledger(place), "sha256:" + "0" * 64)  # digests of rows, which no digest of now equals
    now = await replaced(root, [document(3)], [held[0]])
    assert difference(root, known, tmp_path / "delta") == {"changed": 3, "removed": 1}
    assert delta.merge(base, tmp_path / "delta", tmp_path / "merged").dataset_digest == now.dataset_digest


async def test_a_copy_of_which_no_document_could_be_read_takes_an_update(tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    await written(root, [unreadable(0)])
    base, known = unpack(frozen(root), tmp_path / "frozen"), delta.ledger(Place(str(root)))
    now = await replaced(root, [document(1)], [unreadable(0)])
    assert difference(root, known, tmp_path / "delta") == {"changed": 1, "removed": 1}
    assert delta.merge(base, tmp_path / "delta", tmp_path / "merged").dataset_digest == now.dataset_digest


async def test_a_copy_that_has_lost_vectors_is_the_base_of_nothing(tmp_path: Path) -> None:
    """No signed digest stands behind a change of the customer's own, as it does behind an update."""
    root = tmp_path / "bucket"
    await written(root, [document(number) for number in range(2)])
    base = unpack(frozen(root), tmp_path / "frozen")
    pins = committed(Place(str(base))).pins
    lance.connect(str(base / VECTORS), dict).open_table(pins.vectors).delete("ordinal = 0")
    tables = Tables(Place(str(tmp_path / "copy")))
    tables.create()
    with pytest.raises(Conflict, match="not whole"):
        delta.copy_rows(base, tables, frozenset())
