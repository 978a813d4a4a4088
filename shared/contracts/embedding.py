"""Embedding: what `embed` takes and gives. `EmbeddingResult.data` holds vectors, which are customer content."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.model import Contract

InputType = Literal["query", "passage"]
Encoding = Literal["base64", "float"]
MAX_TEXTS = 2048
MAX_TEXT_CHARS = 32_768
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]


class EmbeddingRequest(Contract):
    """Texts to embed, in order. Holds customer content.

    `truncate=False` refuses a text longer than the model's limit; `True` cuts it and names it in the answer.
    """

    texts: list[Text] = Field(min_length=1, max_length=MAX_TEXTS)
    input_type: InputType = "passage"
    normalize: bool = True
    truncate: bool = False
    encoding: Encoding = "base64"


class EmbeddingResult(Contract):
    """`count` vectors of `dimension` float32 values.

    `data`: little-endian float32, row after row, in base64. `vectors`: the same as numbers, only if asked for.
    """

    model: str
    revision: str
    dimension: int = Field(gt=0)
    count: int = Field(ge=0)
    encoding: Encoding
    data: str | None = None
    vectors: list[list[float]] | None = None
    tokens: int = Field(ge=0, description="Tokens computed: the unit that is metered.")
    truncated: list[int] = Field(default_factory=list, description="Positions of texts that were cut.")
