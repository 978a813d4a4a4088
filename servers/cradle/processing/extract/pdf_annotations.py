"""What is laid over a PDF's pages and kept beside them: form fields, stamps, comments and files."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import Inner, Unreadable, inner_items
from servers.cradle.processing.extraction import Attachment, Item

MAX_ANNOTATIONS = 20_000
_HIDDEN = 2
_NO_FILE = "The PDF names this file and does not hold it. Send it by itself."


@dataclass(slots=True)
class Annotations:
    """A page's: `comments` in their order, `files` that are pinned to it, and whether any other writes on the page."""

    comments: list[str] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    writes: bool = False


def annotations(page) -> Annotations:
    """What a page's annotations say.

    Raises:
        Unreadable: `too_large`: there are over `MAX_ANNOTATIONS`.
    """
    from pypdfium2 import raw

    drawn = {raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP}
    silent = {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT}
    found = Annotations()
    count = raw.FPDFPage_GetAnnotCount(page)
    if count > MAX_ANNOTATIONS:
        raise Unreadable("too_large", f"A page of the PDF holds more than {MAX_ANNOTATIONS} annotations.")
    for index in range(count):
        with _annotation(page, index) as each:
            if not each or raw.FPDFAnnot_GetFlags(each) & _HIDDEN:
                continue
            kind = raw.FPDFAnnot_GetSubtype(each)
            found.writes |= kind in drawn
            if kind not in silent and (text := _comment(each)):
                found.comments.append(text)
            if kind == raw.FPDF_ANNOT_FILEATTACHMENT:
                found.files.append(_file(raw.FPDFAnnot_GetFileAttachment(each)))
    return found


def written_in(document, index: int):
    """The page with its form fields, stamps and texts written into it, where they are drawn."""
    from pypdfium2 import raw

    page = document[index]
    if raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) != raw.FLATTEN_SUCCESS:
        return page
    page.close()
    return document[index]


def embedded_files(document) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that the document as a whole holds (an invoice's XML, a portfolio's documents)."""
    for index in range(document.count_attachments()):
        yield _file(document.get_attachment(index).raw)


def read_files(files: Iterable[tuple[str, bytes]], depth: int, inner: Inner) -> Iterator[Item]:
    """The items of each; one that cannot be read is an `Attachment` with why. The same one twice is one."""
    seen: set[tuple[str, bytes]] = set()
    for number, (name, data) in enumerate(files, 1):
        if (same := (name, hashlib.sha256(data).digest())) in seen:
            continue
        seen.add(same)
        shown = squeezed(name)[-200:] or f"attachment-{number}"
        if data:
            yield from inner_items(inner, data, shown, depth + 1)
        else:
            yield Attachment(shown, "", 0, "not_a_file", _NO_FILE)


@contextmanager
def _annotation(page, index: int) -> Iterator[object]:
    from pypdfium2 import raw

    annotation = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        if annotation:
            raw.FPDFPage_CloseAnnot(annotation)


def _comment(annotation) -> str:
    from pypdfium2 import raw

    size = raw.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(annotation, b"Contents", ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return clean(buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")).strip()


def _file(handle) -> tuple[str, bytes]:
    """Name and content; no content where the PDF only names it."""
    from pypdfium2 import PdfAttachment, PdfiumError

    if not handle:
        return "", b""
    attachment, name = PdfAttachment(handle, None), ""
    try:
        name = attachment.get_name()
        return name, bytes(attachment.get_data())
    except PdfiumError:
        return name, b""
