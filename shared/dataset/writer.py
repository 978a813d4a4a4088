"""Writing a customer's dataset: documents supersede documents, `commit` makes a version visible.

    async with DatasetWriter(root, dimension=384) as writer:
        ledger = await writer.documents()
        await writer.replace_documents(bundles)
        manifest = await writer.commit(parameter_version=1, fingerprint=…, model=…)

The ledger's row of a document is written after all its other rows and deleted before them. Rows without a ledger row do
not count: what a killed process leaves half-made is invisible, and the next `discard` or `commit` takes it away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from shared.dataset.commit import commit
from shared.dataset.gone import GoneDocument, gone_documents, lift, mark
from shared.dataset.lock import WriterLock
from shared.dataset.manifest import DatasetModel, Manifest, visible
from shared.dataset.places import Options, Place
from shared.dataset.rows import DocumentBundle, DocumentParts, DocumentRow
from shared.dataset.schemas import CHILDREN, documents_of, to_arrow
from shared.dataset.tables import ALL, Tables
from shared.errors import Conflict, InvalidInput, PlatformError, StorageFull
from shared.room import says_full
from shared.stopping import stoppable

_Answer = TypeVar("_Answer")
_ID_LENGTH = len("doc_") + 32
JOINED_BYTES = 64 * 2**20
"""So much of a large document's parts is joined before it goes into the tables: each addition costs the same."""


