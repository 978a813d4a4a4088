"""The graph of a dataset: derived from its tables by fixed rules, kept as two Parquet files, opened with ladybug.

The Parquet files are the truth; the database file is a product of them, because its format changes between releases.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.dataset import words
from shared.dataset.numbered import Edges, Ids, Names, pieces
from shared.dataset.rows import DELETED, MEMBER, NodeRow, node_id
from shared.dataset.schemas import in_order, schema, to_arrow

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from shared.dataset.tables import Tables

RULES = "graph-3"
MIN_MENTION = 5
ROWS_AT_ONCE = 64 * 1024
_NAMED = ["product_id", "document_id", "article_number", "name", "manufacturer", "class_system", "class_id"]
_NAMED += ["group_id", "group_path"]


class _Draft:
    """What is known so far: numbers for nodes and edges, and the rows of nodes that several rows of tables name."""

    def __init__(self) -> None:
        self.ids, self.edges = Ids(), Edges()
        self.articles, self.codes = Names(), Names()
        self.apart: dict[str, set[int]] = {}
        self.owners = array("i")
        self.shared_nodes: list[NodeRow] = []

    def product(self, product: str, article: str, document: int) -> int:
        number = self.ids.once(product)
        self.owners.extend([-1] * (number - len(self.owners)))
        self.owners.append(document)
        self.articles.add(article, number)
        parts = words.number_parts(article)
        code = "".join(parts) or words.codes(article).split(" ")[-1]
        if MIN_MENTION <= len(code) <= words.MAX_CODE:
            self.codes.add(code, number)
            if parts:
                self.apart.setdefault(words.folded(article).split()[0], set()).add(len(parts))
        return number

    def shared(self, node: NodeRow) -> int:
        """The number of a node that several rows name; the first one says what it is called."""
        number, first = self.ids.there(node.id)
        if first:
            self.shared_nodes.append(node)
        return number

    def named(self, articles: list[str], documents: list[int]) -> list[list[int]]:
        """The products of each article number: the document's own, else those of any document."""
        found: list[list[int]] = [[] for _ in articles]
        for at, known in self.articles.find(articles):
            own = [product for product in known if self.owners[product] == documents[at]]
            found[at] = own or known
        return found


