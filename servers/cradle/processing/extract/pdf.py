"""PDF by pdfium: the text layer with reading order, headings and tables; pages without one become scans for OCR."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from servers.cradle.processing.extract.detect import PDF
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.image import MAX_PIXELS, to_png
from servers.cradle.processing.extract.pdf_layout import Glyph, blocks_of, lines_of
from servers.cradle.processing.extraction import About, Item, Scan

DPI = 200
MAX_PAGES = 20_000
MAX_CHARS = 500_000
_PASSWORD = 4


class Pdf:
    name = "pdf"
    version = "2"
    media_types = frozenset({PDF})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Page by page: blocks where there is text, a scan where there is none but something is drawn.

        Raises:
            Unreadable: `encrypted`, `damaged`, `too_many_pages`, `too_large`.
        """
        del inner
        import pypdfium2

        document = _open(file.data)
        try:
            count = len(document)
            if count > MAX_PAGES:
                raise Unreadable("too_many_pages", f"The PDF has {count} pages; {MAX_PAGES} is the limit. Split it.")
            if count == 0:
                raise Unreadable("damaged", "The PDF has no pages that can be found. Send it again from its source.")
            yield About(title=squeezed(document.get_metadata_value("Title") or ""), pages=count)
            for index in range(count):
                yield from _page(document, index)
        except pypdfium2.PdfiumError:
            raise Unreadable("damaged", "A page of the PDF cannot be read. Send it again from its source.") from None
        finally:
            document.close()


def _open(data: bytes):
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD or "password" in str(error).lower():
            raise Unreadable(
                "encrypted", "The PDF opens only with a password. Save it without one and send it again."
            ) from None
        raise Unreadable("damaged", "The PDF is cut off or damaged. Send it again from its source.") from None


def _page(document, index: int) -> Iterator[Item]:
    page = document[index]
    try:
        glyphs = _glyphs(page)
        if any(not glyph.char.isspace() for glyph in glyphs):
            yield from blocks_of(lines_of(glyphs), index + 1)
        elif _drawn(page):
            yield Scan(_render(page), index + 1)
    finally:
        page.close()


def _glyphs(page) -> list[Glyph]:
    """Every character with its box, in the order of the content stream."""
    from pypdfium2 import raw

    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count > MAX_CHARS:
            raise Unreadable("too_large", f"A page of the PDF holds more than {MAX_CHARS} characters; it was not read.")
        handle, box = textpage.raw, raw.FS_RECTF()
        place = ctypes.byref(box)
        glyphs = []
        for position in range(count):
            code = raw.FPDFText_GetUnicode(handle, position)
            if code in (0, 2, 13, 10, 0xFFFE, 0xFFFF) or raw.FPDFText_IsGenerated(handle, position) == 1:
                continue
            raw.FPDFText_GetLooseCharBox(handle, position, place)
            glyphs.append(Glyph(chr(code), box.left, box.right, box.bottom, box.top))
        return _paired(glyphs)
    finally:
        textpage.close()


def _paired(glyphs: list[Glyph]) -> list[Glyph]:
    """Characters beyond the first plane come as two surrogates on one place: joined here."""
    if not any("\ud800" <= glyph.char <= "\udfff" for glyph in glyphs):
        return glyphs
    joined: list[Glyph] = []
    for glyph in glyphs:
        if joined and "\udc00" <= glyph.char <= "\udfff" and "\ud800" <= joined[-1].char <= "\udbff":
            char = (joined[-1].char + glyph.char).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            joined[-1] = joined[-1]._replace(char=char)
        else:
            joined.append(glyph)
    return [g._replace(char="\ufffd") if "\ud800" <= g.char[0] <= "\udfff" else g for g in joined]


def _drawn(page) -> bool:
    return next(iter(page.get_objects(max_depth=1)), None) is not None


def _render(page) -> bytes:
    width, height = page.get_size()
    scale = DPI / 72
    pixels = width * height * scale * scale
    if pixels > MAX_PIXELS:
        scale *= (MAX_PIXELS / pixels) ** 0.5 * 0.999
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        return to_png(bitmap.to_pil())
    finally:
        bitmap.close()
