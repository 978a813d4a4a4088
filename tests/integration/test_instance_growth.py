"""What has changed between two versions of a dataset, at the thresholds, and what an offer is computed from."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from dataset_corpus import document, written

from servers.instance.growth import Assumptions, Differences, compare, offer
from shared.dataset.rows import DocumentBundle, MediaRow
from shared.errors import NotFound

SAME = Differences(0, 0, 0, 0, 0, 0, 1000, 1000)


def with_picture(number: int, source: str) -> DocumentBundle:
    bundle = document(number)
    (product,) = bundle.parts.products
    picture = MediaRow(product.document_id, product.product_id, 0, source, 1, media_type="image/jpeg")
    return replace(bundle, parts=replace(bundle.parts, media=[picture]))


async def test_documents_images_products_and_the_graph_are_compared_row_by_row(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    await written(before, [document(1), document(2), document(3), with_picture(4, "a.jpg")])
    scan = replace(document(6), document=replace(document(6).document, media_type="image/png"))
    await written(after, [document(1, "Anderer Text."), document(3), with_picture(4, "b.jpg"), document(5), scan])
    found = compare(before, after)
    assert (found.documents_added, found.documents_changed, found.documents_removed) == (2, 1, 1)
    assert (found.images_added, found.products_added, found.products_removed) == (2, 2, 1)
    assert found.graph_after > found.graph_before > 0
    same = compare(after, after)
    assert (same.documents, same.images_added, same.products_added, same.graph_growth_percent) == (0, 0, 0, 0)
    with pytest.raises(NotFound):
        compare(before, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"documents_added": 60, "documents_changed": 40}, 0),
        ({"documents_added": 60, "documents_changed": 41}, 1),
        ({"images_added": 50}, 0),
        ({"images_added": 51}, 1),
        ({"graph_after": 1100}, 0),
        ({"graph_after": 1101}, 1),
        ({"graph_after": 500}, 0),
        ({"graph_before": 0, "graph_after": 1}, 1),
        ({"documents_added": 101, "images_added": 51, "graph_after": 2000}, 3),
    ],
)
def test_a_delivery_is_offered_above_the_thresholds_only(changes: dict[str, int], reasons: int) -> None:
    assert len(replace(SAME, **changes).reasons()) == reasons


def test_price_and_time_are_counts_times_assumptions_and_nothing_where_one_is_missing() -> None:
    found = replace(SAME, documents_added=120, documents_changed=5, images_added=51)
    assumed = Assumptions(Decimal("0.8"), Decimal("2.5"), Decimal("0.02"), Decimal("0.01"))
    made = offer(found, assumed)
    assert (made.seconds, made.euros) == (Decimal("227.5"), Decimal("3.01"))
    assert offer(found, Assumptions(euros_per_document=Decimal(1))).euros is None
    assert offer(found, Assumptions()).seconds is None
