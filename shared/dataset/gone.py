"""Marks of documents whose files are gone: beside the dataset, not in it, for the same files must give the same digest.

The file lies in the customer's bucket and travels in no image. A document that comes back loses its mark.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import orjson

from shared.dataset.places import Place

GONE = "gone.json"


@dataclass(frozen=True, slots=True)
class GoneDocument:
    """A document that was in the dataset. `last_version` is the last version that held it, 0 if none was committed."""

    document_id: str
    path: str
    sha256: str
    last_version: int


def gone_documents(place: Place) -> dict[str, GoneDocument]:
    """Id → mark; blocking."""
    raw = place.read(GONE)
    return {each["document_id"]: GoneDocument(**each) for each in orjson.loads(raw)} if raw else {}


def mark(place: Place, documents: Collection[GoneDocument]) -> None:
    """Adds marks; a second mark of a document takes the place of the first."""
    _write(place, {**gone_documents(place), **{each.document_id: each for each in documents}})


def lift(place: Place, present: Collection[str]) -> None:
    """Takes away the marks of documents that are there."""
    held = gone_documents(place)
    if back := held.keys() & set(present):
        _write(place, {key: each for key, each in held.items() if key not in back})


def _write(place: Place, held: Mapping[str, GoneDocument]) -> None:
    place.write(GONE, orjson.dumps([asdict(held[key]) for key in sorted(held)]))
