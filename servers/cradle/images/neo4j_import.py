"""The graph of an image as CSV for `neo4j-admin database import`: for customers who want it in a Neo4j of their own.

The nodes and relationships are those that the instance serves, `(:Node {id, kind, name, number, document_id})` and
`[:Edge {kind, label}]`, so that the same Cypher answers in both. One more node, `(:Dataset {digest})`, says which
version of the dataset it is: an instance with NEO4J_URL asks no other.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import IO

from servers.cradle.images.compression import Gzip
from servers.cradle.images.files import new_file
from servers.cradle.images.streams import BLOCK, Hashing
from servers.cradle.images.unpack import layer_tar
from shared.errors import InvalidInput

NODES, EDGES, SCRIPT = "neo4j-nodes.csv.gz", "neo4j-edges.csv.gz", "neo4j-import.sh"
DATASET = "neo4j-dataset.csv"
ROWS = 1 << 16
_FILES = {
    NODES: ("data/graph/nodes.parquet", ("id", "kind", "name", "number", "document_id"), "Node"),
    EDGES: ("data/graph/edges.parquet", ("source", "target", "kind", "label"), "Edge"),
}
_HEADERS = {
    NODES: "id:ID,kind,name,number,document_id,:LABEL",
    EDGES: ":START_ID,:END_ID,kind,label,:TYPE",
}


def neo4j_files(image: Path, layer: int, folder: Path) -> dict[str, str]:
    """Write the CSV files of an image's graph, gzipped, into a folder; the same bytes for the same graph; blocking.

    Args:
        image: the tar.
        layer: place of the layer that holds the graph, from 0.

    Returns:
        The SHA-256 of each file, in hexadecimal.

    Raises:
        InvalidInput: the image is damaged, or its layer holds no graph.
    """
    places = {place: (name, columns, kind) for name, (place, columns, kind) in _FILES.items()}
    sums: dict[str, str] = {}
    with layer_tar(image, layer) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in places else None
            if file is not None:
                name, columns, kind = places[member.name]
                sums[name] = _written(file, folder / name, columns, kind)
    if sums.keys() != _FILES.keys():
        raise InvalidInput("The image holds no graph. Build it again.", field="tag")
    return sums


def dataset_node(dataset_digest: str) -> bytes:
    """The file with the node that names the dataset."""
    return f"digest:ID,:LABEL\n{dataset_digest},Dataset\n".encode()


def _written(source: IO[bytes], target: Path, columns: tuple[str, ...], kind: str) -> str:
    """A large graph is never whole in memory: Parquet is read from its end, so it lies beside the CSV meanwhile."""
    held = target.with_name(f".{target.name}.parquet")
    try:
        with held.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
        with new_file(target) as raw:
            hashed = Hashing(raw)
            _write_csv(held, hashed, columns, kind, _HEADERS[target.name])
    finally:
        held.unlink(missing_ok=True)
    return hashed.digest.removeprefix("sha256:")


def _write_csv(parquet: Path, target: Hashing, columns: tuple[str, ...], kind: str, header: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    gzip = Gzip(target, 3)
    gzip.write(header.encode() + b"\n")
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with pq.ParquetFile(parquet) as file:
        for batch in file.iter_batches(ROWS, columns=list(columns)):
            found = [batch[column] for column in columns]
            rows = pa.table([*found, pa.array([kind] * batch.num_rows)], names=[*columns, "kind_of"])
            text = io.BytesIO()
            csv.write_csv(rows, text, options)
            for start in range(0, text.tell(), BLOCK):
                gzip.write(text.getbuffer()[start : start + BLOCK].tobytes())
    gzip.close()
