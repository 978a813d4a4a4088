"""Writing a customer's dataset: documents supersede documents, `commit` makes a version visible.

async with DatasetWriter(root, dimension=384) as writer:
    ledger = await writer.documents()
    await writer.replace_documents(bundles)
    manifest = await writer.commit(parameter_version=1, fingerprint=…, model=…)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from shared.dataset.manifest import DatasetModel, Manifest
from shared.dataset.rows import DocumentBundle, DocumentParts, DocumentRow


class DatasetWriter:
    """The one writer of a dataset.

    Args:
        root: the dataset's folder or URI.
        dimension: length of its vectors.
        storage_options: credentials of the object store where `root` is a URI.

    Raises on entering:
        Conflict: another process is writing this dataset, or it holds vectors of another length.
    """

    def __init__(self, root: str, dimension: int, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.dimension = dimension

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def documents(self) -> dict[str, DocumentRow]:
        """The ledger: path → row, of everything recorded so far, committed or not."""
        ...

    async def replace_documents(self, bundles: Sequence[DocumentBundle]) -> None:
        """Write whole documents in place of what was known of them. The same as `discard`, `append`, `record`."""
        ...

    async def discard(self, document_ids: Iterable[str]) -> None:
        """Forget all rows of documents; the first step of writing a large document anew."""
        ...

    async def append(self, parts: DocumentParts) -> None:
        """Add rows of documents that are not recorded yet; parts of a large document one after the other."""
        ...

    async def record(self, documents: Sequence[DocumentRow]) -> None:
        """Enter documents in the ledger, after all their parts: only then do their rows count."""
        ...

    async def remove_documents(self, document_ids: Iterable[str]) -> None:
        """Take documents out of the dataset (their files are gone)."""
        ...

    async def manifest(self) -> Manifest | None:
        """The visible version, None where there is none yet."""
        ...

    async def commit(self, *, parameter_version: int, fingerprint: str, model: DatasetModel) -> Manifest:
        """Make everything recorded visible as the next version. Content equal to the visible one changes nothing."""
        ...
