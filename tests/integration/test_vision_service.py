"""Real OCR on a rendered scan, and what is refused before any provider is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.corpus.sheets import scanned_report
from servers.cradle.installations.service import InstallationService
from servers.cradle.services import Services
from servers.cradle.tools.vision import read
from servers.cradle.vision.service import VisionService
from shared.auth.principal import Principal, acting_as
from shared.contracts.vision import VisionRequest
from shared.errors import InvalidInput, NotFound, TooLarge
from shared.objects import CustomerStore
from shared.settings import Settings, load
from shared.values import MAX_IMAGE_BYTES
from tests.vision_rig import scan_request


async def test_a_german_scan_is_read_word_for_word() -> None:
    service = VisionService(load())
    result = await service.read(scan_request(output="words"))
    (page,) = result.pages
    assert "Isolationswiderstand gemessen: 512 Megaohm, Grenzwert 2 Megaohm" in page.text.splitlines()
    assert "Prüferin: Marlene Osterkamp, Detmold, den 26. Februar 2026" in page.text.splitlines()
    assert page.words
    assert all(word.box[0] < word.box[2] and word.box[1] < word.box[3] for word in page.words)
    assert all(len(word.model_dump_json()) - len(word.text) <= 80 for word in page.words), "digits that nobody reads"
    assert result.cost_eur is None


async def test_a_provider_without_key_says_how_to_get_one() -> None:
    with pytest.raises(InvalidInput, match="P0711_OPENAI_API_KEY"):
        await VisionService(load()).read(scan_request(provider="openai"))


async def test_text_that_is_not_base64_is_refused() -> None:
    with pytest.raises(InvalidInput, match="base64"):
        await VisionService(load()).read(VisionRequest(image_base64="data:image/png;base64,AAAA"))


async def test_an_object_of_the_callers_own_bucket_is_read_as_markdown_and_no_other(database, tmp_path: Path) -> None:
    db = (await database("servers.cradle.installations")).db
    settings = Settings(home=tmp_path)
    unused: Any = None
    held = Services(settings, unused, VisionService(settings), InstallationService(db), db, unused)
    for customer in ("acme", "berg"):
        await CustomerStore.open(settings, customer, create=True)
    store = await CustomerStore.open(settings, "acme")
    await store.put("inbox/scan.pdf", scanned_report())
    await store.put("inbox/gross.bmp", bytes(MAX_IMAGE_BYTES + 1))
    asked = VisionRequest(key="inbox/scan.pdf", pages="1", output="markdown")

    def caller(customer: str | None) -> Principal:
        return Principal("user", "customer", frozenset({"ocr"}), customer, "key", 0.0)

    with acting_as(caller("acme")):
        (page,) = (await read(held, asked)).pages
        assert (page.page, page.words) == (1, None)
        assert "Grenzwert 2 Megaohm" in page.text
        with pytest.raises(TooLarge):
            await read(held, VisionRequest(key="inbox/gross.bmp"))
        for refused in (VisionRequest(key="../customer-berg/x"), VisionRequest(), scan_request(key="inbox/scan.pdf")):
            with pytest.raises(InvalidInput):
                await read(held, refused)
        for uri in ("bucket:inbox/scan.pdf", "s3://customer-acme/inbox/scan.pdf"):
            for named in (uri, {"uri": uri, "mimeType": "application/pdf"}):
                (again,) = (
                    await read(
                        held, VisionRequest.model_validate({**asked.model_dump(), "key": None, "resource": named})
                    )
                ).pages
                assert again == page
    with acting_as(caller("berg")):
        for other in (asked, VisionRequest(resource="bucket:inbox/scan.pdf")):
            with pytest.raises(NotFound, match="no object of this key"):
                await read(held, other)
        with pytest.raises(InvalidInput, match="own bucket"):
            await read(held, VisionRequest(resource="s3://customer-acme/inbox/scan.pdf"))
    with acting_as(caller(None)):
        for named in (VisionRequest(resource="bucket:inbox/scan.pdf"), asked):
            with pytest.raises(InvalidInput, match="name the customer in customer_id"):
                await read(held, named)
        with pytest.raises(InvalidInput, match="Nothing is fetched from elsewhere"):
            await read(held, VisionRequest(resource="https://example.com/scan.png"))
