"""The instance's one service: the dataset and the query encoder, opened once, asked by tools and console alike."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.instance.products.classes import Neighbour
from servers.instance.products.numbers import Numbered
from servers.instance.products.shelf import ProductShelf
from shared.answers import ANSWER_CHARS, fitting
from shared.contracts.instance import (
    Citation,
    DatasetAnswer,
    DatasetColumn,
    DatasetTable,
    Document,
    DocumentAnswer,
    DocumentList,
    Hit,
    InstanceConfig,
    Passage,
    SearchAnswer,
    TableAnswer,
)
from shared.dataset import reader as reading
from shared.dataset import words
from shared.dataset.filters import Filters
from shared.dataset.reader import DatasetReader, Table
from shared.dataset.rows import DocumentRow
from shared.errors import InvalidInput, PlatformError, Unavailable

if TYPE_CHECKING:
    from shared.dataset.bolt import GraphServer
    from shared.encoder import Encoder

CONCISE_CHARS = 700
QUERY_DEADLINE_S = 10.0
MOST_SIMILAR = 5
"""Numbers that are told, and looked for, in place of one that is not there."""
NOTHING = "Nothing found. Drop filters, or use other words."
NO_TEXT = "This dataset holds no text, so nothing can be found: list_documents says why its files could not be read."
UNKNOWN_CODE = ": no passage holds this number, type or size. The hits are only like it."
COMPARES = (
    "Search neither compares nor counts: for prices, the cheapest and counts use query_table, for at least or at most "
    "find_products."
)
FILTERED = "That is so among what the filters let through: search without them too."
NO_PATH = (
    "No path begins so. Paths begin in the folder that was given as source, and capitals count; query_table finds a "
    "part of a name: SELECT path FROM documents WHERE path ILIKE '%part%'."
)
SOME_UNKNOWN = ": no passage holds this number, type or size."
SIMILAR_NUMBERS = ": no passage holds the number as it is asked for. These begin so, hold it or are like it."
SAID_BY_NONE = ": in none of these hits. They may not answer, or say it in other words."
ONLY_MEANING = "No passage holds these words: these are only the nearest in meaning and may not answer."
ABOUT = {
    "documents": "One row a file. document_id joins every table.",
    "chunks": "One row a passage, as search finds it. product_id is that of the product it describes, else empty.",
    "products": "One row a product of a document: an article that several documents name has several, with the same "
    "gtin and article_number, but for how each separates it. product_id joins features, prices, media and chunks. That "
    "a product is discontinued is no column: features say it (name Status; of BMEcat with the value_id old_stock), "
    "chunks, followup in relations, and lists. group_id is empty where the catalogue gives groups in relations of kind "
    "member; group_path is not filled: parent in groups, SUBGROUP_OF in the graph lead up.",
    "features": "One row a value of a product's feature. value is as written, number the same as a number, null of a "
    "range (10...30), which find_products compares; unit is as the source writes it, also a code of UN/ECE "
    "Recommendation 20 such as MMT (mm).",
    "prices": "One row a price. An article may have some in several documents: of those that hold on the day, the "
    "newest valid_from, then the newest dated of documents. amount is for quantity units, null is one. Of a scale, the "
    "row with the largest lower_bound that is not over the ordered quantity holds; null is no bound, as "
    "coalesce(lower_bound, 0). valid_from and valid_to are ISO 8601, empty where open; currency is empty where a list "
    "says it elsewhere.",
    "groups": "The catalogues' own structure. code is a group's key in its document, parent the code above it.",
    "relations": "article_number to target: a group's code where kind is member, the supplier whose catalogues lose "
    "the article where it is deleted, else an article number. Kinds of BMEcat: accessories, sparepart, followup "
    "(successor), similar, mandatory, select, consists_of, base_product. Of tables too: fits, replaces.",
    "media": "Files that a product names, not the files themselves; a data sheet has the purpose data_sheet or MD22.",
}
"""What an agent has to know of a table to ask it rightly, beside the names of its columns."""
_AROUND = 250  # characters of a passage's or a document's other fields


class Library:
    """One customer's dataset, ready to be asked."""

    def __init__(
        self, config: InstanceConfig, reader: DatasetReader, encoder: Encoder, folder: Path, deadline_s: float,
    ) -> None:  # fmt: skip
        self.config = config
        self.dataset_digest = reader.manifest.dataset_digest
        self._reader = reader
        self._encoder = encoder
        self._deadline_s = deadline_s
        self.products = ProductShelf(reader, folder)

    async def search(self, query: str, limit: int, filters: Filters, detailed: bool) -> SearchAnswer:
        """Hybrid search: meaning and words, exact article numbers first.

        Raises:
            InvalidInput: there is no word in the query.
            NotFound: the document that the filters name is not there.
        """
        if not query.strip():
            raise InvalidInput("The query is blank: give a question, words or an article number.", field="query")
        if filters.document is not None:
            filters = replace(filters, document=(await self._reader.document(filters.document)).document_id)
        found = await self._found(query, limit, filters)
        similar = await self._similar(query, await self._missing(query, found, filters))
        similar = similar or await self._slip(query, found)
        completed = _completed(query, similar)
        if completed != query:
            found = await self._found(completed, limit, filters) or found
        hits, room = [], ANSWER_CHARS
        for each in found:
            room -= len(each.text) + _AROUND
            hits.append(_hit(each, detailed and room >= 0))
        note = self._note(query, hits, similar)
        if note not in ("", NOTHING, NO_TEXT) and filters != Filters():
            note = f"{note} {FILTERED}"
        if hits and words.compares(query):
            note = f"{note} {COMPARES}".lstrip()
        return SearchAnswer(hits=hits, note=note)

    async def _found(self, query: str, limit: int, filters: Filters) -> list[reading.Hit]:
        vectors = await asyncio.to_thread(self._encoder.encode, [query], "query")
        return await self._reader.search(query, vectors[0], limit=limit, filters=filters, timeout=self._deadline_s)

    async def _missing(self, query: str, found: Sequence[reading.Hit], filters: Filters) -> dict[str, str]:
        """What the query names, or may give a part of, and no passage holds: as it is written, and its code."""
        asked = words.named(query) | words.parts(query)
        said = {code for each in found for code in _codes(each)} if asked else set()
        unseen = {
            each: codes
            for each, codes in asked.items()
            if codes and said.isdisjoint(codes.split()) and not any(words.stands(each, hit.text) for hit in found)
        }
        return {each: codes.split()[0] for each, codes in unseen.items() if not await self._holds(codes, filters)}

    async def _similar(self, query: str, missing: Mapping[str, str]) -> dict[str, list[Numbered]]:
        """The numbers of products that may be meant by what no passage holds; one more than are told."""
        if not missing:
            return {}
        numbers, certain = await self.products.numbers(), words.named(query)
        alone = words.only_codes(query)
        return {
            asked: numbers.meant(code, MOST_SIMILAR + 1, anywhere=alone or asked in certain)
            for asked, code in missing.items()
        }

    async def _slip(self, query: str, found: Sequence[reading.Hit]) -> dict[str, list[Numbered]]:
        """The numbers that are like a question that is one number, of which passages hold the beginning alone."""
        asked = words.whole(query)
        code = words.written_together(asked)
        if not code or any(words.stands(asked, hit.text) or code in _codes(hit) for hit in found):
            return {}
        meant = (await self.products.numbers()).meant(code, MOST_SIMILAR + 1)
        return {asked: meant} if meant and all(words.written_together(each.number) != code for each in meant) else {}

    def _note(self, query: str, hits: list[Hit], similar: Mapping[str, Sequence[Numbered]]) -> str:
        """What hits do not show by themselves: vectors always find something, also where the answer is not there.

        Args:
            similar: what no passage holds, and the numbers that may be meant.
        """
        if not hits:
            return NOTHING if self._reader.manifest.counts.chunks else NO_TEXT
        told = [f"{asked} → {_listed(numbers)}{SIMILAR_NUMBERS}" for asked, numbers in similar.items() if numbers]
        named = words.named(query)
        unknown = [
            asked for asked, numbers in similar.items() if not numbers and (asked in named or words.only_codes(query))
        ]
        if unknown:
            told.append(f"{', '.join(unknown)}{UNKNOWN_CODE if len(unknown) >= len(named) else SOME_UNKNOWN}")
        if told:
            return " ".join(told)
        if all(each.matched == ["meaning"] for each in hits):
            return ONLY_MEANING
        unsaid = [each for each in words.telling(query) if not any(_says(hit, each) for hit in hits)]
        return f"{', '.join(unsaid)}{SAID_BY_NONE}" if unsaid else ""

    async def _holds(self, codes: str, filters: Filters) -> bool:
        """Whether a passage holds one of the codes. They are asked for alone: other words may bring better hits."""
        found = await self._reader.search(codes, None, limit=20, filters=filters, timeout=self._deadline_s)
        return any("codes" in each.matched for each in found)

    async def neighbours(self, text: str, limit: int) -> list[Neighbour]:
        """The products whose passages are most like a text, each once, the most similar first."""
        vectors = await asyncio.to_thread(self._encoder.encode, [text], "query")
        filters = Filters(kind="product")
        hits = await self._reader.search(text, vectors[0], limit=limit, filters=filters, timeout=self._deadline_s)
        best: dict[str, float] = {}
        for hit in hits:
            if hit.product_id and hit.similarity is not None:
                best[hit.product_id] = max(hit.similarity, best.get(hit.product_id, 0.0))
        return [Neighbour(key, value) for key, value in sorted(best.items(), key=lambda each: (-each[1], each[0]))]

    async def document(self, document_id: str, start: int, limit: int) -> DocumentAnswer:
        """A document by id, path or name with `limit` passages from `start`.

        Raises:
            NotFound: it is not there, or several are called so.
            InvalidInput: `start` is after its last passage.
        """
        row = await self._reader.document(document_id)
        if start and start >= row.chunks:
            raise InvalidInput(f"The document has {row.chunks} passages, from 0: start before its end.", field="start")
        passages = await self._reader.passages(row.document_id, start=start, limit=limit)
        passages = fitting(passages, lambda each: len(each.text) + _AROUND)
        more = start + len(passages) < row.chunks
        return DocumentAnswer(
            document=_document(row),
            passages=[
                Passage(
                    chunk_id=each.chunk_id,
                    ordinal=each.ordinal,
                    page=each.page or None,
                    heading=each.heading_path or None,
                    kind=each.kind,
                    text=each.text,
                )
                for each in passages
            ],
            next_start=start + len(passages) if more and passages else None,
        )

    async def documents(self, cursor: str | None, limit: int, prefix: str = "") -> DocumentList:
        """The ledger, page by page: every file that was found, read or not."""
        page = await self._reader.documents(cursor, limit, prefix)
        shown = fitting(page.documents, _chars)
        following = shown[-1].document_id if len(shown) < len(page.documents) else page.next_cursor
        note = NO_PATH if prefix and not shown and cursor is None else ""
        return DocumentList(documents=[_document(each) for each in shown], next_cursor=following, note=note)

    async def sql(self, query: str, limit: int) -> TableAnswer:
        """One SELECT over the dataset's tables."""
        return _table(await self._reader.sql(query, limit=limit, timeout=self._deadline_s, chars=ANSWER_CHARS))

    async def cypher(self, query: str, limit: int) -> TableAnswer:
        """One reading Cypher statement over the graph."""
        return _table(await self._reader.cypher(query, limit=limit, timeout=self._deadline_s, chars=ANSWER_CHARS))

    async def describe(self) -> DatasetAnswer:
        """Counts, tables with their columns, kinds of nodes and edges, reasons of failures."""
        manifest = self._reader.manifest
        about: Any = await self._reader.describe()
        failures = await self.sql(
            "SELECT failure_code, count(*) AS n FROM documents WHERE status = 'failed' "
            "GROUP BY failure_code ORDER BY failure_code",
            100,
        )
        nodes, edges, graph_ready = await self._graph_kinds()
        return DatasetAnswer(
            customer_id=self.config.customer_id,
            company_name=self.config.company_name,
            dataset_digest=manifest.dataset_digest,
            fingerprint=manifest.fingerprint,
            embedding_model=manifest.model.model,
            counts=manifest.counts.model_dump(),
            languages=manifest.languages,
            tables=_tables(about),
            node_kinds=nodes,
            edge_kinds=edges,
            failures={str(code): int(number or 0) for code, number in failures.rows},
            graph_ready=graph_ready,
        )

    async def _graph_kinds(self) -> tuple[dict[str, int], dict[str, int], bool]:
        try:
            nodes = await self.cypher("MATCH (n:Node) RETURN n.kind AS kind, count(*) AS n ORDER BY kind", 100)
            edges = await self.cypher("MATCH ()-[e:Edge]->() RETURN e.kind AS kind, count(*) AS n ORDER BY kind", 100)
        except Unavailable:
            return {}, {}, False
        return (
            {str(kind): int(number or 0) for kind, number in nodes.rows},
            {str(kind): int(number or 0) for kind, number in edges.rows},
            True,
        )


