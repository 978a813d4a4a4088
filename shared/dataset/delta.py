"""What changed between two versions of a dataset, as files, and merging it into another copy of the older one.

A delta holds whole documents: the rows of those that are new or changed, and the ids of those that are gone. Merging
rebuilds the derived parts (vectors' table, full text, graph), and the digest over the rows proves that the result is
the newer version. `python -m shared.dataset.delta BASE DELTA TARGET` merges in a process of its own: it takes minutes
of CPU for a large dataset, while the caller serves on.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shared.dataset import lance
from shared.dataset.commit import VECTORS, commit
from shared.dataset.manifest import Manifest, committed
from shared.dataset.places import Place
from shared.dataset.schemas import ROWS, canonical_lines, in_order, schema
from shared.dataset.tables import ALL, Tables
from shared.dumps import forbid_dumps
from shared.errors import Conflict

if TYPE_CHECKING:
    import pyarrow as pa

CHANGES = "changes.json"


def ledger(dataset: Place) -> dict[str, str]:
    """Document id → digest over its rows in all tables of the visible version, vectors left out as in the dataset's own
    digest; blocking. A model that reads a file again may find other words under the same row of the table of documents.
    """
    tables = Tables(dataset, committed(dataset).pins.tables)
    found: dict[str, Any] = {}
    for name in filter(ROWS.__contains__, tables.names()):
        for piece in tables.in_order(name):
            for each, line in zip(piece["document_id"].to_pylist(), canonical_lines(name, piece), strict=True):
                found.setdefault(each, hashlib.sha256()).update(b"%s %d " % (name.encode(), len(line)) + line)
    return {each: f"sha256:{state.hexdigest()}" for each, state in found.items()}


def write_delta(dataset: Place, known: Mapping[str, str], folder: Path) -> dict[str, int]:
    """Write what separates the visible version from an older one into an empty folder; blocking.

    Args:
        known: the older version's `ledger`.

    Returns:
        `changed` and `removed`: numbers of documents.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    now = ledger(dataset)
    changed = sorted(each for each, row in now.items() if known.get(each) != row)
    removed = sorted(known.keys() - now.keys())
    (folder / CHANGES).write_bytes(orjson.dumps({"changed": changed, "removed": removed}))
    tables = Tables(dataset, committed(dataset).pins.tables)
    these = pa.array(changed, pa.string())  # typed: where documents only went, it is empty
    for name in ALL:
        chosen = tables.where(name, [("document_id", "in", these)]).to_table()
        if chosen.num_rows:
            pq.write_table(in_order(name, chosen), folder / f"{name}.parquet", compression="zstd")
    return {"changed": len(changed), "removed": len(removed)}


def merge(base: Path, delta: Path, target: Path) -> Manifest:
    """Write the dataset at `base` (a frozen copy or not), changed by `delta`, to the new folder `target`; blocking."""
    import pyarrow.parquet as pq

    changes = orjson.loads((delta / CHANGES).read_bytes())
    made = Place(str(target))
    tables = Tables(made)
    tables.create()
    manifest = copy_rows(base, tables, frozenset({*changes["changed"], *changes["removed"]}))
    for name in ALL:
        if (file := delta / f"{name}.parquet").is_file():
            tables.append(name, pq.read_table(file).cast(schema(name)))
    return commit(made, tables, manifest.parameter_version, manifest.fingerprint, manifest.model)


def copy_rows(base: Path, tables: Tables, without: Collection[str]) -> Manifest:
    """Append every row of the dataset at `base` to empty tables, but those of some documents; its manifest."""
    place = Place(str(base))
    manifest = committed(place)
    for name in ALL:
        for piece in _pieces(place, manifest, name):
            tables.append(name, _without(piece, without))
    return manifest


def _pieces(place: Place, manifest: Manifest, name: str) -> Iterator[pa.Table]:
    if name in manifest.pins.tables:
        yield from Tables(place, manifest.pins.tables).in_order(name)
    else:  # a frozen copy has its vectors in the Lance table alone
        yield from _vectors(place, manifest)


def _vectors(place: Place, manifest: Manifest) -> Iterator[pa.Table]:
    import numpy as np
    import pyarrow as pa

    table = lance.connect(place.at(VECTORS), place.options).open_table(manifest.pins.vectors)
    found = table.search().select(["document_id", "ordinal", "vector"]).limit(manifest.counts.chunks).to_arrow()
    if found.num_rows != manifest.counts.chunks:
        raise Conflict("The dataset's vectors are not whole. Deploy the image again.")
    for start in range(0, found.num_rows, 8192):
        piece = found.slice(start, 8192).combine_chunks()
        flat = piece.column("vector").combine_chunks().flatten().to_numpy().astype("<f4")
        rows = np.ascontiguousarray(flat.reshape(-1, manifest.model.dimension))
        yield pa.table(
            [piece.column("document_id"), piece.column("ordinal"), pa.array([row.tobytes() for row in rows])],
            schema=schema("vectors"),
        )


def _without(table: pa.Table, document_ids: Collection[str]) -> pa.Table:
    import pyarrow.dataset as ds

    return table.filter(~ds.field("document_id").isin(sorted(document_ids))) if document_ids else table


if __name__ == "__main__":
    forbid_dumps()
    merge(*(Path(argument) for argument in sys.argv[1:4]))
