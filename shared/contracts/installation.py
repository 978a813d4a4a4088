"""Installation parameters, the golden source: immutable versions whose fingerprint covers all that decides a result."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.contracts.model import Contract
from shared.contracts.vision import ProviderName
from shared.ids import CustomerId, Digest


class ParameterChoice(Contract):
    """What an operator may choose. Everything else follows from the models and extractors in use."""

    embedding_model: str | None = Field(None, max_length=120, description="Default: the model that cradle serves.")
    chunk_tokens: int = Field(220, ge=32, le=8192, description="Upper bound of a chunk in the model's own tokens.")
    chunk_overlap: int = Field(24, ge=0, le=1024, description="Tokens repeated between neighbours in running text.")
    ocr_provider: ProviderName | None = None
    local_only: bool = Field(True, description="No remote provider ever sees this customer's content.")


class EmbeddingParameters(Contract):
    """The embedding model, exactly."""

    model: str
    revision: str
    weights_digest: Digest
    tokenizer_digest: Digest
    dimension: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    pooling: Literal["mean", "cls"]
    query_prefix: str
    passage_prefix: str
    normalize: bool
    dtype: Literal["float32", "bfloat16", "float16"]
    backend: str


class ChunkingParameters(Contract):
    """The chunker, exactly. Sizes are in the embedding model's tokens."""

    chunker: str
    version: str
    max_tokens: int = Field(gt=0)
    overlap_tokens: int = Field(ge=0)


class OcrParameters(Contract):
    """The OCR provider, exactly."""

    provider: str
    version: str
    settings: dict[str, str | int | float | bool]


class InstallationParameters(Contract):
    """Everything that decides what a document becomes."""

    embedding: EmbeddingParameters
    chunking: ChunkingParameters
    ocr: OcrParameters
    extractors: dict[str, str] = Field(description="Extractor name → version.")
    graph_rules: str
    local_only: bool


ParameterValue = str | int | float | bool | None


class ParameterDifference(Contract):
    """One field that differs, such as `chunking.max_tokens`. None: the field is absent on that side."""

    field: str
    old: ParameterValue
    new: ParameterValue


class ParameterChange(Contract):
    """A stored version and what it changed."""

    version: int = Field(ge=1)
    fingerprint: Digest
    created_at: datetime
    current: bool = Field(description="Whether it was saved last: what get_installation_params gives unasked.")
    differences: list[ParameterDifference] = Field(description="From the version before; none for the first.")


class ParameterHistory(Contract):
    """A customer's versions, newest first; ask again with start=next_start for more."""

    versions: list[ParameterChange]
    next_start: int | None = None


class InstallationVersion(Contract):
    """One stored, immutable version of a customer's parameters."""

    customer_id: CustomerId
    version: int = Field(ge=1)
    fingerprint: Digest
    parameters: InstallationParameters
    probes_digest: Digest = Field(description="Digest of the probe texts; their vectors are stored beside.")
    created_at: datetime