@asynccontextmanager
async def library(
    dataset: Path, dataset_digest: str, encoder: Encoder, config: InstanceConfig, graph: GraphServer | None = None,
    deadline_s: float = QUERY_DEADLINE_S,
) -> AsyncIterator[Library]:  # fmt: skip
    """Opens a dataset; what it writes (the graph file) goes to an own temporary folder and away with it.

    Args:
        graph: a Neo4j that holds the graph, in place of the file.
        deadline_s: longest time of one query.

    Raises:
        PlatformError: the dataset is not the one with this digest, or cannot be opened.
    """
    scratch = Path(tempfile.mkdtemp(prefix="instance-"))
    try:
        async with DatasetReader(dataset, scratch=scratch, graph_server=graph) as reader:
            if reader.manifest.dataset_digest != dataset_digest:
                raise PlatformError("The dataset here is not the one that is asked for. Deploy the image again.")
            yield Library(config, reader, encoder, scratch, deadline_s)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _chars(row: DocumentRow) -> int:
    return len(row.path + (row.title or row.path) + row.failure_reason) + _AROUND


def _hit(found: Any, detailed: bool) -> Hit:
    cut = not detailed and len(found.text) > CONCISE_CHARS
    return Hit(
        chunk_id=found.chunk_id,
        text=found.text[:CONCISE_CHARS].rstrip() + " …" if cut else found.text,
        cut=cut,
        kind=found.kind,
        language=found.language,
        citation=Citation(
            document_id=found.document_id,
            title=found.title or found.path,
            path=found.path,
            page=found.page or None,
            heading=found.heading_path or None,
        ),
        score=round(found.score, 6),
        similarity=None if found.similarity is None else round(found.similarity, 4),
        matched=list(found.matched),
    )


