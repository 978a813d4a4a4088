"""The Lance table of passages: how it is built so that equal content gives equal files, and how it is opened.

The table is written once, in order, for every visible version. Two things would differ between equal runs and are ruled
out here: the default text compression trains on a random sample (zstd does not), and several shards of an index's build
race. What else differs (uuids, times, the order of map entries) is settled by `canonical_lance` when files are frozen.

There is no approximate vector index: its k-means and rotations start from random numbers that LanceDB offers no seed
for. Beyond `sketch.ABOVE` passages a sketch narrows the search instead, deterministically.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from shared.dataset import words
from shared.dataset.lance_import import lean_import
from shared.dataset.places import Options
from shared.dataset.sketch import SketchWriter

if TYPE_CHECKING:
    import lancedb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from shared.dataset.tables import Tables

BATCH_ROWS = 1024
CITED = ("chunk_id", "document_id", "ordinal", "page", "heading_path", "kind", "language", "text", "product_id")
_ZSTD = {"lance-encoding:compression": "zstd"}
_importing = threading.Lock()


def module() -> Any:
    """LanceDB, imported with the settings that its build of indexes reads."""
    os.environ.setdefault("LANCE_FTS_NUM_SHARDS", "1")
    with _importing, lean_import():
        import lancedb

    return lancedb


def connect(address: str, options: Options) -> lancedb.DBConnection:
    return module().connect(address, storage_options=options() or None)


def schema(dimension: int) -> pa.Schema:
    """The table's columns: what a citation needs, the texts that are searched, and the vector."""
    import pyarrow as pa

    def text(name: str) -> pa.Field:
        return pa.field(name, pa.string(), nullable=False, metadata=_ZSTD)

    return pa.schema(
        [
            text("chunk_id"),
            text("document_id"),
            pa.field("ordinal", pa.int64(), nullable=False),
            pa.field("page", pa.int64(), nullable=False),
            *(text(name) for name in ("heading_path", "kind", "language", "text", "product_id")),
            *(text(name) for name in ("path", "title", "words", "codes")),
            pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


def build(
    place_address: str, options: Options, name: str, tables: Tables, dimension: int
) -> tuple[SketchWriter, set[str]]:
    """Write the table and its full-text indexes anew.

    Returns:
        The sketch of its vectors, and the long words of its passages.
    """
    import pyarrow as pa

    database = connect(place_address, options)
    shape, sketch, known = schema(dimension), SketchWriter(dimension), set[str]()
    reader = pa.RecordBatchReader.from_batches(shape, _seen(_batches(tables, shape, dimension), sketch, known))
    table = database.create_table(name, data=reader, schema=shape)
    if table.count_rows():
        index(table)
    return sketch, known


def _seen(batches: Iterator[pa.RecordBatch], sketch: SketchWriter, known: set[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sketch.add(vectors_of(batch.column("vector")))
        for each in batch.column("words").to_pylist():
            known.update(each.split())
        yield batch


def vectors_of(column: pa.FixedSizeListArray) -> NDArray[np.float32]:
    """A column of vectors as float32 [n, dimension]."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def index(table: Any) -> None:
    """Makes the full-text indexes."""
    from lancedb.index import FTS

    shared = {"remove_stop_words": False, "num_workers": 1}
    whole = FTS(base_tokenizer="whitespace", stem=False, max_token_length=words.MAX_CODE + 1, **shared)
    german = FTS(language="German", stem=True, ascii_folding=True, **shared)
    for column, config in (("text", german), ("words", whole), ("codes", whole)):
        table.create_index(column, config=config)


def _batches(tables: Tables, shape: pa.Schema, dimension: int) -> Iterator[pa.RecordBatch]:
    documents = tables.read("documents", ["document_id", "path", "title"])
    about = {row["document_id"]: (row["path"], row["title"]) for row in documents.to_pylist()}
    for chunks, vectors in zip(tables.in_order("chunks"), tables.in_order("vectors"), strict=True):
        for start in range(0, chunks.num_rows, BATCH_ROWS):
            yield _batch(chunks.slice(start, BATCH_ROWS), vectors.slice(start, BATCH_ROWS), about, shape, dimension)


def _batch(
    chunks: pa.Table, vectors: pa.Table, about: Mapping[str, tuple[str, str]], shape: pa.Schema, dimension: int
) -> pa.RecordBatch:
    import pyarrow as pa

    keys = ["document_id", "ordinal"]
    if not chunks.select(keys).equals(vectors.select(keys)):
        raise ValueError("passages and vectors do not belong together")
    flat = pa.py_buffer(b"".join(vectors.column("vector").to_pylist()))
    numbers = pa.Array.from_buffers(pa.float32(), vectors.num_rows * dimension, [None, flat])
    texts = [
        words.folded(f"{heading}\n{text}")
        for heading, text in zip(
            chunks.column("heading_path").to_pylist(), chunks.column("text").to_pylist(), strict=True
        )
    ]
    owners = [about[each] for each in chunks.column("document_id").to_pylist()]
    columns: dict[str, Any] = {name: chunks.column(name).combine_chunks() for name in CITED}
    columns |= {
        "path": [path for path, _ in owners],
        "title": [title for _, title in owners],
        "words": [words.long_words(each) for each in texts],
        "codes": [words.passage_codes(each) for each in texts],
        "vector": pa.FixedSizeListArray.from_arrays(numbers, dimension),
    }
    return pa.record_batch(
        [pa.array(columns[f.name], f.type) if isinstance(columns[f.name], list) else columns[f.name] for f in shape],
        schema=shape,
    )
