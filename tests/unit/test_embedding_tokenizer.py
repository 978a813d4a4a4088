"""Tokenizing beside the event loop: whoever asks for much takes turns with the others, and no work is done in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.cradle.embedding.tokenizer import THREADS, TURN_CHARS, TokenizerPool
from shared.contracts.embedding import InputType
from shared.encoder import TOKENIZER, ModelCard, Tokenizer
from shared.errors import InvalidInput
from shared.ids import digest
from tests.piece_model import write_tokenizer

CARD = ModelCard(
    model="some/e5",
    revision="r",
    dimension=8,
    max_tokens=16,
    pooling="mean",
    normalize=True,
    weights_digest=digest(b""),
    tokenizer_digest=digest(b""),
)
LONG = "Klemme " * (TURN_CHARS // 7 + 1)
"""A text that is a turn of its own."""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[TokenizerPool]:
    write_tokenizer(tmp_path)
    made = TokenizerPool(Tokenizer(tmp_path / TOKENIZER, CARD), CARD.max_tokens)
    yield made
    made.close()


@pytest.mark.requirement("L-02")
@pytest.mark.parametrize("kind", [None, "query"])
async def test_a_text_is_read_between_the_turns_of_those_who_ask_for_the_tokens_of_many(
    pool: TokenizerPool, kind: InputType | None
) -> None:
    many = [asyncio.create_task(pool.described([LONG] * 20, kind, True)) for _ in range(THREADS)]
    await asyncio.sleep(0)
    assert (await pool.inputs(["Klemme"], "query", False)).cut == []
    assert not any(each.done() for each in many)
    for found in await asyncio.gather(*many):
        assert found == (await pool.described([LONG], kind, True)) * 20


async def test_what_comes_after_a_text_that_is_too_long_is_not_read(pool: TokenizerPool) -> None:
    with pytest.raises(InvalidInput, match="16 tokens") as refused:
        await pool.inputs(["Klemme", LONG, "\ud800"], "query", False)
    assert refused.value.field == "texts.1"


async def test_texts_of_every_turn_are_cut_and_named_by_their_places(pool: TokenizerPool) -> None:
    found = await pool.inputs(["Klemme", LONG, "Klemme", LONG, "Klemme"], "query", True)
    assert found.cut == [1, 3]
    assert [len(each) == 16 for each in found.ids] == [False, True, False, True, False]
    assert found.tokens == sum(map(len, found.ids))


async def test_half_a_character_is_named_by_its_place_in_every_turn(pool: TokenizerPool) -> None:
    with pytest.raises(InvalidInput, match="Text 2 ") as refused:
        await pool.described([LONG, LONG, "\ud800"], None, True)
    assert refused.value.field == "texts.2"
