"""Reading a dataset, on a read-only file system too: search, documents, SQL, Cypher.

async with DatasetReader(root, scratch=folder) as reader:
    hits = await reader.search("Schutzart IP65", vector, limit=10, filters=Filters(language="de"))
    table = await reader.sql("SELECT count(*) AS n FROM products", limit=100, timeout=5)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from shared.dataset.manifest import Manifest
from shared.dataset.rows import DocumentRow

if TYPE_CHECKING:
    import numpy as np

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a hit must satisfy; None does not restrict. `document` is a document's id or path."""

    language: str | None = None
    kind: str | None = None
    document: str | None = None
    page: int | None = None
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers, with what a citation needs. `score` orders hits of one search and means nothing else.

    `similarity` is the cosine to the query, None where no query vector was given or the passage was found by words only.
    """

    chunk_id: str
    document_id: str
    path: str
    title: str
    page: int
    heading_path: str
    kind: str
    language: str
    text: str
    ordinal: int
    product_id: str
    score: float
    similarity: float | None = None
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of a document in reading order."""

    chunk_id: str
    ordinal: int
    page: int
    heading_path: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Documents in the order of their ids; `next_cursor` asks for the next ones."""

    documents: tuple[DocumentRow, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A query's answer: JSON-safe values. `truncated`: there were more rows than `limit` or more text than the bound."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    truncated: bool


class DatasetReader:
    """A dataset's committed or frozen version, read-only.

    Args:
        root: the folder (or URI) that holds `manifest.json`.
        scratch: an own, writable folder for the graph file that is built on entering; without it `cypher` is unavailable.
        storage_options: credentials where `root` is a URI.

    Raises on entering:
        NotFound: no version is visible at `root`.
    """

    manifest: Manifest

    def __init__(
        self, root: Path | str, scratch: Path | None = None, storage_options: Mapping[str, str] | None = None
    ) -> None:
        self.root = str(root)
        self.scratch = scratch

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def search(
        self,
        query_text: str,
        query_vector: np.ndarray | Sequence[float] | None = None,
        *,
        limit: int = 10,
        filters: Filters | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> list[Hit]:
        """The best passages: vectors and full text fused by rank, exact article numbers and GTINs first.

        Raises:
            InvalidInput: the vector has another length or is not finite, or the text is too long.
        """
        ...

    async def document(self, document: str) -> DocumentRow:
        """A document by id or path. Raises NotFound."""
        ...

    async def passages(self, document: str, *, start: int = 0, limit: int = 50) -> list[Passage]:
        """A document's passages from the `start`-th on, in reading order. Raises NotFound."""
        ...

    async def documents(self, cursor: str | None = None, limit: int = 50) -> DocumentPage:
        """The ledger, page by page."""
        ...

    async def sql(self, query: str, *, limit: int = 200, timeout: float = 10.0) -> Table:  # noqa: ASYNC109
        """The answer of one SELECT over the tables documents, chunks, products, features, prices, groups, relations, media.

        Raises:
            InvalidInput: it is not one SELECT over these tables, or the engine refuses it; the message says why.
            DeadlineExceeded: it was stopped at `timeout` seconds.
        """
        ...

    async def cypher(self, query: str, *, limit: int = 200, timeout: float = 10.0) -> Table:  # noqa: ASYNC109
        """The answer of one reading Cypher statement over (:Node {id, kind, name, document_id})-[:Edge {kind}]->(:Node).

        Raises:
            InvalidInput, DeadlineExceeded: as `sql`.
            Unavailable: the reader was opened without a scratch folder.
        """
        ...

    async def describe(self) -> dict[str, object]:
        """What the dataset holds: counts, languages, tables with their columns and samples, kinds of nodes and edges."""
        ...
