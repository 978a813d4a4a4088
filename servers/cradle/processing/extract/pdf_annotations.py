"""What is laid over a PDF's pages and kept beside them: form fields, stamps, comments and files."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import Inner, Unreadable, inner_items
from servers.cradle.processing.extraction import Attachment, Item
from servers.cradle.processing.pdf_forms import MAX_ANNOTATIONS, annotation

MAX_COMPARED = 200
_HIDDEN, _NO_VIEW = 2, 32
_COMB = 1 << 24
_NO_FILE = "The PDF names this file and does not hold it. Send it by itself."


@dataclass(slots=True)
class Annotations:
    """A page's: `comments` in their order, each with whether it may repeat what the page says; the annotations that pin
    `files` to it, to be closed; and whether any other writes on the page."""

    comments: list[tuple[str, bool]] = field(default_factory=list)
    files: list = field(default_factory=list)
    writes: bool = False

    def said_beside(self, text: str) -> Iterator[str]:
        """The comments; of those that may repeat the page, the ones that are not in its `text`. The first alone are
        looked for: it takes time for each."""
        for number, (comment, repeats) in enumerate(self.comments):
            if not (repeats and number < MAX_COMPARED and _says(text, squeezed(comment))):
                yield comment

    def handles(self) -> list:
        """Each pinned file once."""
        from pypdfium2 import raw

        handles = [raw.FPDFAnnot_GetFileAttachment(each) for each in self.files]
        return list({ctypes.cast(each, ctypes.c_void_p).value: each for each in handles}.values())

    def close(self) -> None:
        from pypdfium2 import raw

        for each in self.files:
            raw.FPDFPage_CloseAnnot(each)


def annotations_of(page) -> Annotations:
    """What a page's annotations say.

    Raises:
        Unreadable: `too_large`: there are over `MAX_ANNOTATIONS`.
    """
    from pypdfium2 import raw

    drawn = {raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP}
    silent = {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET}
    found = Annotations()
    count = raw.FPDFPage_GetAnnotCount(page)
    if count > MAX_ANNOTATIONS:
        raise Unreadable("too_large", f"A page of the PDF holds more than {MAX_ANNOTATIONS} annotations.")
    for index in range(count):
        with annotation(page, index) as each:
            if not each or _hidden(each):
                continue
            kind = raw.FPDFAnnot_GetSubtype(each)
            found.writes |= kind in drawn
            is_drawn = kind == raw.FPDF_ANNOT_FREETEXT and _has_appearance(each)
            if kind not in silent and not is_drawn and (text := _comment(each)):
                found.comments.append((text, kind != raw.FPDF_ANNOT_TEXT))
            if kind == raw.FPDF_ANNOT_FILEATTACHMENT:
                found.files.append(raw.FPDFPage_GetAnnot(page, index))
    return found


def written_in(document, index: int):
    """The page with its form fields, stamps and texts written into it, where they are drawn."""
    from pypdfium2 import raw

    page = document[index]
    if _uncombed(document, page):
        page.close()
        page = document[index]
    if raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) != raw.FLATTEN_SUCCESS:
        return page
    page.close()
    return document[index]


def embedded_files(document) -> Iterator[object]:
    """Each file that the document as a whole holds (an invoice's XML, a portfolio's documents)."""
    from pypdfium2 import PdfiumError

    for index in range(document.count_attachments()):
        try:
            yield document.get_attachment(index).raw
        except PdfiumError:
            yield None


class Files:
    """Reads the files in a PDF, each once, one at a time."""

    def __init__(self, depth: int, inner: Inner) -> None:
        self._depth, self._inner = depth, inner
        self._seen: set[tuple[str, bytes]] = set()
        self._again = 0

    def read(self, handles: Iterable[object]) -> Iterator[Item]:
        """The items of each; one that cannot be read is an `Attachment` with why."""
        for handle in handles:
            name, data = _file(handle, self._require)
            if (same := (name, hashlib.sha256(data).digest())) in self._seen:
                self._again += len(data)
                continue
            self._seen.add(same)
            shown = squeezed(name)[-200:] or f"attachment-{len(self._seen)}"
            if data:
                yield from inner_items(self._inner, data, shown, self._depth + 1)
            else:
                yield Attachment(shown, "", 0, "not_a_file", _NO_FILE)

    def _require(self, size: int) -> None:
        """What was unpacked to find that it was there already counts too."""
        self._inner.require(self._again + size)


def _uncombed(document, page) -> bool:
    """Takes the comb from fields that spread their characters over cells; whether there is one. The page is to be
    opened anew: the value is drawn as one word then."""
    from pypdfium2 import raw

    combed = [at for at in range(raw.FPDFPage_GetAnnotCount(page)) if _is_combed(document.formenv, page, at)]
    for index in combed:
        with annotation(page, index) as each:
            flags = raw.FPDFAnnot_GetFormFieldFlags(document.formenv, each)
            raw.FPDFAnnot_SetFormFieldFlags(document.formenv, each, flags & ~_COMB)
            raw.FPDFAnnot_SetAP(each, raw.FPDF_ANNOT_APPEARANCEMODE_NORMAL, None)
    return bool(combed)


def _is_combed(forms, page, index: int) -> bool:
    from pypdfium2 import raw

    with annotation(page, index) as each:
        if not forms or not each or raw.FPDFAnnot_GetFormFieldType(forms, each) != raw.FPDF_FORMFIELD_TEXTFIELD:
            return False
        has_value = raw.FPDFAnnot_GetFormFieldValue(forms, each, None, 0) > 2
        return has_value and bool(raw.FPDFAnnot_GetFormFieldFlags(forms, each) & _COMB)


def _hidden(annotation) -> bool:
    """Whether nobody sees it on the screen. What is not for the screen is hidden for good: it would be written in."""
    from pypdfium2 import raw

    flags = raw.FPDFAnnot_GetFlags(annotation)
    if flags & _NO_VIEW:
        raw.FPDFAnnot_SetFlags(annotation, flags | _HIDDEN)
    return bool(flags & (_HIDDEN | _NO_VIEW))


def _says(text: str, words: str) -> bool:
    """Whether the words stand in the text, as words and not as parts of others."""
    return words in text and bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text))


def _has_appearance(annotation) -> bool:
    from pypdfium2 import raw

    return raw.FPDFAnnot_GetAP(annotation, raw.FPDF_ANNOT_APPEARANCEMODE_NORMAL, None, 0) > 2


def _comment(annotation) -> str:
    from pypdfium2 import raw

    size = raw.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(annotation, b"Contents", ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return clean(buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")).strip()


def _file(handle, require: Callable[[int], None]) -> tuple[str, bytes]:
    """Name and content; no content where the PDF only names it. `require` is told the size first."""
    from pypdfium2 import PdfAttachment, PdfiumError, raw

    if not handle:
        return "", b""
    name, size, got = "", ctypes.c_ulong(), ctypes.c_ulong()
    try:
        name = PdfAttachment(handle, None).get_name()
    except PdfiumError:
        return name, b""
    raw.FPDFAttachment_GetFile(handle, None, 0, size)
    require(size.value)
    content = ctypes.create_string_buffer(size.value)
    whole = raw.FPDFAttachment_GetFile(handle, content, size.value, got) and got.value == size.value
    return name, content.raw if whole else b""
