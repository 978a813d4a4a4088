"""Delta and LanceDB tables that something else wrote: read as they are, a few columns at a time. All of it blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shared.dataset import lance
from shared.dataset.places import Place
from shared.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 4096
_COMMIT = re.compile(r"/(\d{20})\.json$")
_LANCE_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_REFUSED = (
    "LanceDB opens no table of the name that a folder of the legacy deployment has. Rename the folder: letters of "
    "English, digits, '_', '-' and '.', and '.lance' at the end."
)
_UNREADABLE = "A table of the legacy deployment cannot be read: it is damaged, or of a version that is not known here."


class ForeignTable:
    """One table in a folder of its own: `_delta_log` in it makes it Delta, a name that ends in `.lance` Lance.

    Args:
        place: a folder, or a prefix of an object store.
        path: of the table's folder below it.

    `columns` are its columns' names; in Lance, fields of one that holds several too, as `column.field`.

    Raises:
        InvalidInput: it cannot be read, or the library refuses its name.
    """

    def __init__(self, place: Place, path: str) -> None:
        self._place = place
        self._above, _, last = path.rpartition("/")
        self._own = last
        self.name = last.removesuffix(".lance").casefold()
        self._lance = last.endswith(".lance")
        if self._lance and not _LANCE_NAME.fullmatch(last.removesuffix(".lance")):
            raise InvalidInput(_REFUSED, field="legacy")
        try:
            self._opened = self._open()
            self.columns: list[str] = list(self._columns())
            whole = self._last_commit(path) != b""  # Delta's library passes over an empty one without a word
        except Exception:  # noqa: BLE001  two libraries raise their own classes, with paths in their texts
            raise InvalidInput(_UNREADABLE, field="legacy") from None
        if not whole:
            raise InvalidInput(_UNREADABLE, field="legacy")

    @property
    def is_lance(self) -> bool:
        """Whether it is a LanceDB table."""
        return self._lance

    def count(self) -> int:
        """How many rows it has."""
        try:
            return int(self._opened.count_rows() if self._lance else self._opened.to_pyarrow_dataset().count_rows())
        except Exception:  # noqa: BLE001
            raise InvalidInput(_UNREADABLE, field="legacy") from None

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of these columns, some at a time; vectors are best left out."""
        try:
            if self._lance:
                found = self._opened.search().select(columns).limit(max(1, self.count())).to_batches(BATCH)
            else:
                found = self._opened.to_pyarrow_dataset().to_batches(columns=columns, batch_size=BATCH)
            yield from found
        except InvalidInput:
            raise
        except Exception:  # noqa: BLE001
            raise InvalidInput(_UNREADABLE, field="legacy") from None

    def _open(self) -> Any:
        above = self._place.at(self._above) if self._above else self._place.root
        if self._lance:
            return lance.connect(above, self._place.options).open_table(self._own.removesuffix(".lance"))
        from deltalake import DeltaTable

        return DeltaTable(f"{above}/{self._own}", storage_options=self._place.options() or None)

    def _columns(self) -> Iterator[str]:
        if not self._lance:
            yield from self._opened.to_pyarrow_dataset().schema.names
            return
        for field in self._opened.schema:
            yield field.name
            yield from (f"{field.name}.{each.name}" for each in getattr(field.type, "fields", ()))

    def _last_commit(self, path: str) -> bytes | None:
        """What a Delta table's log says last, None where there is none; a power cut or a copy that broke off leaves an
        empty file."""
        commits = [name for name in self._place.names(f"{path}/_delta_log") if _COMMIT.search(name)]
        return self._place.read(commits[-1]) if commits else None
