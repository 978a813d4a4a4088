"""The tool that tells what has changed since the delivery, and what a new delivery would take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from servers.instance.growth import DOCUMENTS, GRAPH_PERCENT, IMAGES, Assumptions, compare, offer
from servers.instance.search import Library
from servers.instance.versions import Versions
from shared.contracts.model import Contract
from shared.ids import Digest

SCOPE = "dataset:read"
Amount = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})?$")]
Assumed = Annotated[Amount | None, Field(description="Decimal as text; none: not known.")]


class OfferMade(Contract):
    """A new delivery: why, and what it takes. Figures are counts × assumptions; without an assumption there is none."""

    reasons: list[str]
    seconds: str | None
    euros: str | None
    assumptions: dict[str, str]


class DataChanges(Contract):
    """What the newer version has over the older one. `offer`: where a threshold is passed."""

    older: Digest
    newer: Digest
    documents_added: int
    documents_changed: int
    documents_removed: int
    images_added: int
    products_added: int
    products_removed: int
    graph_growth_percent: str
    thresholds: dict[str, int]
    offer: OfferMade | None


def register(server: Any, versions: Versions, library: Callable[[], Library]) -> None:
    """Offers the tool on the server."""

    async def get_data_changes(
        older: Annotated[Digest | None, Field(description="None: the dataset of the image as delivered.")] = None,
        newer: Annotated[Digest | None, Field(description="None: the version that answers now.")] = None,
        seconds_per_document: Assumed = None,
        seconds_per_image: Assumed = None,
        euros_per_document: Assumed = None,
        euros_per_image: Assumed = None,
    ) -> DataChanges:
        """Count what has changed between two versions of the dataset: documents, images, products, the graph.

        Use it to decide whether a new delivery is due. Above 100 documents, 50 images or 10 % of graph it comes with an
        offer, whose price and time are computed from the assumptions that you give.
        """
        first, second = older or versions.image_digest, newer or library().dataset_digest
        folders = [await asyncio.to_thread(versions.folder, each) for each in (first, second)]
        found = await asyncio.to_thread(compare, *folders)
        given = {
            "seconds_per_document": seconds_per_document,
            "seconds_per_image": seconds_per_image,
            "euros_per_document": euros_per_document,
            "euros_per_image": euros_per_image,
        }
        told = {name: value for name, value in given.items() if value is not None}
        made = offer(found, Assumptions(**{name: Decimal(value) for name, value in told.items()}))
        reasons = found.reasons()
        return DataChanges(
            older=first,
            newer=second,
            documents_added=found.documents_added,
            documents_changed=found.documents_changed,
            documents_removed=found.documents_removed,
            images_added=found.images_added,
            products_added=found.products_added,
            products_removed=found.products_removed,
            graph_growth_percent=str(found.graph_growth_percent),
            thresholds={"documents": DOCUMENTS, "images": IMAGES, "graph_percent": int(GRAPH_PERCENT)},
            offer=OfferMade(reasons=reasons, seconds=_text(made.seconds), euros=_text(made.euros), assumptions=told)
            if reasons
            else None,
        )

    server.tool(get_data_changes, scope=SCOPE, title="Show what has changed", read_only=True, idempotent=True)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
