"""The Delta tables while a dataset is written and when its visible version is read. All methods block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, reduce
from itertools import pairwise
from operator import and_, eq, ge, le, lt
from typing import TYPE_CHECKING, Any

from shared.dataset.places import Place
from shared.dataset.schemas import ADDED, CHILDREN, KEYS, in_order, schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import DeltaTable

ALL = ("documents", *CHILDREN)
ROWS_AT_ONCE = 16_384
"""A vector of 1,024 numbers is 4 kB, and sorting holds a piece three times."""
SPREAD_ROWS_AT_ONCE = 100_000
"""Of tables in the order of products' ids: these are hashes, so that each piece of a document reads all of it."""
Terms = Sequence[tuple[str, str, Any]]
"""Column, sign and value, for `in` an array: all of them are to be true."""
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "==": eq, ">=": ge, "<=": le, "<": lt, "in": lambda field, values: field.isin(values),
}  # fmt: skip
DELETE_AT_ONCE = 500
COMPACT_ABOVE = 16


class Tables:
    """Every table of a dataset, at its newest version or at pinned ones."""

    def __init__(self, place: Place, pins: Mapping[str, int] | None = None) -> None:
        self._place = place
        self._pins = pins

    def create(self) -> None:
        """Make the tables that are not there yet; those of an earlier release get the columns that it had not.

        `is_deltatable` is not asked: it holds the interpreter's lock, so that the whole process stood still while an
        object store did not answer.
        """
        from deltalake import DeltaTable, write_deltalake
        from deltalake.exceptions import TableNotFoundError

        for name in ALL:
            address = self._place.at(f"tables/{name}")
            try:
                columns = [field.name for field in self.open(name).schema().fields]
            except TableNotFoundError:
                DeltaTable.create(address, schema(name), mode="ignore", name=name, storage_options=self._options)
                continue
            if not {*ADDED.get(name, ())} <= {*columns}:
                whole = in_order(name, self.read(name))
                how: Any = {"mode": "overwrite", "schema_mode": "overwrite", "writer_properties": _writer()}
                write_deltalake(address, whole, storage_options=self._options, **how)

    def open(self, name: str) -> DeltaTable:
        """A table, at its pinned version where it has one.

        Raises:
            TableNotFoundError: it is not there.
        """
        from deltalake import DeltaTable

        version = None if self._pins is None else self._pins[name]
        return DeltaTable(self._place.at(f"tables/{name}"), version=version, storage_options=self._options)

    def rows(self, name: str) -> ds.Dataset:
        """A table as Arrow scans it.

        Arrow opens a folder's files itself: the file system that deltalake brings is made of Python objects, which
        Arrow's threads let go of a moment after a scan, and before Python 3.14 that aborts a process that just ends.
        """
        from pyarrow import fs

        folder = self._place.folder
        own = fs.SubTreeFileSystem(str(folder.absolute() / "tables" / name), fs.LocalFileSystem()) if folder else None
        return self.open(name).to_pyarrow_dataset(filesystem=own)

    def names(self) -> tuple[str, ...]:
        """The tables that are there: all, or the pinned ones."""
        return ALL if self._pins is None else tuple(name for name in ALL if name in self._pins)

    def versions(self) -> dict[str, int]:
        """Each table's version."""
        return {name: self.open(name).version() for name in ALL}

    def append(self, name: str, table: pa.Table) -> None:
        """Add rows in a version of their own; without any there is none."""
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
        dataset = self.rows(name)
        found: set[str] = set()
        for batch in dataset.to_batches(columns=["document_id"]):
            found.update(batch.column(0).unique().to_pylist())
        return found

    def count(self, name: str) -> int:
        """How many rows a table has."""
        return self.rows(name).count_rows()

    def read(self, name: str, columns: list[str] | None = None, **equal: Any) -> pa.Table:
        """Rows with these column values."""
        return self.where(name, [(column, "==", value) for column, value in equal.items()], columns).to_table()

    def where(self, name: str, terms: Terms, columns: list[str] | None = None) -> ds.Scanner:
        """The rows for which all of these are true."""
        return _where(name, self.rows(name), terms, columns)

    def in_order(self, name: str) -> Iterator[pa.Table]:
        """The whole table in the order of its keys, in pieces that fit in memory: their bounds depend on the content
        alone, so that equal content comes in equal pieces, and passages come in the same pieces as their vectors."""
        dataset = self.rows(name)
        for terms in _ranges(name, dataset):
            yield in_order(name, _where(name, dataset, terms).to_table())

    def compact(self) -> None:
        """Join the small files that many appends leave; contents stay as they are."""
        for name in ALL:
            table = self.open(name)
            if len(table.file_uris()) > COMPACT_ABOVE:
                table.optimize.compact(writer_properties=_writer())

    def forget(self, visible: Mapping[str, int]) -> None:
        """Delete the files whose rows neither the newest version nor the visible one holds: superseded and removed
        documents are in them. What a killed process wrote and never entered goes too."""
        for name in ALL:
            kept = [visible[name]] if name in visible else None
            how: Any = {"dry_run": False, "enforce_retention_duration": False, "full": True, "keep_versions": kept}
            self.open(name).vacuum(0, **how)

    @property
    def _options(self) -> dict[str, str] | None:
        return self._place.options() or None


