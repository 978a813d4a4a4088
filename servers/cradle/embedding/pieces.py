"""A model's own SentencePiece file instead of its `tokenizer.json`: the same ids, five to ten times as fast.

Whether they are the same is found out when the model is loaded: the pieces with their scores and the table of the
normaliser must be equal, and so must the ids of each run of `CORPUS` that would go to SentencePiece. The two normalise
alone-standing characters alike, but not every sequence of characters that make one grapheme: a text with such
characters, or with the name of a special token, goes to the model's `tokenizer.json` as before.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from shared.contracts.embedding import InputType
from shared.encoder import TOKENIZER, ModelCard, Tokenizer
from shared.telemetry import event

FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
NOT_ALONE = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u02ff\u0370-\u0482\u048a-\u052f\u1e00-\u1fff\u2000-\u200a\u2010-\u2027\u202f-\u205e\u2070-\u20cf"
    "\u2100-\u2bff\u3001-\u3029\u3031-\u3096\u309b-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff9d"
    "\U0001f300-\U0001f3fa\U0001f400-\U0001faff]"
)
"""Characters that may join the one before or after them: marks, joiners, jamo, flags, skin tones; and all scripts not
looked at."""
CORPUS = (
    "Leitungsschutzschalter B16, 1-polig, 6 kA – für 49,90 €",
    "Größe, Straße, Fußweg, Öl, Übermaß: daß ß nicht ss ist; ÄÖÜ äöü ẞ",
    "  zwei  Leerzeichen\tTab\nZeile\u00a0fest\u2003breit ",
    "断路器的额定电流是多少？ コンセント 콘센트 Ｆｕｌｌｗｉｄｔｈ　１２",
    "🔌⚡ Steckdose 🙂 👍🏽 👩‍🔧 🇩🇪",
    "ﬁ ﬂ № ™ ½ ² ³ Ω Å ℃ Ⅷ ㎜ ㈱ ĳ ǆ ſ …",
    "e\u0301 a\u0308 o\u0302 ﾊﾞ Z" + "\u0301" * 12,
    "\x01\x08\x7f\x85\u200b\u200d\ufeff\ufffd Steuer\u00adzeichen",
    "αβγ Ελλάδα Привет мир שלום مرحبا नमस्ते",
    "<s> </s> <pad> <unk> <mask> ▁ ▁▁ x▁y",
    "a" * 300,
    "",
    " ",
    "0123456789 1.234.567,89 -40…+85 °C 10⁻³ ±5 %",
)


class Differs(Exception):
    """The file is not the model's tokenizer; `why` is a word of ours."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class PieceTokenizer(Tokenizer):
    """`Tokenizer` on SentencePiece.

    Args:
        pieces: the model's SentencePiece file.
        file: its `tokenizer.json`.

    Raises:
        Differs: the ids would not be the same.
    """

    def __init__(self, pieces: Path, file: Path, card: ModelCard) -> None:
        import sentencepiece

        super().__init__(file, card)
        self._pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
        self._ids = _ids_of(self._pieces, file)
        tokens = self._fast.get_added_tokens_decoder().values()
        self._names = re.compile("|".join(re.escape(each.content) for each in tokens) or "(?!)")
        for text in (part for line in CORPUS for run in NOT_ALONE.split(line) for part in self._names.split(run)):
            if self._by_pieces(text) != super().encode_batch([text])[0]:
                raise Differs("ids")

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """See `Tokenizer.encode_batch`."""
        return [
            self._by_pieces(text) if self._alone(text) else super(PieceTokenizer, self).encode_batch([text])[0]
            for text in texts
        ]

    def inputs(self, texts: Sequence[str], input_type: InputType) -> list[list[int]]:
        """See `Tokenizer.inputs`."""
        opening, closing = self._special
        prefix = self._card.prefix(input_type)
        return [[*opening, *ids, *closing] for ids in self.encode_batch([prefix + text for text in texts])]

    def _alone(self, text: str) -> bool:
        return NOT_ALONE.search(text) is None and self._names.search(text) is None

    def _by_pieces(self, text: str) -> list[int]:
        ids = self._ids
        return [ids[each] for each in self._pieces.encode(text)]


def open_tokenizer(folder: Path, card: ModelCard) -> Tokenizer:
    """The fastest tokenizer of a model that gives the ids of its `tokenizer.json`."""
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is not None:
        try:
            return PieceTokenizer(found, folder / TOKENIZER, card)
        except Differs as error:
            event("embedding_pieces_differ", level=logging.WARNING, model=card.model, code=error.why)
        except (OSError, RuntimeError, ImportError, LookupError, TypeError, ValueError) as error:
            event("embedding_pieces_unreadable", level=logging.WARNING, model=card.model, error=error)
    return Tokenizer(folder / TOKENIZER, card)


def _ids_of(pieces: Any, file: Path) -> list[int]:
    """For each piece its id in the model.

    Raises:
        Differs: the two do not hold the same pieces, scores and normalisation.
    """
    told = orjson.loads(file.read_bytes())
    if told["model"].get("type") != "Unigram":
        raise Differs("kind")
    table = base64.b64decode(_charsmap(told.get("normalizer")))
    if not table or table not in pieces.serialized_model_proto():
        raise Differs("normaliser")
    places = {piece: (at, score) for at, (piece, score) in enumerate(told["model"]["vocab"])}
    ids, unknown = list[int](), told["model"]["unk_id"]
    for at in range(pieces.get_piece_size()):
        place, score = places.pop(pieces.id_to_piece(at), (unknown, None))
        plain = not (pieces.is_control(at) or pieces.is_unknown(at))
        if plain and (score is None or abs(score - pieces.get_score(at)) > 1e-4):
            raise Differs("pieces")
        ids.append(place)
    if places.keys() - {each["content"] for each in told["added_tokens"]}:
        raise Differs("pieces")
    return ids


def _charsmap(normaliser: Any) -> str:
    """The normaliser's table; empty where it does more than that and than trimming spaces."""
    first, *others = (normaliser or {}).get("normalizers") or [normaliser or {}]
    return first.get("precompiled_charsmap", "") if {each["type"] for each in others} <= {"Strip", "Replace"} else ""
