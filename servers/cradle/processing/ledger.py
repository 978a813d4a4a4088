"""The ledger: one row for every file that was found. It is the dataset's table of documents; there is no second one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Attachment
from servers.cradle.processing.sources import SourceFile
from servers.cradle.processing.wire import Identified
from shared.dataset.rows import DocumentRow, document_id
from shared.errors import Unavailable

# What may go better next time though the file is the same.
TRANSIENT = frozenset(
    {
        "time_limit",
        "memory_limit",
        "reader_crashed",
        "ocr_failed",
        "embedding_failed",
        "cannot_open",
        "folder_unreadable",
        "changed",
    }
)


@dataclass(slots=True)
class Entry:
    """What becomes known of one file while it is read."""

    file: SourceFile
    parameter_version: int
    sha256: str = ""
    size: int = 0
    identified: Identified = field(default_factory=lambda: Identified("", "", ""))
    title: str = ""
    language: str = ""
    dated: str = ""
    pages: int = 0
    ocr_pages: int = 0
    chunks: int = 0
    tokens: int = 0
    products: int = 0
    attachments: list[Attachment] = field(default_factory=list)

    @property
    def document_id(self) -> str:
        return document_id(self.file.path)

    def processed(self) -> DocumentRow:
        """The row of a file that was read, with a note where something about it should be known."""
        code, reason = self._note()
        return self._row("processed", code, reason)

    def failed(self, why: Unreadable) -> DocumentRow:
        """The row of a file that was not read: nothing of it is in the dataset."""
        self.pages = self.ocr_pages = self.chunks = self.tokens = self.products = 0
        self.title = self.language = self.dated = ""
        return self._row("failed", why.code, why.reason)

    def _note(self) -> tuple[str, str]:
        unread = [each for each in self.attachments if each.code]
        if unread:
            codes = ", ".join(sorted({each.code for each in unread}))
            return "attachment_unreadable", f"{len(unread)} of its parts or attachments could not be read ({codes})."
        if self.identified.code:
            return self.identified.code, self.identified.reason
        if not self.chunks:
            return "no_text", "The file was read but holds no text."
        return "", ""

    def _row(self, status: Literal["processed", "failed"], code: str, reason: str) -> DocumentRow:
        return DocumentRow(
            document_id=self.document_id,
            path=self.file.path,
            sha256=self.sha256,
            size=self.size or self.file.size,
            media_type=self.identified.media_type,
            status=status,
            parameter_version=self.parameter_version,
            title=self.title,
            language=self.language,
            pages=self.pages,
            ocr_pages=self.ocr_pages,
            failure_code=code,
            failure_reason=reason,
            extractor=self.identified.extractor,
            extractor_version=self.identified.version,
            chunks=self.chunks,
            tokens=self.tokens,
            products=self.products,
            source=self.file.source,
            dated=self.dated,
        )


def unchanged(row: DocumentRow | None, sha256: str, parameter_version: int) -> bool:
    """Whether the row stands for these bytes and parameters, so that reading again would give the same."""
    return (
        row is not None
        and row.sha256 == sha256
        and row.parameter_version == parameter_version
        and row.failure_code not in TRANSIENT
    )


def require_open_folders(files: Sequence[SourceFile], known: Iterable[DocumentRow]) -> None:
    """Passes where each folder can be opened that documents of the ledger lie in.

    Raises:
        Unavailable: one cannot: nothing is concluded about its files, as of a source that is not there.
    """
    closed = [file for file in files if file.problem is not None and file.problem.code == "folder_unreadable"]
    found = {file.path for file in files} if closed else set()
    lost = (row for row in known if closed and row.status == "processed" and row.path not in found)
    if any(_lies_in(row, folder) for row in lost for folder in closed):
        raise Unavailable(
            "A folder of the sources, whose files were read before, cannot be opened. Give the platform's user the "
            "right to read it; if its files are to go, remove the folder."
        )


def _lies_in(row: DocumentRow, folder: SourceFile) -> bool:
    path = row.path.removeprefix(f"source-{row.source}/")
    return row.source == folder.source and (folder.path == "." or path.startswith(f"{folder.path}/"))
