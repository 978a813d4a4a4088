"""A document of which the embedding service refuses a passage."""

from __future__ import annotations

import pytest

from shared.errors import InvalidInput
from tests.processing_rig import Customer, customer

__all__ = ["customer"]
pytestmark = [pytest.mark.slow, pytest.mark.requirement("F-13")]


async def test_a_document_with_a_refused_passage_costs_no_other_and_is_read_by_the_next_run(
    customer: Customer,
) -> None:
    for number in range(3):
        (customer.folder / f"n{number}.txt").write_text(f"Notiz Nummer {number}.")
    customer.embedder.refuse = "Nummer 1."
    customer.embedder.why = InvalidInput("Text 0 ends the process that computes it.", field="texts.0")
    report = await customer.process()
    assert (report.counts.processed, report.failures_by_code) == (2, {"embedding_failed": 1})
    row = (await customer.ledger())["n1.txt"]
    assert row.failure_reason == "A passage could not be embedded. Run the job again; cradle's log says more."
    customer.embedder.refuse = ""
    customer.embedder.texts.clear()
    again = await customer.process()
    assert (again.counts.processed, again.counts.unchanged, again.counts.failed) == (3, 2, 0)
    assert customer.embedder.texts == ["Notiz Nummer 1."]
