"""Ids from remembered words: the same as the model's own tokenizer gives, whatever stands in the text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from servers.cradle.embedding.pieces import CORPUS
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.processing import word_ids
from servers.cradle.processing.word_ids import WordIds, with_memory
from tests.processing_rig import Customer, customer

__all__ = ["customer"]

SIGNS = [chr(code) for code in range(0x3000) if not 0xD800 <= code < 0xE000]
PLAIN = "aäöÜ 0123\n.,-–/()[] €²ß"


def require_same(tokenizer: Any, remembering: WordIds, text: str) -> None:
    assert remembering.passage(text) == tokenizer.passage(text) == remembering.passage(text)
    assert remembering.starts(text) == tokenizer.starts(text)


async def test_any_text_has_the_ids_and_beginnings_that_the_tokenizer_itself_gives(service: EmbeddingService) -> None:
    tokenizer = service.tokenizer
    remembering = with_memory(tokenizer)
    assert isinstance(remembering, WordIds)
    for text in (*CORPUS, "[SEP] x[CLS]", "a[MASK]b", "x" * 101, "-".join("word" * 40)):
        require_same(tokenizer, remembering, text)
    for sign in SIGNS[::3]:
        require_same(tokenizer, remembering, f"Ä{sign}b -{sign}- {sign} Ä{sign}b")
    draw = random.Random(711)  # noqa: S311
    for _ in range(300):
        text = "".join(draw.choice(SIGNS if draw.random() < 0.2 else PLAIN) for _ in range(draw.randrange(80)))
        require_same(tokenizer, remembering, text)


async def test_memory_is_bounded(service: EmbeddingService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_ids, "REMEMBERED", 10)
    monkeypatch.setattr(word_ids, "LINES", 3)
    remembering = WordIds(service.tokenizer)
    for number in range(100):
        require_same(service.tokenizer, remembering, f"Klemme{number} " + "x" * 200 + "\nb")
        assert len(remembering._ids) <= 10
        assert len(remembering._starts) <= 10
        assert len(remembering._lines) <= 3
        assert all(len(word) <= word_ids.LONGEST for word in (*remembering._ids, *remembering._starts))


@pytest.mark.requirement("T-05")
async def test_a_run_asks_for_every_word_anew_so_that_no_customer_gains_from_anothers_texts(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    plain = type(customer.embedder.tokenizer).encode_batch

    def counted(self: Any, texts: list[str]) -> list[list[int]]:
        asked.append(sorted(texts))
        return plain(self, texts)

    monkeypatch.setattr(type(customer.embedder.tokenizer), "encode_batch", counted)
    (customer.folder / "a.txt").write_text("Geheimwort der Klemme")
    await customer.process()
    first, asked[:] = list(asked), []
    (Path(customer.folder) / "a.txt").touch()
    customer.version = customer.version.model_copy(update={"version": 2})
    await customer.process()
    assert first == asked
    assert any("Geheimwort" in words for words in first)
