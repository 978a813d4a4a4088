"""Reading a dataset, on a read-only file system too: search, documents, SQL, Cypher.

async with DatasetReader(root, scratch=folder) as reader:
    hits = await reader.search("Schutzart IP65", vector, limit=10, filters=Filters(language="de"))
    table = await reader.sql("SELECT count(*) AS n FROM products", limit=100, timeout=5)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from shared.dataset import graph, naming, search
from shared.dataset.bolt import GraphServer
from shared.dataset.filters import Filters, checked_text
from shared.dataset.manifest import Manifest, committed
from shared.dataset.places import Options, Place
from shared.dataset.queries import MAX_CHARS, QueryWorkers
from shared.dataset.rows import DocumentRow
from shared.dataset.schemas import ROWS, documents_of, in_order
from shared.dataset.statements import CYPHER, SQL, reading
from shared.dataset.tables import Tables
from shared.errors import DeadlineExceeded, InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_LIMIT = 1_000
SAMPLES = 2
SAMPLE_CHARS = 80
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers, with what a citation needs. `score` orders hits of one search and means nothing else.

    `similarity` is the cosine to the query, None where the passage was not found by its vector. `matched` says by what
    it was found: meaning, text (stemmed words), words (parts of compounds), codes (article numbers and the like).
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
    """A query's answer: JSON-safe values. `truncated`: there was more than `limit` rows or 200,000 characters."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    truncated: bool


