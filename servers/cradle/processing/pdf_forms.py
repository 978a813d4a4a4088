"""The fields of a PDF's forms, drawn as a reader of paper sees them. Loads nothing but pdfium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_ANNOTATIONS = 20_000
MAX_FILLED_PAGES, MAX_WIDGETS = 2000, 2000


def fill_forms(document) -> None:
    """Has fields that have no appearance of their own drawn. Call it before pages are opened. Not where there are so
    many fields that pdfium takes seconds for every page: it compares each with all."""
    from pypdfium2 import raw

    if document.get_formtype() != raw.FORMTYPE_NONE and _few_fields(document):
        document.init_forms()


def _few_fields(document) -> bool:
    """Whether forms are small enough to be filled. Its pages are only looked at, not kept."""
    from pypdfium2 import raw

    pages = len(document)
    if pages > MAX_FILLED_PAGES:
        return False
    left = MAX_WIDGETS
    for index in range(pages):
        page = raw.FPDF_LoadPage(document, index)
        try:
            left -= _widgets(page, left + 1)
        finally:
            if page:
                raw.FPDF_ClosePage(page)
        if left < 0:
            return False
    return True


def _widgets(page, at_most: int) -> int:
    """How many of a page's annotations are fields; no more than `at_most` are counted."""
    from pypdfium2 import raw

    total = raw.FPDFPage_GetAnnotCount(page) if page else 0
    if total > MAX_ANNOTATIONS:
        return at_most
    found = 0
    for index in range(total):
        with annotation(page, index) as each:
            found += bool(each) and raw.FPDFAnnot_GetSubtype(each) == raw.FPDF_ANNOT_WIDGET
        if found == at_most:
            break
    return found


@contextmanager
def annotation(page, index: int) -> Iterator[object]:
    """An annotation of a page, closed afterwards."""
    from pypdfium2 import raw

    opened = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield opened
    finally:
        if opened:
            raw.FPDFPage_CloseAnnot(opened)
