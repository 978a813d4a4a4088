"""Turning text into vectors on a CPU without torch: an exported folder, OpenVINO and the model's own tokenizer.

The folder holds `encoder.json` (the card), `tokenizer.json`, `model.xml` and `model.bin`. Cradle writes it once per
model, serves from it, and bakes it into the customer's image: queries meet vectors of the very same graph.

Texts are batched only with others of exactly the same number of tokens. There is no padding and no mask, every row
takes the path that it would take alone, and a vector does not depend on its batch-mates, bit for bit. `same_alone`
measures that on the machine at hand.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from shared.contracts.embedding import InputType
from shared.contracts.model import Contract
from shared.errors import InvalidInput, Unavailable
from shared.ids import Digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Vectors = NDArray[np.float32]

FORMAT: Literal[1] = 1
CARD, TOKENIZER, GRAPH = "encoder.json", "tokenizer.json", "model.xml"
Dtype = Literal["float32", "bfloat16"]
BATCH_TOKENS = 2048
"""Largest number of tokens computed at once; one text may be longer."""


class ModelCard(Contract):
    """`encoder.json`: what the folder computes, exactly."""

    format: Literal[1] = FORMAT
    model: str
    revision: str
    dimension: int = Field(gt=0)
    max_tokens: int = Field(gt=0, description="Special tokens and prefix included.")
    pooling: Literal["mean", "cls"]
    normalize: bool
    query_prefix: str = ""
    passage_prefix: str = ""
    weights_digest: Digest
    tokenizer_digest: Digest

    def prefix(self, input_type: InputType) -> str:
        """What the model wants before a text of this kind."""
        return self.query_prefix if input_type == "query" else self.passage_prefix


class Tokenizer:
    """A model's own tokenizer.

    Args:
        file: `tokenizer.json`; its padding and truncation are ignored.
        card: the limit and the prefixes.
    """

    def __init__(self, file: Path, card: ModelCard) -> None:
        from tokenizers import Tokenizer as Fast
        from tokenizers.models import BPE, Unigram

        self._fast: Any = Fast.from_file(str(file))
        self._fast.no_padding()
        self._fast.no_truncation()
        if isinstance(self._fast.model, BPE | Unigram):  # they remember words: what another has sent was read faster
            self._fast.model._resize_cache(0)
        self._card = card

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text's own tokens: without special tokens, without prefix.

        One after the other: for words, sharing a batch among threads takes more than twice the processor time.
        """
        return [
            [token.id for token in self._word(text)]
            if self._is_plain(text)
            else self._fast.encode_batch_fast([text], add_special_tokens=False)[0].ids
            for text in texts
        ]

    def starts(self, text: str) -> list[int]:
        """Where each of the text's own tokens begins, in characters and in order, but those of none."""
        if self._is_plain(text):
            return [token.offsets[0] for token in self._word(text)]
        found = self._fast.encode(text, add_special_tokens=False)
        return sorted(start for start, end in found.offsets if end > start)

    def _word(self, plain: str) -> list[Any]:
        """The tokens of a plain word, from the model itself: a fifth of the time."""
        model, lowercase = self._words
        return model.tokenize(plain.lower() if lowercase else plain)

    def _is_plain(self, text: str) -> bool:
        """Whether a text is one word in which a BERT's normaliser changes nothing but capitals."""
        return text.isascii() and text.isalnum() and self._words is not None

    @cached_property
    def _words(self) -> Any:
        """The model that takes plain words and whether as small letters; None where it is none of BERT's, or a token
        was added that may be part of such a word."""
        if not self.takes_words_apart or any(name.isascii() and name.isalnum() for name in self.special_names):
            return None
        return self._fast.model, self._fast.normalizer.lowercase

    def described(self, text: str, input_type: InputType | None, special: bool) -> list[dict[str, object]]:
        """The tokens of a text as text-embeddings-inference tells them: `start` and `stop` count bytes of UTF-8.

        Args:
            input_type: whose prefix goes before; None: none.
            special: special tokens too; they have no place in the text.
        """
        whole = (self._card.prefix(input_type) if input_type else "") + text
        found = self._fast.encode(whole, add_special_tokens=special)
        bytes_before = [0, *accumulate(len(each.encode()) for each in whole)]
        return [
            {
                "id": token,
                "text": name if extra else whole[start:end],
                "special": bool(extra),
                "start": None if extra else bytes_before[start],
                "stop": None if extra else bytes_before[end],
            }
            for token, name, extra, (start, end) in zip(
                found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True
            )
        ]

    def passage(self, text: str) -> list[int]:
        """The ids that the model reads for this text as a passage: `inputs` of one."""
        return self.inputs([text], "passage")[0]

    def inputs(self, texts: Sequence[str], input_type: InputType) -> list[list[int]]:
        """The ids that the model reads for each text: prefix and special tokens included, of any length."""
        prefix = self._card.prefix(input_type)
        return [each.ids for each in self._fast.encode_batch_fast([prefix + text for text in texts])]

    @cached_property
    def takes_words_apart(self) -> bool:
        """Whether the ids of a text are those of its words, one after the other: it is one of BERT's."""
        parts = (self._fast.model, self._fast.pre_tokenizer, self._fast.normalizer)
        berts = tuple(type(part).__name__ for part in parts) == ("WordPiece", "BertPreTokenizer", "BertNormalizer")
        return berts and self._card.passage_prefix[-1:] in ("", " ")

    @cached_property
    def special_names(self) -> list[str]:
        """The names of special and added tokens: in a text they are read as these."""
        return [each.content for each in self._fast.get_added_tokens_decoder().values()]

    def wrapped(self, ids: Iterable[int], input_type: InputType) -> list[int]:
        """The ids that the model reads for a text that is given as its own tokens."""
        opening, closing = self._special
        return [*opening, *self._prefixes[input_type], *ids, *closing]

    def cut(self, ids: list[int]) -> list[int]:
        """The model's input cut to its limit; the closing special tokens stay."""
        closing = self._special[1]
        return ids[: self._card.max_tokens - len(closing)] + closing

    @cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        found = self._fast.encode("a")
        own = [at for at, special in enumerate(found.special_tokens_mask) if not special]
        return found.ids[: own[0]], found.ids[own[-1] + 1 :]

    @cached_property
    def _prefixes(self) -> dict[InputType, list[int]]:
        query, passage = self.encode_batch([self._card.query_prefix, self._card.passage_prefix])
        return {"query": query, "passage": passage}