class DatasetReader:
    """A dataset's committed or frozen version, read-only.

    Args:
        root: the folder (or URI) that holds `manifest.json`.
        scratch: an own, writable folder for the graph file that is built on entering; without it `cypher` is
            unavailable.
        storage_options: gives credentials where `root` is a URI.
        graph_server: a Neo4j that holds the dataset's graph, in place of the file.

    Raises on entering:
        NotFound: no version is visible at `root`.
    """

    manifest: Manifest

    def __init__(
        self, root: Path | str, scratch: Path | None = None, storage_options: Options = dict,
        graph_server: GraphServer | None = None,
    ) -> None:  # fmt: skip
        self.root = str(root)
        self.scratch = scratch
        self._graph_server = graph_server
        self._place = Place(self.root, storage_options)
        self._sql: QueryWorkers | None = None
        self._cypher: QueryWorkers | None = None
        self._about: dict[str, object] | None = None
        self._passages: search.Passages | None = None

    async def __aenter__(self) -> Self:
        self.manifest = manifest = await asyncio.to_thread(committed, self._place)
        self._tables = Tables(self._place, manifest.pins.tables)
        self._ledger = await asyncio.to_thread(self._by_path)
        self._sql = QueryWorkers(self._sql_config())
        if manifest.counts.chunks:
            self._passages = await search.opened(self._place, manifest)
        if self._graph_server:
            there = {"engine": "bolt", "dataset": manifest.dataset_digest, **asdict(self._graph_server)}
            self._cypher = QueryWorkers(there)
        elif self.scratch:
            target = self.scratch / "graph.lbug"
            await asyncio.to_thread(self._build_graph, self.scratch, target)
            self._cypher = QueryWorkers({"engine": "cypher", "database": str(target)})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for workers in (self._sql, self._cypher):
            if workers:
                await workers.close()
        if self._passages is not None:
            self._passages.close()

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
            DeadlineExceeded: it took longer than `timeout` seconds.
        """
        text = checked_text(query_text, "query_text")
        vector = None if query_vector is None else self._checked_vector(query_vector)
        if self._passages is None:
            return []
        try:
            async with asyncio.timeout(timeout):
                found = await search.hybrid(self._passages, text, vector, _limited(limit), filters or Filters())
        except TimeoutError:
            raise DeadlineExceeded(f"The search was stopped after {timeout:g} seconds.") from None
        return [_hit(each) for each in found]

    async def document(self, document: str) -> DocumentRow:
        """A document by id or path, or by what a person calls it: `naming.meant`.

        Raises:
            NotFound: none is called so, or several are; the sentence names them.
        """
        import pyarrow.dataset as ds

        key = checked_text(document, "document")
        for column in ("document_id", "path"):
            rows = self._ledger.filter(ds.field(column) == key)
            if rows.num_rows:
                return documents_of(rows)[0]
        paths, titles = (self._ledger[column].to_pylist() for column in ("path", "title"))
        places, whole = await asyncio.to_thread(naming.meant, key, paths, titles)
        if whole and len(places) == 1:
            return documents_of(self._ledger.slice(places[0], 1))[0]
        if places:
            told = ", ".join(paths[place] for place in places[: naming.MOST])
            more = ", …" if len(places) > naming.MOST else ""
            raise NotFound(
                f"{'Several documents are' if whole else 'No document is'} called so. Name one of: {told}{more}"
            )
        raise NotFound("There is no such document. list_documents or a search hit names the ones there are.")

    async def passages(self, document: str, *, start: int = 0, limit: int = 50) -> list[Passage]:
        """A document's passages from the `start`-th on, in reading order. Raises NotFound."""
        row = await self.document(document)
        chunks = await asyncio.to_thread(self._tables.read, "chunks", document_id=row.document_id)
        chosen = in_order("chunks", chunks).slice(max(0, start), _limited(limit))
        names = list(Passage.__slots__)
        return [Passage(**values) for values in chosen.select(names).to_pylist()]

    def _by_path(self) -> pa.Table:
        return self._tables.read("documents").sort_by([("path", "ascending"), ("document_id", "ascending")])

    async def documents(self, cursor: str | None = None, limit: int = 50, prefix: str = "") -> DocumentPage:
        """The ledger by path, page by page; only paths that begin with `prefix`.

        Raises:
            InvalidInput: the cursor names no document of this list.
        """
        import pyarrow.compute as pc

        start, ledger = 0, self._ledger
        if prefix:
            ledger = ledger.filter(
                pc.call_function(
                    "starts_with", [ledger["path"]], pc.MatchSubstringOptions(checked_text(prefix, "prefix"))
                )
            )
        if cursor:
            at = ledger["document_id"].index(checked_text(cursor, "cursor")).as_py()
            if at < 0:
                raise InvalidInput("This cursor fits no page: leave it out to begin at the first.", field="cursor")
            start = at + 1
        page = documents_of(ledger.slice(start, _limited(limit)))
        more = ledger.num_rows > start + len(page)
        return DocumentPage(tuple(page), page[-1].document_id if more and page else None)

    async def sql(
        self, query: str, *, limit: int = 200, timeout: float = 10.0, chars: int = MAX_CHARS,  # noqa: ASYNC109
    ) -> Table:  # fmt: skip
        """The answer of one SELECT over documents, chunks, products, features, prices, groups, relations and media.

        Raises:
            InvalidInput: it is not one SELECT over these tables, or the engine refuses it; the message says why.
            DeadlineExceeded: it was stopped at `timeout` seconds.
        """
        return await _ask(self._sql, reading(checked_text(query, "query"), SQL), limit, timeout, chars)

    async def cypher(
        self, query: str, *, limit: int = 200, timeout: float = 10.0, chars: int = MAX_CHARS,  # noqa: ASYNC109
    ) -> Table:  # fmt: skip
        """The answer of one reading Cypher statement.

        The graph is (:Node {id, kind, name, number, document_id})-[:Edge {kind, label}]->(:Node).

        Raises:
            InvalidInput, DeadlineExceeded: as `sql`.
            Unavailable: the reader was opened without a scratch folder, or its Neo4j does not answer or holds another
                graph.
        """
        return await _ask(self._cypher, reading(checked_text(query, "query"), CYPHER), limit, timeout, chars)

    async def whole(self, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """A whole table in the order of its keys, or some of its columns in no order; the rest of this class answers in
        bounded pieces."""

        def read() -> pa.Table:
            import pyarrow as pa

            if columns:
                return self._tables.read(table, list(columns))
            return pa.concat_tables(list(self._tables.in_order(table))).combine_chunks()

        return await asyncio.to_thread(read)

    async def describe(self) -> dict[str, object]:
        """What the dataset holds: counts, languages, and the tables with their columns and a sample of each.

        `tables` is name → {`rows`, `columns`: name → type, `sample`: rows with their texts cut}.
        """
        if self._about is None:
            tables = await asyncio.to_thread(lambda: {name: self._describe(name) for name in ROWS})
            counts, languages = self.manifest.counts.model_dump(), dict(self.manifest.languages)
            self._about = {"counts": counts, "languages": languages, "tables": tables}
        return self._about

    def _describe(self, name: str) -> dict[str, object]:
        table = self._tables.rows(name)
        sample = [
            {key: value[:SAMPLE_CHARS] if isinstance(value, str) else value for key, value in row.items()}
            for row in table.head(SAMPLES).to_pylist()
        ]
        columns = {field.name: str(field.type) for field in table.schema}
        return {"rows": table.count_rows(), "columns": columns, "sample": sample}

    def _sql_config(self) -> dict[str, Any]:
        tables = {
            name: {"address": self._place.at(f"tables/{name}"), "version": version}
            for name, version in self.manifest.pins.tables.items()
            if name in ROWS
        }
        return {"engine": "sql", "tables": tables, "options": self._place.options()}

    def _build_graph(self, scratch: Path, target: Path) -> None:
        files = []
        for kind in ("nodes", "edges"):
            name = f"{self.manifest.pins.graph}/{kind}.parquet"
            path = self._place.folder / name if self._place.folder else scratch / f"{kind}.parquet"
            if not self._place.folder:
                path.write_bytes(self._place.read(name) or b"")
            files.append(path.resolve())
        target.unlink(missing_ok=True)
        graph.build_graph(files[0], files[1], target)

    def _checked_vector(self, vector: np.ndarray | Sequence[float]) -> np.ndarray:
        import numpy as np

        with np.errstate(over="ignore"):
            checked = np.asarray(vector, dtype=np.float32).reshape(-1)
        if checked.size != self.manifest.model.dimension or not np.isfinite(checked).all():
            raise InvalidInput(
                f"A query vector has {self.manifest.model.dimension} finite numbers.", field="query_vector"
            )
        return checked


async def _ask(workers: QueryWorkers | None, query: str, limit: int, deadline: float, chars: int) -> Table:
    if workers is None:
        raise Unavailable("The graph is not open here: the reader was given no folder of its own to build it in.")
    answer = await workers.ask(query, _limited(limit), deadline, chars)
    return Table(tuple(answer["columns"]), tuple(tuple(row) for row in answer["rows"]), answer["truncated"])


def _hit(found: search.Found) -> Hit:
    values = {name: found.row[name] for name in search.COLUMNS}
    return Hit(**values, score=found.score, similarity=found.similarity, matched=tuple(found.matched))


def _limited(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"limit is between 1 and {MAX_LIMIT}.", field="limit")
    return limit
