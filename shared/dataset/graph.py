"""The graph of a dataset: derived from its tables by fixed rules, kept as two Parquet files, opened with ladybug.

The Parquet files are the truth; the database file is a product of them, because its format changes between releases.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any

from shared.dataset import words
from shared.dataset.rows import EdgeRow, NodeRow, node_id
from shared.dataset.schemas import in_order, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.dataset.tables import Tables

RULES = "graph-1"
MIN_MENTION = 5
ROWS_AT_ONCE = 8192
_NAMED = ["product_id", "document_id", "article_number", "name", "manufacturer", "class_system", "class_id"]
_NAMED += ["group_id", "group_path"]


class _Draft:
    """Nodes and edges so far, in columns: as objects, those of a large catalogue would take many times the memory."""

    def __init__(self) -> None:
        self.articles: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._shared: set[str] = set()
        self._nodes = _Columns("nodes")
        self._edges = _Columns("edges")

    def node(self, node: NodeRow) -> None:
        """A node that comes once."""
        self._nodes.add(node)

    def shared(self, node: NodeRow) -> str:
        """The id of a node that several rows name; the first one says what it is called."""
        if node.id not in self._shared:
            self._shared.add(node.id)
            self._nodes.add(node)
        return node.id

    def edge(self, source: str, kind: str, target: str, label: str = "") -> None:
        self._edges.add(EdgeRow(source, target, kind, label))

    def named(self, article: str, document: str) -> list[str]:
        """The products of an article number: the document's own, else those of any document."""
        known = self.articles.get(article, [])
        own = [product for product, owner in known if owner == document]
        return own or [product for product, _ in known]

    def finish(self) -> tuple[pa.Table, pa.Table]:
        """Nodes, and edges between nodes that are there, each once, in the order of their keys."""
        import pyarrow.dataset as ds

        nodes, edges = self._nodes.finish(), self._edges.finish()
        edges = edges.group_by(edges.column_names).aggregate([])
        ids = nodes.column("id").combine_chunks()
        there = ds.field("source").isin(ids) & ds.field("target").isin(ids)
        return in_order("nodes", nodes), in_order("edges", edges.filter(there))


class _Columns:
    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: list[NodeRow | EdgeRow] = []
        self._tables: list[pa.Table] = []

    def add(self, row: NodeRow | EdgeRow) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> pa.Table:
        import pyarrow as pa

        self._flush()
        return pa.concat_tables(self._tables)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._tables.append(to_arrow(self._name, rows))


def derive(tables: Tables) -> tuple[pa.Table, pa.Table]:
    """Nodes and edges of everything in the tables, in the order of their keys."""
    draft = _Draft()
    for row in _rows(tables, "documents", ["document_id", "path", "title"]):
        draft.node(NodeRow(row["document_id"], "document", row["title"] or row["path"], "", row["document_id"]))
    _groups(draft, _rows(tables, "groups"))
    _products(draft, _rows(tables, "products", _NAMED))
    _relations(draft, _rows(tables, "relations"))
    _mentions(draft, _rows(tables, "chunks", ["document_id", "text"]))
    return draft.finish()


def _rows(tables: Tables, name: str, columns: list[str] | None = None) -> Iterable[dict[str, Any]]:
    for piece in tables.in_order(name):
        for batch in (piece.select(columns) if columns else piece).to_batches(max_chunksize=1024):
            yield from batch.to_pylist()


def _group(document: str, code: str) -> str:
    return node_id("group", document, code)


def _groups(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        document, code = row["document_id"], row["code"]
        draft.shared(NodeRow(_group(document, code), "group", row["name"], code, document))
        if row["parent"] and row["parent"] != code:
            draft.edge(_group(document, code), "SUBGROUP_OF", _group(document, row["parent"]))


def _products(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        product, document, article = row["product_id"], intern(row["document_id"]), row["article_number"]
        draft.node(NodeRow(product, "product", row["name"] or article, article, document))
        draft.articles[article].append((product, document))
        draft.edge(document, "CONTAINS", product)
        if maker := row["manufacturer"].strip():
            node = node_id("manufacturer", words.folded(maker))
            draft.edge(product, "MADE_BY", draft.shared(NodeRow(node, "manufacturer", maker)))
        if code := row["class_id"]:
            node = node_id("class", row["class_system"], code)
            draft.edge(product, "IN_CLASS", draft.shared(NodeRow(node, "class", row["class_system"], code)))
        if code := row["group_id"]:
            node = NodeRow(_group(document, code), "group", row["group_path"] or code, code, document)
            draft.edge(product, "IN_GROUP", draft.shared(node))


def _relations(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        document = row["document_id"]
        for source in draft.named(row["article_number"], document):
            if row["kind"] == "member":
                draft.edge(source, "IN_GROUP", _group(document, row["target"]))
                continue
            for target in draft.named(row["target"], document):
                draft.edge(source, "REFERS_TO", target, row["kind"])


def _mentions(draft: _Draft, rows: Iterable[dict[str, Any]]) -> None:
    by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for article, products in draft.articles.items():
        code = words.codes(article).split(" ")[-1]
        if len(code) >= MIN_MENTION:
            by_code[code].extend(products)
    if not by_code:
        return
    for row in rows:
        for code in words.codes(row["text"]).split():
            for product, owner in by_code.get(code, ()):
                if owner != row["document_id"]:
                    draft.edge(row["document_id"], "MENTIONS", product)


def parquet(table: pa.Table) -> bytes:
    """The table as Parquet, the same bytes for the same rows."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=6, row_group_size=64 * 1024, store_schema=False)
    return sink.getvalue()


def build_graph(nodes: Path, edges: Path, target: Path) -> None:
    """Make the ladybug database at `target` from the two Parquet files; blocking."""
    import ladybug

    database = ladybug.Database(str(target))
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
