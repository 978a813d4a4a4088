"""The graph of an image as CSV for `neo4j-admin database import`: for customers who want it in a Neo4j of their own.

The nodes and relationships are those that the instance serves, `(:Node {id, kind, name, number, document_id})` and
`[:Edge {kind, label}]`, so that the same Cypher answers in both.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from servers.cradle.images.streams import BLOCK, Gzip
from servers.cradle.images.unpack import layer_tar
from shared.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

NODES, EDGES, SCRIPT = "neo4j-nodes.csv.gz", "neo4j-edges.csv.gz", "neo4j-import.sh"
_FILES = {
    NODES: ("data/graph/nodes.parquet", ("id", "kind", "name", "number", "document_id"), "Node"),
    EDGES: ("data/graph/edges.parquet", ("source", "target", "kind", "label"), "Edge"),
}
_HEADERS = {
    NODES: "id:ID,kind,name,number,document_id,:LABEL",
    EDGES: ":START_ID,:END_ID,kind,label,:TYPE",
}


def neo4j_files(image: Path, layer: int) -> dict[str, bytes]:
    """The CSV files of an image's graph, gzipped; the same bytes for the same graph; blocking.

    Args:
        image: the tar.
        layer: place of the layer that holds the graph, from 0.

    Raises:
        InvalidInput: the image is damaged, or its layer holds no graph.
    """
    import pyarrow.parquet as pq

    places = {place: (name, columns, kind) for name, (place, columns, kind) in _FILES.items()}
    found: dict[str, bytes] = {}
    with layer_tar(image, layer) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in places else None
            if file is not None:
                name, columns, kind = places[member.name]
                table = pq.read_table(io.BytesIO(file.read())).select(list(columns))
                found[name] = _gzipped(_HEADERS[name], table, kind)
    if found.keys() != _FILES.keys():
        raise InvalidInput("The image holds no graph. Build it again.", field="tag")
    return found


def _gzipped(header: str, table: pa.Table, kind: str) -> bytes:
    import pyarrow as pa
    from pyarrow import csv

    sink = io.BytesIO()
    gzip = Gzip(sink, 3)
    gzip.write(header.encode() + b"\n")
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    for batch in table.to_batches(max_chunksize=1 << 16):
        rows = pa.table([*batch.columns, pa.array([kind] * batch.num_rows)], names=[*table.column_names, "kind_of"])
        text = io.BytesIO()
        csv.write_csv(rows, text, options)
        for start in range(0, text.tell(), BLOCK):
            gzip.write(text.getbuffer()[start : start + BLOCK].tobytes())
    gzip.close()
    return sink.getvalue()
