"""Making a version of the dataset visible: repair, digest, vectors and full text, graph, and the manifest last."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from shared.contracts.processing import Computed, Counts
from shared.dataset import graph, lance, sketch
from shared.dataset.manifest import MANIFEST, DatasetModel, Manifest, Pins, visible
from shared.dataset.places import Place
from shared.dataset.schemas import CHILDREN, ROWS, canonical_lines, schema
from shared.dataset.tables import Tables
from shared.dataset.vocabulary import vocabulary_file
from shared.ids import canonical_digest, digest_of_lines, new_handle
from shared.languages import SEVERAL
from shared.stopping import stop_if_told

VECTORS, GRAPH = "vectors", "graph"
SKETCH, VOCABULARY = "sketch", "words"
"""What lies beside a table of vectors."""


def commit(place: Place, tables: Tables, parameter_version: int, fingerprint: str, model: DatasetModel) -> Manifest:
    """The next version, or the visible one where it holds the same already; blocking."""
    repair(tables)
    digests = {name: digest_of_lines(_stoppable(_lines(tables, name))) for name in ROWS}
    identity = canonical_digest({"tables": digests, "fingerprint": fingerprint})
    before = visible(place)
    _clear(place, tables, before)
    if before and before.dataset_digest == identity and before.parameter_version == parameter_version:
        return before
    version = (before.dataset_version or 0) + 1 if before else 1
    label = f"{version:06d}"
    pins = Pins(tables=tables.versions(), vectors=f"chunks_{label}", graph=f"{GRAPH}/{label}")
    sketched, known = lance.build(place.at(VECTORS), place.options, pins.vectors, tables, model.dimension)
    place.write(beside(pins.vectors, VOCABULARY), vocabulary_file(known))
    if sketched.rows >= sketch.ABOVE:
        place.write(beside(pins.vectors, SKETCH), sketched.file())
    stop_if_told()
    derived = graph.derive(tables)
    place.write(f"{pins.graph}/nodes.parquet", graph.parquet_of(schema("nodes"), derived.nodes()))
    place.write(f"{pins.graph}/edges.parquet", graph.parquet_of(schema("edges"), derived.edges()))
    manifest = Manifest(
        dataset_version=version,
        dataset_digest=identity,
        table_digests=digests,
        parameter_version=parameter_version,
        fingerprint=fingerprint,
        model=model,
        counts=_counts(tables, *derived.counts),
        computed=_computed(tables, Tables(place, before.pins.tables) if before else None),
        languages=_languages(tables),
        vector_index=sketched.rows >= sketch.ABOVE,
        pins=pins,
    )
    stop_if_told()  # until here nothing of it is visible
    place.write(MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def beside(vectors: str, kind: str) -> str:
    """Where what lies beside a table of vectors is in the dataset.

    Args:
        kind: `SKETCH` or `VOCABULARY`.
    """
    return f"{VECTORS}/{vectors}.{kind}"


def repair(tables: Tables) -> None:
    """Delete rows whose document is not in the ledger: what a killed process left, or never recorded."""
    recorded = tables.document_ids("documents")
    for name in CHILDREN:
        if orphans := tables.document_ids(name) - recorded:
            tables.delete(name, orphans)
    tables.compact()


def _lines(tables: Tables, name: str) -> Any:
    return itertools.chain.from_iterable(canonical_lines(name, piece) for piece in tables.in_order(name))


def _stoppable(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number % 1024 == 0:
            stop_if_told()
        yield line


def _clear(place: Place, tables: Tables, current: Manifest | None) -> None:
    """Remove what neither the visible version names nor the one that is made: older versions, with the documents that
    were superseded or removed since, and what an interrupted commit left."""
    tables.forget(current.pins.tables if current else {})
    kept = set()
    if current:
        kept = {f"{current.pins.vectors}.{kind}" for kind in ("lance", SKETCH, VOCABULARY)} | {current.pins.graph}
    for name in place.children(VECTORS):
        if name not in kept:
            place.remove(f"{VECTORS}/{name}")
    for name in place.children(GRAPH):
        if f"{GRAPH}/{name}" not in kept:
            place.remove(f"{GRAPH}/{name}")


def _counts(tables: Tables, nodes: int, edges: int) -> Counts:
    ledger = tables.read("documents", ["status", "pages", "ocr_pages", "tokens"]).to_pydict()
    statuses = Counter(ledger["status"])
    return Counts(
        documents=statuses.total(),
        processed=statuses["processed"],
        failed=statuses["failed"],
        unchanged=0,
        removed=0,
        pages=sum(ledger["pages"]),
        ocr_pages=sum(ledger["ocr_pages"]),
        tokens=sum(ledger["tokens"]),
        chunks=tables.count("chunks"),
        products=tables.count("products"),
        features=tables.count("features"),
        prices=tables.count("prices"),
        nodes=nodes,
        edges=edges,
    )


def _computed(tables: Tables, before: Tables | None) -> Computed:
    """The units of the documents that are not as the version before has them, in the commit itself: what a killed
    process computed and never made visible is in no version, and what is visible is told again until it is counted."""
    known = set(_units(before)) if before else set()
    new = [units for units in _units(tables) if units not in known]
    return Computed(
        batch_id=new_handle("use"), tokens=sum(each[-2] for each in new), ocr_pages=sum(each[-1] for each in new)
    )


def _units(tables: Tables) -> Iterator[tuple[Any, ...]]:
    columns = ["document_id", "sha256", "parameter_version", "status", "tokens", "ocr_pages"]
    rows = tables.read("documents", columns)
    return zip(*(rows.column(name).to_pylist() for name in columns), strict=True)


def _languages(tables: Tables) -> dict[str, int]:
    found = Counter(tables.read("chunks", ["language"]).column(0).to_pylist())
    both = found.pop(SEVERAL, 0)
    found.update({language: both for language in ("de", "en") if both})
    return {language: number for language, number in sorted(found.items()) if language}
