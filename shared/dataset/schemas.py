"""The one place that knows the tables' Arrow types and the keys by which their rows are ordered."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from shared.dataset import rows
from shared.errors import InvalidInput
from shared.ids import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

ROWS: dict[str, type[Any]] = {
    "documents": rows.DocumentRow,
    "chunks": rows.ChunkRow,
    "products": rows.ProductRow,
    "features": rows.FeatureRow,
    "prices": rows.PriceRow,
    "groups": rows.GroupRow,
    "relations": rows.RelationRow,
    "media": rows.MediaRow,
}
"""Table name → row class: the tables that SQL sees. `vectors` exists beside them while the dataset is written."""

KEYS: dict[str, tuple[str, ...]] = {
    "documents": ("document_id",),
    "chunks": ("document_id", "ordinal"),
    "products": ("document_id", "ordinal"),
    "features": ("document_id", "product_id", "ordinal", "position"),
    "prices": ("document_id", "product_id", "ordinal", "price_type", "territory"),
    "groups": ("document_id", "system", "code", "name", "parent"),
    "relations": ("document_id", "article_number", "kind", "target"),
    "media": ("document_id", "product_id", "ordinal"),
    "vectors": ("document_id", "ordinal"),
    "nodes": ("id",),
    "edges": ("source", "kind", "target", "label"),
}
ADDED = {"documents": ("dated",)}
"""Last columns that datasets of earlier releases do not have."""
CHILDREN = tuple(name for name in (*ROWS, "vectors") if name != "documents")


@cache
def schema(name: str) -> pa.Schema:
    """The Arrow schema of a table, `nodes`, `edges` or `vectors` (the vector as little-endian float32 bytes)."""
    import pyarrow as pa

    if name == "vectors":
        return pa.schema(
            [
                pa.field("document_id", pa.string(), nullable=False),
                pa.field("ordinal", pa.int64(), nullable=False),
                pa.field("vector", pa.binary(), nullable=False),
            ]
        )
    kind = {"nodes": rows.NodeRow, "edges": rows.EdgeRow}.get(name) or ROWS[name]
    hints = typing.get_type_hints(kind)
    return pa.schema([_arrow_field(field.name, hints[field.name]) for field in dataclasses.fields(kind)])


def _arrow_field(name: str, hint: Any) -> pa.Field:
    import pyarrow as pa

    optional = isinstance(hint, types.UnionType)
    plain = next(part for part in typing.get_args(hint) if part is not type(None)) if optional else hint
    kinds = {
        int: pa.int64(),
        float: pa.float64(),
        Decimal: pa.decimal128(rows.AMOUNT_DIGITS, rows.AMOUNT_SCALE),
    }
    return pa.field(name, kinds.get(plain, pa.string()), nullable=optional)


def to_arrow(name: str, items: Sequence[Any]) -> pa.Table:
    """Rows as a table.

    Raises:
        InvalidInput: a number is not finite or a text cannot be written as UTF-8; names the column, not the value.
    """
    import pyarrow as pa

    columns = {}
    for field in schema(name):
        values = list(map(attrgetter(field.name), items))
        if pa.types.is_floating(field.type) and not all(value is None or math.isfinite(value) for value in values):
            raise InvalidInput(f"Column {field.name} of {name} holds NaN or infinity.", field=field.name)
        try:
            columns[field.name] = pa.array(values, field.type)
        except (pa.ArrowException, UnicodeError, ValueError, TypeError, OverflowError):
            raise InvalidInput(
                f"Column {field.name} of {name} holds a value that the table cannot hold.", field=field.name
            ) from None
    return pa.table(columns, schema=schema(name))


def documents_of(table: pa.Table) -> list[rows.DocumentRow]:
    """The rows of the table of documents."""
    return [rows.DocumentRow(**row) for row in with_added("documents", table).to_pylist()]


def with_added(name: str, table: pa.Table) -> pa.Table:
    """The table's columns, those among them empty that a later release added."""
    import pyarrow as pa

    for column in ADDED.get(name, ()):
        if column not in table.column_names:
            table = table.append_column(column, pa.repeat("", table.num_rows))
    return table.select(schema(name).names)


def in_order(name: str, table: pa.Table) -> pa.Table:
    """The table in the order of its keys, with the schema's exact types."""
    ordered = with_added(name, table).cast(schema(name))
    return ordered.sort_by([(key, "ascending") for key in KEYS[name]]).combine_chunks()


def canonical_lines(name: str, table: pa.Table) -> Iterable[bytes]:
    """Each row as canonical JSON, columns in the order of the schema; decimals as text. A column that was added is in
    it where it holds something: the lines of earlier releases stay what they were."""
    added = len(ADDED.get(name, ()))
    for batch in table.to_batches(max_chunksize=8192):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            known = row[:-added] if added and not any(row[-added:]) else row
            yield canonical_json([str(value) if isinstance(value, Decimal) else value for value in known])
