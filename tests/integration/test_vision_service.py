"""Real OCR on a rendered scan, and what is refused before any provider is asked."""

from __future__ import annotations

import base64

import pytest

from examples.corpus.sheets import scanned_report
from servers.cradle.vision.service import VisionService
from shared.contracts.vision import VisionRequest
from shared.errors import InvalidInput
from shared.settings import load


def scan_request(**more: object) -> VisionRequest:
    return VisionRequest.model_validate({"image_base64": base64.b64encode(scanned_report()).decode(), **more})


async def test_a_german_scan_is_read_word_for_word() -> None:
    service = VisionService(load())
    result = await service.read(scan_request(output="words"))
    (page,) = result.pages
    assert "Isolationswiderstand gemessen: 512 Megaohm, Grenzwert 2 Megaohm" in page.text.splitlines()
    assert "Prüferin: Marlene Osterkamp, Detmold, den 26. Februar 2026" in page.text.splitlines()
    assert page.words
    assert all(word.box[0] < word.box[2] and word.box[1] < word.box[3] for word in page.words)
    assert result.cost_eur is None


async def test_a_provider_without_key_says_how_to_get_one() -> None:
    with pytest.raises(InvalidInput, match="P0711_OPENAI_API_KEY"):
        await VisionService(load()).read(scan_request(provider="openai"))


async def test_text_that_is_not_base64_is_refused() -> None:
    with pytest.raises(InvalidInput, match="base64"):
        await VisionService(load()).read(VisionRequest(image_base64="data:image/png;base64,AAAA"))
