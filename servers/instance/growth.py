"""What separates two versions of the dataset, when that calls for a new delivery, and what one would cost.

Counts and thresholds only. Price and time are products of the counts and of assumptions that are named in the answer:
the caller's, or the platform's stated ones; where an assumption is missing, there is no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from shared.dataset.manifest import Manifest, visible
from shared.dataset.places import Place
from shared.dataset.schemas import documents_of
from shared.dataset.tables import Tables
from shared.errors import NotFound

DOCUMENTS, IMAGES, GRAPH_PERCENT = 100, 50, Decimal(10)
"""A new delivery is offered above any of these: new or changed documents, new images, growth of the graph."""


@dataclass(frozen=True, slots=True)
class Differences:
    """What a newer version has over an older one. `images`: new picture files, and new pictures that products name."""

    documents_added: int
    documents_changed: int
    documents_removed: int
    images_added: int
    products_added: int
    products_removed: int
    graph_before: int
    graph_after: int

    @property
    def documents(self) -> int:
        """New and changed ones."""
        return self.documents_added + self.documents_changed

    @property
    def graph_growth_percent(self) -> Decimal:
        """Nodes and edges together, against the older version; a graph that begins grows by 100 %."""
        if not self.graph_before:
            return Decimal(100) if self.graph_after else Decimal(0)
        grown = Decimal(100 * (self.graph_after - self.graph_before)) / self.graph_before
        return grown.quantize(Decimal("0.1"), ROUND_HALF_UP)

    def reasons(self) -> list[str]:
        """The thresholds that are passed."""
        passed = {
            f"more than {DOCUMENTS} new or changed documents": self.documents > DOCUMENTS,
            f"more than {IMAGES} new images": self.images_added > IMAGES,
            f"the graph grew by more than {GRAPH_PERCENT} %": self.graph_growth_percent > GRAPH_PERCENT,
        }
        return [reason for reason, holds in passed.items() if holds]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a document and an image take and cost; None: not known, so no figure is given."""

    seconds_per_document: Decimal | None = None
    seconds_per_image: Decimal | None = None
    euros_per_document: Decimal | None = None
    euros_per_image: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """Time and price of taking the differences into a new delivery; None where an assumption is missing."""

    seconds: Decimal | None
    euros: Decimal | None


def compare(older: Path, newer: Path) -> Differences:
    """Compare two datasets by their rows; blocking.

    Raises:
        NotFound: there is no dataset in one of the folders.
    """
    before, after = _Version(older), _Version(newer)
    documents = {name: after.documents[name] for name in after.documents if name not in before.documents}
    changed = sum(after.documents[name] != known for name, known in before.documents.items() if name in after.documents)
    return Differences(
        documents_added=len(documents),
        documents_changed=changed,
        documents_removed=len(before.documents.keys() - after.documents.keys()),
        images_added=len(after.images - before.images),
        products_added=len(after.products - before.products),
        products_removed=len(before.products - after.products),
        graph_before=_graph(before.manifest),
        graph_after=_graph(after.manifest),
    )


def offer(found: Differences, assumed: Assumptions) -> Offer:
    """What the differences take and cost under these assumptions."""

    def of(document: Decimal | None, image: Decimal | None) -> Decimal | None:
        if document is None or image is None:
            return None
        return document * found.documents + image * found.images_added

    euros = of(assumed.euros_per_document, assumed.euros_per_image)
    return Offer(
        seconds=of(assumed.seconds_per_document, assumed.seconds_per_image),
        euros=None if euros is None else euros.quantize(Decimal("0.01"), ROUND_HALF_UP),
    )


class _Version:
    """What of a dataset is compared: documents with their row in the ledger, images, article numbers."""

    def __init__(self, folder: Path) -> None:
        place = Place(str(folder))
        manifest = visible(place)
        if manifest is None:
            raise NotFound("There is no dataset of this version here: list_versions names those there are.")
        self.manifest = manifest
        tables = Tables(place, manifest.pins.tables)
        self.documents = {row.document_id: row for row in documents_of(tables.read("documents"))}
        pictures = [
            row for row in tables.read("documents", ["document_id", "media_type"]).to_pylist() if _is_image(row)
        ]
        named = [row for row in tables.read("media", ["source", "media_type"]).to_pylist() if _is_image(row)]
        self.images = {("document", row["document_id"]) for row in pictures} | {
            ("named", row["source"]) for row in named
        }
        self.products = set(tables.read("products", ["article_number"]).column(0).to_pylist())


def _is_image(row: Mapping[str, str]) -> bool:
    return row["media_type"].startswith("image/")


def _graph(manifest: Manifest) -> int:
    return manifest.counts.nodes + manifest.counts.edges
