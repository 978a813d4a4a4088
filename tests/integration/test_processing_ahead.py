"""Documents are fetched, as from a slow bucket, while others are read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from servers.cradle.processing import stages
from servers.cradle.processing.sources import SourceFile
from tests.processing_rig import Customer, customer

__all__ = ["customer"]
pytestmark = pytest.mark.slow


async def test_documents_are_fetched_while_others_are_read_and_only_so_many(customer: Customer) -> None:
    for number in range(40):
        (customer.folder / f"n{number:03d}.txt").write_text(f"Notiz Nummer {number}.")
    places, all_there, fetching, most = 1 + stages.FETCHED_AHEAD, asyncio.Event(), 0, 0

    def slow(file: SourceFile) -> SourceFile:
        async def read() -> bytes:
            nonlocal fetching, most
            fetching += 1
            most = max(most, fetching)
            if fetching == places:
                all_there.set()
            await all_there.wait()
            fetching -= 1
            return await file.read()

        return replace(file, read=read)

    async with asyncio.timeout(240):
        report = await customer.process([slow(file) for file in await customer.files()], workers=1)
    assert report.counts.processed == 40
    assert most == places
