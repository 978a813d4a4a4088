"""Tools over the dataset. Each is one call of the library; bounds keep an answer within an agent's budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from servers.instance.search import Library
from shared.contracts.instance import DatasetAnswer, DocumentAnswer, DocumentList, SearchAnswer, TableAnswer
from shared.dataset.filters import Filters

Query = Annotated[str, Field(min_length=1, max_length=1000, description="A question or words, German or English.")]
DocumentKey = Annotated[
    str, Field(min_length=1, max_length=900, description="A document_id or path from a citation, or a file's name.")
]
Statement = Annotated[str, Field(min_length=1, max_length=8000)]
Detail = Annotated[Literal["concise", "detailed"], Field(description="'detailed' gives passages uncut.")]
SCOPE = "dataset:read"


def register(server: Any, library: Callable[[], Library]) -> None:
    """Offers the tools on `server`; `library()` is the opened dataset."""

    async def search(
        query: Query,
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
        language: Annotated[Literal["de", "en"] | None, Field(description="Only passages in this language.")] = None,
        kind: Annotated[
            Literal["text", "table", "list", "product", "ocr", "contents"] | None, Field(description="Only this kind.")
        ] = None,
        document_id: Annotated[
            str | None, Field(max_length=900, description="Only this document: its id, path or name.")
        ] = None,
        page: Annotated[int | None, Field(ge=1, description="Only this page.")] = None,
        detail: Detail = "concise",
    ) -> SearchAnswer:
        """Find passages that answer a question, by meaning and by words (hybrid), each with its source to cite.

        Use it first. Article numbers and GTINs are found however they are separated; where no passage holds one, the
        note says so and names those that begin so, hold it or are like it. It names words too that no hit holds: then
        the answer may not be there. For counts, prices or comparisons over many
        products use query_table; to read on around a hit use get_document.
        """
        filters = Filters(language=language, kind=kind, document=document_id, page=page)
        return await library().search(query, limit, filters, detail == "detailed")

    async def get_document(
        document_id: DocumentKey,
        start: Annotated[int, Field(ge=0, description="First passage; next_start of the answer before.")] = 0,
        limit: Annotated[int, Field(ge=1, le=50)] = 15,
    ) -> DocumentAnswer:
        """Read a document in order, some passages at a time. Use it to read on around a hit of search."""
        return await library().document(document_id, start, limit)

    async def list_documents(
        cursor: Annotated[str | None, Field(max_length=200)] = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 30,
        prefix: Annotated[str, Field(max_length=900, description="Only paths that begin with this.")] = "",
    ) -> DocumentList:
        """List every file that was taken in, with its state; files that could not be read carry the reason.

        Use it to see what the dataset covers, what is missing from it, and which of two files is newer (`dated`).
        """
        return await library().documents(cursor, limit, prefix)

    async def query_table(sql: Statement, limit: Annotated[int, Field(ge=1, le=500)] = 50) -> TableAnswer:
        """Answer with numbers: one read-only SELECT over the tables documents, chunks, products, features, prices,
        groups, relations and media.

        Use it for counting, filtering and comparing products, prices for a quantity at a date, accessories and
        successors; describe_dataset says what the tables hold and how they join. Only one SELECT is allowed; amounts
        are exact decimals. Documents separate article numbers in their own ways: to find all of RK-4-GR compare
        regexp_replace(upper(article_number), '[^A-Z0-9]', '', 'g') = 'RK4GR', else a newer price may be missed.
        """
        return await library().sql(sql, limit)

    async def query_graph(cypher: Statement, limit: Annotated[int, Field(ge=1, le=500)] = 50) -> TableAnswer:
        """Follow relations: one read-only Cypher statement over (:Node {id, kind, name, number}) and
        -[:Edge {kind, label}]->. number is an article number, as its document writes it, or a code; MENTIONS leads from
        a document to a product; REFERS_TO has labels such as accessories, and leads to a node of kind article where no
        document describes what is referred to.

        Use it for questions such as which products share a manufacturer, which documents mention a product or what its
        accessories are; describe_dataset lists the kinds of nodes and edges.
        """
        return await library().cypher(cypher, limit)

    async def describe_dataset() -> DatasetAnswer:
        """Describe what the dataset holds: counts, languages, tables with columns, kinds in the graph, failures.

        Use it before query_table or query_graph.
        """
        return await library().describe()

    titles = {
        search: "Search",
        get_document: "Read a document",
        list_documents: "List documents",
        query_table: "Query tables (SQL)",
        query_graph: "Query the graph (Cypher)",
        describe_dataset: "Describe the dataset",
    }
    for tool, title in titles.items():
        server.tool(tool, scope=SCOPE, title=title, read_only=True, idempotent=True, open_world=False)
