"""The instance: what its image is told about itself, and what its tools answer. Answers hold customer content."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest, Handle

Value = str | int | float | bool | None


class InstanceConfig(Contract):
    """Baked into the image by cradle, read by the instance at its start."""

    format: Literal[1] = 1
    customer_id: CustomerId
    company_name: str = Field(min_length=1, max_length=200)
    tag: str
    fingerprint: Digest
    dataset_digest: Digest
    parameter_version: int = Field(ge=1)


class Citation(Contract):
    """Where a passage stands."""

    document_id: str
    title: str
    path: str
    page: int | None = Field(None, description="From 1; null where the format has no pages.")
    heading: str | None = None


class Hit(Contract):
    """A passage that answers, and where it stands."""

    chunk_id: str
    text: str
    cut: bool = Field(False, description="The text was shortened; get_document or detail='detailed' shows all of it.")
    kind: str
    language: str = Field(description="`mul` where it says the same in German and English.")
    citation: Citation
    score: float = Field(description="Orders the hits of one search; means nothing across searches.")
    similarity: float | None = Field(None, description="Cosine to the query; null where another way found it.")
    matched: list[str] = Field(
        default_factory=list,
        description="What found it: text, words (parts of compounds), codes (article numbers), meaning.",
    )


class SearchAnswer(Contract):
    """The best passages first."""

    hits: list[Hit]
    note: str = Field("", description="Where the hits may not answer: why, and what to try.")


class Passage(Contract):
    """One passage of a document in reading order."""

    chunk_id: str
    ordinal: int
    page: int | None
    heading: str | None
    kind: str
    text: str


class Document(Contract):
    """One file of the sources and what became of it."""

    document_id: str
    title: str
    path: str
    media_type: str
    status: Literal["processed", "failed"]
    failure: str | None = Field(None, description="Why it could not be read.")
    failure_code: str | None = Field(None, description="The same as a fixed word.")
    language: str
    dated: str | None = Field(
        None, description="When it was made or last changed, as it says itself: which of two price lists is newer."
    )
    pages: int
    chunks: int
    products: int
    size_bytes: int


class DocumentAnswer(Contract):
    """A document with some of its passages; ask again with start=next_start for more."""

    document: Document
    passages: list[Passage]
    next_start: int | None = None


class DocumentList(Contract):
    """Documents in the order of their paths; ask again with cursor=next_cursor for more."""

    documents: list[Document]
    next_cursor: str | None = None
    note: str = Field("", description="Where nothing is listed: how to find it.")


class TableAnswer(Contract):
    """Rows of a query. `truncated`: there is more than `limit` or one answer holds, or a long text was cut.

    Then ask for fewer columns, aggregate, or go on with LIMIT and OFFSET under an ORDER BY.
    """

    columns: list[str]
    rows: list[list[Value]]
    truncated: bool


class DatasetColumn(Contract):
    """A column of a table."""

    name: str
    type: str


class DatasetTable(Contract):
    """A table that `query_table` can read."""

    name: str
    rows: int
    about: str = Field("", description="What a row is, and which columns join it to other tables.")
    columns: list[DatasetColumn]


class DatasetAnswer(Contract):
    """What the dataset holds."""

    customer_id: str
    company_name: str
    dataset_digest: Digest
    fingerprint: Digest
    embedding_model: str
    counts: dict[str, int]
    languages: dict[str, int]
    tables: list[DatasetTable]
    node_kinds: dict[str, int]
    edge_kinds: dict[str, int]
    failures: dict[str, int]
    graph_ready: bool


class UpdatePart(Contract):
    """How many bytes of an update have arrived."""

    received: int = Field(ge=0)


class DatasetVersion(Contract):
    """A version that the instance can serve."""

    dataset_digest: Digest
    origin: Literal["image", "update", "change"]
    current: bool


class DatasetVersions(Contract):
    """Every version that is here, the image's own first."""

    versions: list[DatasetVersion]


class ChangeProposed(Contract):
    """A change that waits for a decision: its handle, and how many rows it would change now."""

    change_id: Handle
    rows: int = Field(ge=0)


class ChangeShown(Contract):
    """The statement of a change that waits."""

    statement: str
    rows: int = Field(ge=0)