class Graph:
    """The nodes and edges of a dataset, each once, in the order of their keys, in tables of `ROWS_AT_ONCE` rows."""

    def __init__(self, tables: Tables, draft: _Draft) -> None:
        self._tables = tables
        self._shared = sorted(draft.shared_nodes, key=lambda node: node.id)
        self._ids, places = draft.ids.finish()
        self._edges, self._words = draft.edges.finish(places)

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of nodes and of edges."""
        return len(self._ids), len(self._edges)

    def nodes(self) -> Iterator[pa.Table]:
        """What nodes are called is read again from the tables, piece by piece."""
        for piece in pieces(len(self._ids), ROWS_AT_ONCE):
            first, last = self._ids[[piece.start, piece.stop - 1]].astype(str).tolist()
            yield self._nodes_of(first, last)

    def edges(self) -> Iterator[pa.Table]:
        """What nodes have to do with each other, by their ids."""
        import pyarrow as pa

        said = pa.array(self._words, pa.string())
        for piece in pieces(len(self._edges), ROWS_AT_ONCE):
            source, kind, target, label = self._edges[piece].T
            columns = {
                "source": _texts(self._ids[source]),
                "target": _texts(self._ids[target]),
                "kind": said.take(pa.array(kind)),
                "label": said.take(pa.array(label)),
            }
            yield pa.table([columns[name] for name in schema("edges").names], schema=schema("edges"))

    def _nodes_of(self, first: str, last: str) -> pa.Table:
        """The nodes whose ids lie between these two."""
        low, high = (bisect_left(self._shared, bound, key=lambda node: node.id) for bound in (first, last + "\0"))
        documents = [
            NodeRow(row["document_id"], "document", row["title"] or row["path"], "", row["document_id"])
            for row in self._between("documents", "document_id", first, last, ["path", "title"])
        ]
        products = [
            NodeRow(
                row["product_id"],
                "product",
                row["name"] or row["article_number"],
                row["article_number"],
                row["document_id"],
            )
            for row in self._between("products", "product_id", first, last, ["document_id", "article_number", "name"])
        ]
        return in_order("nodes", to_arrow("nodes", [*documents, *products, *self._shared[low:high]]))

    def _between(self, name: str, key: str, first: str, last: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        inside = [(key, ">=", first), (key, "<=", last)]
        for batch in self._tables.where(name, inside, [key, *columns]).to_batches():
            yield from batch.to_pylist()


def _texts(ids: NDArray[np.bytes_]) -> pa.Array:
    import pyarrow as pa

    return pa.array(ids, pa.binary()).cast(pa.string())


def derive(tables: Tables) -> Graph:
    """Nodes and edges of everything in the tables."""
    draft = _Draft()
    for batch in _batches(tables, "documents", ["document_id"]):
        for row in batch:
            draft.ids.there(row["document_id"])
    for batch in _batches(tables, "groups"):
        _groups(draft, batch)
    for batch in _batches(tables, "products", _NAMED):
        _products(draft, batch)
    for batch in _batches(tables, "relations"):
        _relations(draft, batch)
    if len(draft.codes):
        for batch in _batches(tables, "chunks", ["document_id", "text"]):
            _mentions(draft, batch)
    return Graph(tables, draft)


def _batches(tables: Tables, name: str, columns: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    for piece in tables.in_order(name):
        for batch in (piece.select(columns) if columns else piece).to_batches(max_chunksize=1024):
            yield batch.to_pylist()


def _group(document: str, code: str) -> str:
    return node_id("group", document, code)


def _groups(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        document, code = row["document_id"], row["code"]
        group = draft.shared(NodeRow(_group(document, code), "group", row["name"], code, document))
        if row["parent"] and row["parent"] != code:
            draft.edges.add(group, "SUBGROUP_OF", draft.ids.named(_group(document, row["parent"])))


def _products(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        owner = draft.ids.named(row["document_id"])
        product = draft.product(row["product_id"], row["article_number"], owner)
        draft.edges.add(owner, "CONTAINS", product)
        if maker := row["manufacturer"].strip():
            node = node_id("manufacturer", words.folded(maker))
            draft.edges.add(product, "MADE_BY", draft.shared(NodeRow(node, "manufacturer", maker)))
        if code := row["class_id"]:
            node = node_id("class", row["class_system"], code)
            draft.edges.add(product, "IN_CLASS", draft.shared(NodeRow(node, "class", row["class_system"], code)))
        if code := row["group_id"]:
            document = row["document_id"]
            node = NodeRow(_group(document, code), "group", row["group_path"] or code, code, document)
            draft.edges.add(product, "IN_GROUP", draft.shared(node))


def _relations(draft: _Draft, rows: list[dict[str, Any]]) -> None:
    owners = [draft.ids.named(row["document_id"]) for row in rows]
    sources = draft.named([row["article_number"] for row in rows], owners)
    targets = draft.named([row["target"] for row in rows], owners)
    for row, named, meant in zip(rows, sources, targets, strict=True):
        if row["kind"] == DELETED:
            continue  # which products it means depends on their suppliers
        for source in named:
            if row["kind"] == MEMBER:
                draft.edges.add(source, "IN_GROUP", draft.ids.named(_group(row["document_id"], row["target"])))
                continue
            for target in meant or [draft.shared(_unknown(row["target"]))]:
                draft.edges.add(source, "REFERS_TO", target, row["kind"])


def _unknown(article: str) -> NodeRow:
    """An article that products refer to and no document describes."""
    return NodeRow(node_id("article", article), "article", article, article)


def _mentions(draft: _Draft, rows: list[dict[str, Any]]) -> None:
    owners, codes = array("i"), list[str]()
    for row in rows:
        said = words.codes(row["text"]).split()
        if draft.apart:
            said += words.written_apart(row["text"], draft.apart)
        codes += said
        owners.extend([draft.ids.named(row["document_id"])] * len(said))
    for at, products in draft.codes.find(codes):
        for product in products:
            if draft.owners[product] != owners[at]:
                draft.edges.add(owners[at], "MENTIONS", product)


def parquet(table: pa.Table) -> bytes:
    """The table as Parquet, the same bytes for the same rows."""
    return parquet_of(table.schema, [table])


def parquet_of(shape: pa.Schema, tables: Iterable[pa.Table]) -> bytes:
    """The tables as one of Parquet, the same bytes for the same rows where each but the last has `ROWS_AT_ONCE`."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    with pq.ParquetWriter(sink, shape, compression="zstd", compression_level=6, store_schema=False) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROWS_AT_ONCE)
    return sink.getvalue()


def build_graph(nodes: Path, edges: Path, target: Path) -> None:
    """Make the ladybug database at `target` from the two Parquet files; blocking."""
    import ladybug

    # Ladybug reserves the address space of the largest database at once: eight terabytes, where nothing is said.
    most = 2 ** max(32, (128 * (nodes.stat().st_size + edges.stat().st_size)).bit_length())
    database = ladybug.Database(str(target), max_db_size=most)
    connection = ladybug.Connection(database)
    try:
        connection.execute(
            "CREATE NODE TABLE Node(id STRING PRIMARY KEY, kind STRING, name STRING, number STRING, document_id STRING)"
        )
        connection.execute("CREATE REL TABLE Edge(FROM Node TO Node, kind STRING, label STRING)")
        connection.execute(f"COPY Node FROM '{_quoted(nodes)}'")
        connection.execute(f"COPY Edge FROM (LOAD FROM '{_quoted(edges)}' RETURN source, target, kind, label)")
    finally:
        connection.close()
        database.close()


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")
