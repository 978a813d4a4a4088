"""The Delta tables while a dataset is written and when its visible version is read. All methods block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared.dataset.places import Place
from shared.dataset.schemas import CHILDREN, in_order, schema

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

ALL = ("documents", *CHILDREN)
ROWS_AT_ONCE = 50_000
DELETE_AT_ONCE = 500
COMPACT_ABOVE = 16


class Tables:
    """Every table of a dataset, at its newest version or at pinned ones."""

    def __init__(self, place: Place, pins: Mapping[str, int] | None = None) -> None:
        self._place = place
        self._pins = pins

    def create(self) -> None:
        """Make the tables that are not there yet."""
        from deltalake import DeltaTable

        for name in ALL:
            address = self._place.at(f"tables/{name}")
            if not DeltaTable.is_deltatable(address, self._options):
                DeltaTable.create(address, schema(name), mode="ignore", name=name, storage_options=self._options)

    def open(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable

        version = None if self._pins is None else self._pins[name]
        return DeltaTable(self._place.at(f"tables/{name}"), version=version, storage_options=self._options)

    def names(self) -> tuple[str, ...]:
        """The tables that are there: all, or the pinned ones."""
        return ALL if self._pins is None else tuple(name for name in ALL if name in self._pins)

    def versions(self) -> dict[str, int]:
        return {name: self.open(name).version() for name in ALL}

    def append(self, name: str, table: pa.Table) -> None:
        from deltalake import write_deltalake

        if table.num_rows:
            write_deltalake(
                self._place.at(f"tables/{name}"),
                table,
                mode="append",
                storage_options=self._options,
                writer_properties=_writer(),
            )

    def delete(self, name: str, document_ids: Collection[str]) -> None:
        """Delete the rows of documents. Ids are hexadecimal with a prefix, so quoting is not in question."""
        ids = sorted(document_ids)
        for first in range(0, len(ids), DELETE_AT_ONCE):
            listed = ", ".join(f"'{_safe(each)}'" for each in ids[first : first + DELETE_AT_ONCE])
            self.open(name).delete(f"document_id IN ({listed})", writer_properties=_writer())

    def change(self, name: str, where: str, values: dict[str, str]) -> int:
        """Set columns of the rows that a condition names, or delete the rows where no column is named; how many."""
        table = self.open(name)
        if values:
            return table.update(updates=values, predicate=where, writer_properties=_writer())["num_updated_rows"]
        return table.delete(where, writer_properties=_writer())["num_deleted_rows"] or 0

    def document_ids(self, name: str) -> set[str]:
        """The ids of the documents that have rows in a table."""
        dataset = self.open(name).to_pyarrow_dataset()
        found: set[str] = set()
        for batch in dataset.to_batches(columns=["document_id"]):
            found.update(batch.column(0).unique().to_pylist())
        return found

    def count(self, name: str) -> int:
        return self.open(name).to_pyarrow_dataset().count_rows()

    def read(self, name: str, columns: list[str] | None = None, **equal: Any) -> pa.Table:
        """Rows with these column values."""
        import pyarrow.dataset as ds

        condition = None
        for column, value in equal.items():
            term = ds.field(column) == value
            condition = term if condition is None else condition & term
        return self.open(name).to_pyarrow_dataset().to_table(columns=columns, filter=condition)

    def in_order(self, name: str) -> Iterator[pa.Table]:
        """The whole table in the order of its keys, in pieces that fit in memory: the piece boundaries depend on the
        documents' ids alone, so that equal content comes in equal pieces."""
        import pyarrow.dataset as ds

        dataset = self.open(name).to_pyarrow_dataset()
        rows = dataset.count_rows()
        digits = 0 if rows <= ROWS_AT_ONCE else 1 if rows <= 16 * ROWS_AT_ONCE else 2
        if digits == 0:
            yield in_order(name, dataset.to_table())
            return
        field = ds.field("document_id")
        for low in range(16**digits):
            start = f"doc_{low:0{digits}x}"
            end = f"doc_{low + 1:0{digits}x}" if low + 1 < 16**digits else "doc_g"
            yield in_order(name, dataset.to_table(filter=(field >= start) & (field < end)))

    def compact(self) -> None:
        """Join the small files that many appends leave; contents stay as they are."""
        for name in ALL:
            table = self.open(name)
            if len(table.file_uris()) > COMPACT_ABOVE:
                table.optimize.compact(writer_properties=_writer())

    @property
    def _options(self) -> dict[str, str] | None:
        return dict(self._place.options) or None


@cache
def _writer() -> Any:
    from deltalake import ColumnProperties, WriterProperties

    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties={"vector": plain})


def _safe(identifier: str) -> str:
    if not identifier.replace("_", "").isalnum() or not identifier.isascii():
        raise ValueError("not an identifier of this dataset")
    return identifier