def _where(name: str, dataset: ds.Dataset, terms: Terms, columns: list[str] | None = None) -> ds.Scanner:
    """Files are chosen by what Delta knows of them, rows by their values in the schema's types: a file that Delta has
    rewritten holds `string_view`, of which Arrow compares nothing with a text."""
    import pyarrow.dataset as ds

    if not terms:
        return dataset.scanner(columns=columns)
    kinds = schema(name)
    plain = [_COMPARED[sign](ds.field(column), value) for column, sign, value in terms]
    typed = [_COMPARED[sign](ds.field(column).cast(kinds.field(column).type), value) for column, sign, value in terms]
    found: Any = list(dataset.get_fragments(filter=reduce(and_, plain)))
    if not found:
        return ds.dataset(dataset.schema.empty_table()).scanner(columns=columns)
    near = ds.FileSystemDataset(found, dataset.schema, found[0].format, found[0].filesystem)
    return near.scanner(columns=columns, filter=reduce(and_, typed))


def _ranges(name: str, dataset: ds.Dataset) -> Iterator[Terms]:
    """Conditions that cut a table into pieces of about so many rows as are held at once, in order: whole documents
    together, one of more rows by the second column of the table's key."""
    most = SPREAD_ROWS_AT_ONCE if "product_id" in KEYS[name][:2] else ROWS_AT_ONCE
    sizes: Counter[str] = Counter()
    for batch in dataset.to_batches(columns=["document_id"]):
        sizes.update({each["values"]: each["counts"] for each in batch.column(0).value_counts().to_pylist()})
    if sizes.total() <= most:
        yield ()
        return
    held, rows = [], 0
    for each in sorted(sizes):
        if held and rows + sizes[each] > most:
            yield [("document_id", ">=", held[0]), ("document_id", "<=", held[-1])]
            held, rows = [], 0
        if sizes[each] > most:
            yield from _ranges_of(name, dataset, each, sizes[each] // most + 1)
        else:
            held.append(each)
            rows += sizes[each]
    if held:
        yield [("document_id", ">=", held[0]), ("document_id", "<=", held[-1])]


def _ranges_of(name: str, dataset: ds.Dataset, document: str, pieces: int) -> Iterator[Terms]:
    column, whole = KEYS[name][1], [("document_id", "==", document)]
    cuts = _cuts(name, dataset, whole, pieces)
    for low, high in pairwise([None, *cuts, None]):
        above = [] if low is None else [(column, ">=", low)]
        yield [*whole, *above, *([] if high is None else [(column, "<", high)])]


def _cuts(name: str, dataset: ds.Dataset, whole: Terms, pieces: int) -> list[Any]:
    """Values of the second column of the table's key that part a document's rows into even pieces."""
    column = KEYS[name][1]
    if column == "product_id":  # a hash: evenly spread, so that nothing need be read
        return [f"prd_{2**32 * at // pieces:08x}" for at in range(1, pieces)]
    values = _where(name, dataset, whole, [column]).to_table().column(0).combine_chunks().sort()
    return sorted({values[len(values) * at // pieces].as_py() for at in range(1, pieces)})


@cache
def _writer() -> Any:
    from deltalake import ColumnProperties, WriterProperties

    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties={"vector": plain})


def _safe(identifier: str) -> str:
    if not identifier.replace("_", "").isalnum() or not identifier.isascii():
        raise ValueError("not an identifier of this dataset")
    return identifier