class DatasetWriter:
    """The one writer of a dataset. Its methods wait for one another; each runs in the writer's own thread.

    Args:
        root: the dataset's folder or URI.
        dimension: length of its vectors.
        storage_options: gives credentials of the object store where `root` is a URI.

    Raises on entering:
        Unavailable: another process is writing this dataset; it ends sometime.
        Conflict: it holds vectors of another length.
    """

    def __init__(self, root: str, dimension: int, storage_options: Options = dict) -> None:
        self.root = root
        self.dimension = dimension
        self._place = Place(root, storage_options)
        self._tables = Tables(self._place)
        self._lock = WriterLock(self._place.folder) if self._place.folder else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dataset-writer")
        self._present: dict[str, set[str]] = {}
        self._held: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._open)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread itself lets go of the lock, after what it is writing: a cancelled caller leaves no lock behind.
        released = self._thread.submit(self._release)
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(released))

    async def documents(self) -> dict[str, DocumentRow]:
        """The ledger: path → row, of everything recorded so far, committed or not."""
        rows = await self._run(lambda: documents_of(self._tables.read("documents")))
        return {row.path: row for row in rows}

    async def replace_documents(self, bundles: Sequence[DocumentBundle]) -> None:
        """Write whole documents in place of what was known of them. The same as `discard`, `append`, `record`."""
        await self._run(self._replace, list(bundles))

    async def discard(self, document_ids: Iterable[str]) -> None:
        """Forget all rows of documents; the first step of writing a large document anew."""
        await self._run(self._discard, set(document_ids))

    async def append(self, parts: DocumentParts) -> None:
        """Add rows of documents that are not recorded yet; parts of a large document one after the other. They are
        joined up to `JOINED_BYTES` and in the tables at the latest when the document is recorded.

        Raises:
            InvalidInput: a vector or a number is not finite, vectors and passages do not fit, or an id is malformed.
        """
        await self._run(self._append, parts)

    async def record(self, documents: Sequence[DocumentRow]) -> None:
        """Enter documents in the ledger, after all their parts: only then do their rows count."""
        await self._run(self._record, list(documents))

    async def remove_documents(self, document_ids: Iterable[str]) -> None:
        """Take documents out of the dataset and mark them: their files are gone."""
        await self._run(self._remove, set(document_ids))

    async def gone(self) -> dict[str, GoneDocument]:
        """Path → mark of every document whose file is gone."""
        held = await self._run(lambda: gone_documents(self._place))
        return {each.path: each for each in held.values()}

    async def manifest(self) -> Manifest | None:
        """The visible version, None where there is none yet."""
        return await self._run(lambda: visible(self._place))

    async def commit(self, *, parameter_version: int, fingerprint: str, model: DatasetModel) -> Manifest:
        """Make everything recorded visible as the next version. Content equal to the visible one changes nothing."""
        return await self._run(self._commit, parameter_version, fingerprint, model)

    async def _run(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        try:
            return await stoppable(work, *arguments, executor=self._thread)
        except PlatformError:
            raise
        except Exception as error:
            if says_full(error):
                raise StorageFull(
                    "The customer's bucket has no room left. Free some and start the job again."
                ) from None
            raise

    def _release(self) -> None:
        if self._lock:
            self._lock.release()

    def _open(self) -> None:
        if self._lock:
            self._lock.acquire()
        known = visible(self._place)
        if known and known.model.dimension != self.dimension:
            raise Conflict(
                f"This dataset holds vectors of length {known.model.dimension}, not {self.dimension}: "
                "a new embedding model needs a new installation."
            )
        self._tables.create()
        self._present = {name: self._tables.document_ids(name) for name in self._tables.names()}

    def _replace(self, bundles: list[DocumentBundle]) -> None:
        arrows = _arrows([bundle.parts for bundle in bundles], self.dimension)
        _check_ids(bundle.document.document_id for bundle in bundles)
        ledger = to_arrow("documents", [bundle.document for bundle in bundles])
        self._discard({bundle.document.document_id for bundle in bundles})
        self._add([arrows])
        self._add([{"documents": ledger}])

    def _discard(self, document_ids: set[str]) -> None:
        self._settle()
        for name in ALL:
            if stale := document_ids & self._present[name]:
                self._tables.delete(name, stale)
                self._present[name] -= stale

    def _remove(self, document_ids: set[str]) -> None:
        # Marked first: a process killed in between finds the rows again, and marks and discards once more.
        held = visible(self._place)
        version = (held.dataset_version or 0) if held else 0
        rows = documents_of(self._tables.read("documents"))
        gone = [row for row in rows if row.document_id in document_ids]
        mark(self._place, [GoneDocument(row.document_id, row.path, row.sha256, version) for row in gone])
        self._discard(document_ids)

    def _commit(self, parameter_version: int, fingerprint: str, model: DatasetModel) -> Manifest:
        self._held.clear()  # of no recorded document
        made = commit(self._place, self._tables, parameter_version, fingerprint, model)
        lift(self._place, self._present["documents"])
        return made

    def _append(self, parts: DocumentParts) -> None:
        self._held.append(_arrows([parts], self.dimension))
        if sum(table.nbytes for tables in self._held for table in tables.values()) >= JOINED_BYTES:
            self._settle()

    def _settle(self) -> None:
        held, self._held = self._held, []
        self._add(held)

    def _record(self, documents: list[DocumentRow]) -> None:
        self._settle()
        _check_ids(row.document_id for row in documents)
        known = {row.document_id for row in documents} & self._present["documents"]
        ledger = to_arrow("documents", documents)
        if known:
            self._tables.delete("documents", known)
        self._add([{"documents": ledger}])

    def _add(self, arrows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        for name in ALL:
            if found := [tables[name] for tables in arrows if name in tables]:
                joined = pa.concat_tables(found)
                self._present[name].update(joined.column("document_id").unique().to_pylist())
                self._tables.append(name, joined)


def _arrows(parts: Sequence[DocumentParts], dimension: int) -> dict[str, Any]:
    """The rows of these parts, table by table; columns are made once for all of them."""
    tables: dict[str, Any] = {}
    for name in CHILDREN:
        if name == "vectors":
            continue
        rows = [row for part in parts for row in getattr(part, name)]
        _check_ids({row.document_id for row in rows})
        if rows:
            tables[name] = to_arrow(name, rows)
    if vectors := [part for part in parts if part.chunks]:
        tables["vectors"] = _vectors(vectors, dimension)
    return tables


def _vectors(parts: Sequence[DocumentParts], dimension: int) -> Any:
    import numpy as np
    import pyarrow as pa

    from shared.dataset.schemas import schema

    for part in parts:
        if part.vectors is None or part.vectors.shape != (len(part.chunks), dimension):
            raise InvalidInput(
                f"{len(part.chunks)} passages need as many vectors of length {dimension}.", field="vectors"
            )
    vectors = np.concatenate([part.vectors for part in parts if part.vectors is not None], dtype="<f4")
    if not np.isfinite(vectors).all():
        raise InvalidInput("A vector holds NaN or infinity; nothing of its documents was written.", field="vectors")
    chunks = [chunk for part in parts for chunk in part.chunks]
    ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors[0].nbytes
    columns = {
        "document_id": [chunk.document_id for chunk in chunks],
        "ordinal": [chunk.ordinal for chunk in chunks],
        "vector": pa.Array.from_buffers(pa.binary(), len(vectors), [None, pa.py_buffer(ends), pa.py_buffer(vectors)]),
    }
    return pa.table(columns, schema=schema("vectors"))


def _check_ids(document_ids: Iterable[str]) -> None:
    for each in document_ids:
        if len(each) != _ID_LENGTH or not each.startswith("doc_") or set(each[4:]) - set("0123456789abcdef"):
            raise InvalidInput("A document's id is not one that rows.document_id makes.", field="document_id")
