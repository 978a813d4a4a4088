"""Sources that are named anew: the dataset is the one that the same sources give at once."""

from __future__ import annotations

import pytest

from servers.cradle.processing.sources import SourceFile, SourceList, find_files
from tests.processing_rig import Customer, customer, other

__all__ = ["customer", "other"]
pytestmark = pytest.mark.slow


async def files(customer: Customer, *folders: str) -> list[SourceFile]:
    sources = SourceList.parse([str(customer.folder / each) for each in folders], customer.settings)
    return await find_files(sources, customer.settings, customer.store)


@pytest.mark.requirement("G-01")
async def test_a_document_tells_the_source_that_has_it_now(customer: Customer, other: Customer) -> None:
    for each in (customer, other):
        for folder, text in (("alt", "Katalog von gestern"), ("neu", "Preise von heute")):
            (each.folder / folder).mkdir()
            (each.folder / folder / f"{folder}.txt").write_text(text)
    await customer.process(await files(customer, "alt", "neu"))
    seen = len(customer.embedder.texts)
    report = await customer.process(await files(customer, "neu"))
    assert (report.counts.unchanged, report.counts.removed) == (1, 1)
    assert len(customer.embedder.texts) == seen
    assert await customer.sql("SELECT path, source FROM documents") == [("neu.txt", "1")]
    assert (await other.process(await files(other, "neu"))).dataset_digest == report.dataset_digest