class Graph:
    """The compiled model: ids in, vectors out. Safe to call from several threads; calls take turns.

    Args:
        folder: holds `model.xml` and `model.bin`.
        threads: of one call; 0: the machine's. Vectors do not depend on it.
        dtype: of matrix products. OpenVINO's own choice would make vectors depend on the machine.
    """

    def __init__(self, folder: Path, threads: int = 0, dtype: Dtype = "float32") -> None:
        openvino = import_openvino()
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self._request = openvino.Core().compile_model(str(folder / GRAPH), "CPU", options).create_infer_request()
        self._turn = threading.Lock()

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """Pooled vectors, and the same at length 1.

        Args:
            ids: [n, tokens], what the model reads for n texts of equal length.

        Returns:
            Two arrays [n, dimension].
        """
        with self._turn:
            self._request.infer({"input_ids": ids})
            pooled, unit = (self._request.get_output_tensor(at).data for at in (0, 1))
            return pooled.copy(), unit.copy()


class Encoder:
    """Texts to vectors from an exported folder. Offline; opens no socket, writes no file.

    Args:
        folder: written by `servers.cradle.embedding.export`.
        threads: of one call; 0: the machine's.
        dtype: of matrix products.

    Raises:
        Unavailable: the folder is not an exported model.
    """

    def __init__(self, folder: Path | str, threads: int = 0, dtype: Dtype = "float32") -> None:
        folder = Path(folder)
        self.card = read_card(folder)
        self.dimension = self.card.dimension
        self.tokenizer = Tokenizer(folder / TOKENIZER, self.card)
        self._graph = Graph(folder, threads, dtype)

    def encode(self, texts: Sequence[str], input_type: InputType = "passage") -> Vectors:
        """One vector a text, in order: float32 [n, dimension], at length 1 where the model normalises. A text that is
        longer than the model reads is cut."""
        import numpy as np

        inputs = [
            ids if len(ids) <= self.card.max_tokens else self.tokenizer.cut(ids)
            for ids in self.tokenizer.inputs(texts, input_type)
        ]
        vectors = np.empty((len(inputs), self.dimension), np.float32)
        for rows in equal_length_batches([len(ids) for ids in inputs]):
            pooled, unit = self._graph.run(np.array([inputs[at] for at in rows], np.int64))
            vectors[rows] = unit if self.card.normalize else pooled
        return vectors


def equal_length_batches(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Positions of texts of the same length, up to `budget` tokens together and at least one, the longest first."""
    places: dict[int, list[int]] = defaultdict(list)
    for at, length in enumerate(lengths):
        places[length].append(at)
    for length in sorted(places, reverse=True):
        rows = max(1, budget // max(length, 1))
        for start in range(0, len(places[length]), rows):
            yield places[length][start : start + rows]


def same_alone(run: Callable[[Ids], tuple[Vectors, Vectors]]) -> bool:
    """Whether `run` gives each row of a batch the very bits that it gives the row alone; measured on a few shapes."""
    import numpy as np

    draw = np.random.default_rng(711)
    for rows, tokens in ((9, 5), (4, 33), (3, 70)):
        ids = draw.integers(4, 1000, (rows, tokens), dtype=np.int64)
        alone = np.concatenate([run(row[None])[0] for row in ids])
        if run(ids)[0].tobytes() != alone.tobytes():
            return False
    return True


def over_limit(position: int, limit: int) -> InvalidInput:
    """The error of a text that is longer than the model reads."""
    return InvalidInput(
        f"Text {position} is longer than the {limit} tokens that the model reads. Shorten it or pass truncate=true.",
        field=f"texts.{position}",
    )


def read_card(folder: Path) -> ModelCard:
    """The card of an exported folder.

    Raises:
        Unavailable: there is none, or it is of another format.
    """
    try:
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError):
        raise Unavailable("The folder of the query model is missing or of another version: export it again.") from None


def import_openvino() -> Any:
    """OpenVINO, silenced: its package reports each import to a statistics server, and this platform reports nothing."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]  # None: "not installed"
    import openvino

    return openvino