def _says(hit: Hit, word: str) -> bool:
    """Whether a hit or what it is from holds a word, in some form (`Sensor` for `Sensoren`), also in a longer one."""
    plain = words.folded(word)
    about = words.folded(f"{hit.citation.title}\n{hit.citation.heading}\n{hit.text}")
    return plain[: max(words.MIN_WORD, len(plain) - words.ENDING)] in about


def _codes(hit: reading.Hit) -> list[str]:
    return words.passage_codes(hit.text).split()


def _completed(query: str, similar: Mapping[str, Sequence[Numbered]]) -> str:
    """The query with the numbers that may be meant in place of those that no passage holds."""
    for asked, numbers in similar.items():
        if numbers:
            meant = " ".join(each.number for each in numbers[:MOST_SIMILAR])
            query = query.replace(asked, meant) if asked in query else meant
    return query


def _listed(numbers: Sequence[Numbered]) -> str:
    named = [f"{each.number} ({each.name[:60]})" if each.name else each.number for each in numbers[:MOST_SIMILAR]]
    return ", ".join([*named, *(["…"] if len(numbers) > MOST_SIMILAR else [])])


def _table(found: Table) -> TableAnswer:
    return TableAnswer(columns=list(found.columns), rows=[list(row) for row in found.rows], truncated=found.truncated)


def _document(row: DocumentRow) -> Document:
    return Document(
        document_id=row.document_id,
        title=row.title or row.path,
        path=row.path,
        media_type=row.media_type,
        status=row.status,
        failure=row.failure_reason or None,
        failure_code=row.failure_code or None,
        language=row.language,
        dated=row.dated or None,
        pages=row.pages,
        chunks=row.chunks,
        products=row.products,
        size_bytes=row.size,
    )


def _tables(about: dict[str, Any]) -> list[DatasetTable]:
    return [
        DatasetTable(
            name=name,
            rows=int(table["rows"]),
            about=ABOUT.get(name, ""),
            columns=[DatasetColumn(name=column, type=str(kind)) for column, kind in dict(table["columns"]).items()],
        )
        for name, table in about["tables"].items()
    ]
