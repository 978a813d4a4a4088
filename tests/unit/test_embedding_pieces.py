"""The model's SentencePiece file gives the ids of its `tokenizer.json`, or is not used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.cradle.embedding.pieces import CORPUS, NOT_ALONE, PieceTokenizer, open_tokenizer
from shared.encoder import TOKENIZER, ModelCard, Tokenizer
from shared.ids import digest
from tests.piece_model import WORDS, dice_of, write_tokenizer

CARD = ModelCard(
    model="some/e5",
    revision="r",
    dimension=8,
    max_tokens=64,
    pooling="mean",
    normalize=True,
    query_prefix="query: ",
    passage_prefix="passage: ",
    weights_digest=digest(b""),
    tokenizer_digest=digest(b""),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's tokenizer in both forms."""
    place = tmp_path_factory.mktemp("pieces")
    write_tokenizer(place)
    return place


def changed(folder: Path, target: Path, change: Any) -> Path:
    """A copy of the folder whose `tokenizer.json` is another."""
    shutil.copytree(folder, target)
    told = json.loads((target / TOKENIZER).read_text())
    change(told)
    (target / TOKENIZER).write_text(json.dumps(told))
    return target


def test_the_ids_of_every_kind_of_text_are_those_of_the_tokenizer_file(folder: Path) -> None:
    ours, theirs = open_tokenizer(folder, CARD), Tokenizer(folder / TOKENIZER, CARD)
    assert isinstance(ours, PieceTokenizer)
    dice = dice_of(2)
    alone = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000 and not NOT_ALONE.match(chr(code))]
    any_character = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x1FB00))]
    texts = [*CORPUS, *(" ".join(dice.choices(WORDS, k=30)) for _ in range(50))]
    texts += [
        "".join(dice.choices(pool, k=dice.randint(1, 30))) for pool in (alone, any_character) for _ in range(3000)
    ]
    texts += ["Klemme " + "x".join(alone[at : at + 100]) for at in range(0, len(alone), 100)]
    for kind in ("query", "passage"):
        assert ours.inputs(texts, kind) == theirs.inputs(texts, kind)
    assert ours.encode_batch(texts) == theirs.encode_batch(texts)


def test_the_names_of_special_tokens_in_a_text_mean_what_they_mean_to_the_tokenizer_file(folder: Path) -> None:
    ours, theirs = open_tokenizer(folder, CARD), Tokenizer(folder / TOKENIZER, CARD)
    assert ours.encode_batch(["a <mask> b</s>"]) == theirs.encode_batch(["a <mask> b</s>"])
    assert 2 in ours.encode_batch(["a <mask> b</s>"])[0]


@pytest.mark.parametrize("what", ["score", "piece", "more pieces", "normaliser", "kind"])
def test_a_file_that_is_not_the_models_tokenizer_is_not_used_and_the_log_says_why(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def change(told: dict[str, Any]) -> None:
        vocabulary = told["model"]["vocab"]
        if what == "score":
            vocabulary[20][1] -= 1.0
        elif what == "piece":
            vocabulary[20][0] = "▁unheard"
        elif what == "more pieces":
            vocabulary.append(["▁unheard", -1.0])
        elif what == "normaliser":
            told["normalizer"] = {"type": "NFC"}
        else:
            told["model"]["type"] = "WordLevel"
            told["model"] = {"type": "WordLevel", "vocab": {"<unk>": 0, "<s>": 1}, "unk_token": "<unk>"}

    with caplog.at_level("INFO", logger="platform-0711"):
        found = open_tokenizer(changed(folder, tmp_path / "model", change), CARD)
    assert type(found) is Tokenizer
    assert [record.msg for record in caplog.records] == ["embedding_pieces_differ"]


@pytest.mark.parametrize("part", ["断", "コ", "콘", "🔌", "Ω", "π"])
def test_another_handling_of_some_characters_is_found_by_the_corpus(folder: Path, tmp_path: Path, part: str) -> None:
    def change(told: dict[str, Any]) -> None:
        split = {"type": "Split", "pattern": {"String": part}, "behavior": "Isolated", "invert": False}
        told["pre_tokenizer"]["pretokenizers"].append(split)

    found = open_tokenizer(changed(folder, tmp_path / "model", change), CARD)
    assert type(found) is (PieceTokenizer if part == "π" else Tokenizer)  # no line of the corpus holds this one


def test_a_tokenizer_file_that_lacks_what_is_compared_is_used_alone(folder: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        del told["model"]["unk_id"]

    assert type(open_tokenizer(changed(folder, tmp_path / "model", change), CARD)) is Tokenizer


def test_another_handling_of_spaces_is_found_by_the_corpus(folder: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        told["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}

    assert type(open_tokenizer(changed(folder, tmp_path / "model", change), CARD)) is Tokenizer


def test_a_model_without_the_file_and_one_with_a_broken_file_use_the_tokenizer_file(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "sentencepiece.bpe.model").write_bytes(b"broken")
    assert type(open_tokenizer(copy, CARD)) is Tokenizer
    (copy / "sentencepiece.bpe.model").unlink()
    assert type(open_tokenizer(copy, CARD)) is Tokenizer


@pytest.mark.requirement("T-05")
def test_the_models_own_tokenizer_remembers_no_word_of_a_text(folder: Path) -> None:
    """A word that another customer has sent takes as long as a new one. What is remembered takes memory: 30 MB here."""
    tokenizer, dice = Tokenizer(folder / TOKENIZER, CARD), dice_of(3)
    texts = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=200)) for _ in range(3000)]
    before = psutil.Process().memory_info().rss
    for text in texts:
        tokenizer.encode_batch([text])
    assert psutil.Process().memory_info().rss - before < 10 * 2**20
