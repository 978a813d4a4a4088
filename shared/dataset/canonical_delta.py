"""One version of a Delta table as files that depend on its content alone: Parquet parts and a log of one commit.

Composed after the Delta protocol (reader version 1, writer version 2: no features), with times and ids that are fixed.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from shared.dataset.graph import parquet
from shared.dataset.schemas import schema

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.dataset.tables import Tables

LOG = "_delta_log/00000000000000000000.json"


def canonical_files(tables: Tables, name: str) -> Iterator[tuple[str, bytes]]:
    """Parts in order, then the log that makes them a table."""
    adds = []
    for piece in tables.in_order(name):
        if piece.num_rows:
            data, part = parquet(piece), f"part-{len(adds):05d}.parquet"
            adds.append(_add(part, len(data), piece.num_rows))
            yield part, data
    actions = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, _metadata(name), *adds]
    yield LOG, b"".join(orjson.dumps(action) + b"\n" for action in actions)


def _add(part: str, size: int, rows: int) -> dict[str, object]:
    return {
        "add": {
            "path": part,
            "partitionValues": {},
            "size": size,
            "modificationTime": 0,
            "dataChange": True,
            "stats": orjson.dumps({"numRecords": rows}).decode(),
        }
    }


def _metadata(name: str) -> dict[str, object]:
    fields = [
        {"name": field.name, "type": _type(field.type), "nullable": field.nullable, "metadata": {}}
        for field in schema(name)
    ]
    return {
        "metaData": {
            "id": str(uuid.UUID(bytes=hashlib.sha256(b"table " + name.encode()).digest()[:16], version=4)),
            "name": name,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": orjson.dumps({"type": "struct", "fields": fields}).decode(),
            "partitionColumns": [],
            "configuration": {},
            "createdTime": 0,
        }
    }


def _type(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return {pa.int64(): "long", pa.float64(): "double", pa.string(): "string"}[kind]
