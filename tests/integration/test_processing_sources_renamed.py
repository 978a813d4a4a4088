"""Sources that are named anew, or of which a folder cannot be opened: the dataset is as it has to be, or stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.sources import SourceFile, SourceList, find_files
from shared.errors import Unavailable
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


@pytest.mark.parametrize("shown", ["neu", "."])
async def test_a_folder_that_cannot_be_opened_any_more_takes_no_document_out(customer: Customer, shown: str) -> None:
    (customer.folder / "neu").mkdir()
    (customer.folder / "alt.txt").write_text("Katalog von gestern")
    (customer.folder / "neu" / "preise.txt").write_text("Preise von heute")
    before = await customer.process()
    there = [each for each in await customer.files() if each.path == "alt.txt"]
    closed = replace(there[0], path=shown, problem=Unreadable("folder_unreadable", "It cannot be opened."))
    with pytest.raises(Unavailable, match="cannot be opened"):
        await customer.process([*there, closed])
    assert {row.status for row in (await customer.ledger()).values()} == {"processed"}
    other = replace(closed, path="fremd")  # nothing was read there before
    assert (await customer.process([*await customer.files(), other])).counts.failed == 1
    assert (await customer.process()).dataset_digest == before.dataset_digest
