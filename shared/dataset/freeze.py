"""The files that an image carries, byte-identical for equal content whatever run, folder or order wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shared.dataset import canonical_delta, canonical_lance
from shared.dataset.commit import SKETCH, VECTORS, VOCABULARY, beside
from shared.dataset.manifest import MANIFEST, Pins, committed
from shared.dataset.places import Options, Place
from shared.dataset.schemas import ROWS
from shared.dataset.tables import Tables
from shared.errors import NotFound

CHUNKS, GRAPH = "chunks", "graph"


def frozen_files(root: Path | str, storage_options: Options = dict) -> Iterator[tuple[str, Path | bytes]]:
    """Names (relative, `/`-separated) and contents of the frozen copy of the visible version; blocking.

    A `Path` is an existing file that is to be copied as it is. The order is fixed, the manifest comes last. The copy
    opens with `DatasetReader` like the original.

    Raises:
        NotFound: no version is visible.
    """
    place = Place(str(root), storage_options)
    manifest = committed(place)
    for kind in ("edges", "nodes"):
        yield f"{GRAPH}/{kind}.parquet", _content(place, f"{manifest.pins.graph}/{kind}.parquet")
    tables = Tables(place, manifest.pins.tables)
    for name in sorted(ROWS):
        for file, data in canonical_delta.canonical_files(tables, name):
            yield f"tables/{name}/{file}", data
    folder = f"{VECTORS}/{manifest.pins.vectors}.lance"
    names = [name.removeprefix(folder + "/") for name in place.names(folder)]
    for name, content in canonical_lance.canonical_files(names, lambda name: _bytes(place, f"{folder}/{name}")):
        kept = _content(place, f"{folder}/{content}") if isinstance(content, str) else content
        yield f"{VECTORS}/{CHUNKS}.lance/{name}", kept
    for kind in (SKETCH, VOCABULARY) if manifest.vector_index else (VOCABULARY,):
        yield beside(CHUNKS, kind), _content(place, beside(manifest.pins.vectors, kind))
    pins = Pins(tables=dict.fromkeys(sorted(ROWS), 0), vectors=CHUNKS, graph=GRAPH)
    frozen = manifest.model_copy(update={"dataset_version": None, "pins": pins})
    yield MANIFEST, frozen.model_dump_json(indent=2, exclude={"computed"}).encode()


def _content(place: Place, name: str) -> Path | bytes:
    return place.folder / name if place.folder else _bytes(place, name)


def _bytes(place: Place, name: str) -> bytes:
    data = place.read(name)
    if data is None:
        raise NotFound("A file of the visible dataset is missing. Process the customer's documents again.")
    return data
