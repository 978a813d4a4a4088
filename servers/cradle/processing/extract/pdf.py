"""PDF by pdfium: the text layer with reading order, headings and tables; pages without one become scans for OCR."""

from __future__ import annotations

import ctypes
import math
import re
from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.detect import PDF
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.pdf_annotations import (
    Annotations,
    Files,
    annotations_of,
    embedded_files,
    written_in,
)
from servers.cradle.processing.extract.pdf_layout import blocks_of
from servers.cradle.processing.extract.pdf_lines import SAME_LINE, Glyphs, lines_of, turned
from servers.cradle.processing.extraction import About, Block, Item, Scan
from servers.cradle.processing.page_image import rendered, to_png
from servers.cradle.processing.pdf_forms import fill_forms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from servers.cradle.processing.extract.pdf_lines import Boxes, Flags, Places

    Turns = NDArray[np.int8]

MAX_PAGES = 20_000
MAX_CHARS = 500_000
STAMP_CHARS = 100
SCAN_COVERS = 0.8
MAX_FORMS, MAX_OBJECTS = 8, 1000
_PASSWORD = 4
ASKEW = 0.1
"""Of a quarter: a scan lies askew by less, a watermark across the page by more."""
OBLIQUE = 4
SAMPLED = 64
NAMELESS = 0.3
"""Of a page's characters: a bullet or a sign may be nameless, but where words are, what is left of them is none."""
SAME_SIZE = 1.15
_NO_TEXT = tuple(map(ord, "\0\2\n\r \ufffe\uffff"))
_SURROGATE = re.compile("[\ud800-\udfff]")


class Pdf:
    name = "pdf"
    version = "12"
    media_types = frozenset({PDF})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Page by page: blocks where there is text, a scan where there is none but something is drawn; then the files
        that the PDF holds.

        A scan with a stamp (`Seite 1 von 1`) gives both: the stamp's block, then the scan. What is written in a form's
        fields stands in its place on the page; a page's comments and the files pinned to it follow it.

        Raises:
            Unreadable: `encrypted`, `damaged`, `too_many_pages`, `too_large`.
        """
        import pypdfium2

        document = _open(file.data)
        try:
            count = len(document)
            if count > MAX_PAGES:
                raise Unreadable("too_many_pages", f"The PDF has {count} pages; {MAX_PAGES} is the limit. Split it.")
            if count == 0:
                raise Unreadable("damaged", "The PDF has no pages that can be found. Send it again from its source.")
            title, changed, made = map(document.get_metadata_value, ("Title", "ModDate", "CreationDate"))
            yield About(title=squeezed(title), pages=count, dated=dates.of_pdf(changed) or dates.of_pdf(made))
            files = Files(file.depth, inner)
            for index in range(count):
                yield from _page(document, index, files)
            yield from files.read(embedded_files(document))
        except pypdfium2.PdfiumError:
            raise Unreadable("damaged", "A page of the PDF cannot be read. Send it again from its source.") from None
        finally:
            document.close()


def _open(data: bytes):
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        fill_forms(document)
        return document
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD or "password" in str(error).lower():
            raise Unreadable(
                "encrypted", "The PDF opens only with a password. Save it without one and send it again."
            ) from None
        raise Unreadable("damaged", "The PDF is cut off or damaged. Send it again from its source.") from None


def _page(document, index: int, files: Files) -> Iterator[Item]:
    page = document[index]
    try:
        laid = annotations_of(page)
        try:
            if laid.writes:
                yield from _written(document, index, laid, _is_scan(page, sum(each.written for each in _glyphs(page))))
            else:
                yield from _shown(page, index, laid)
            yield from files.read(laid.handles())
        finally:
            laid.close()
    finally:
        page.close()


def _written(document, index: int, laid: Annotations, scan: bool) -> Iterator[Item]:
    page = written_in(document, index)
    try:
        yield from _shown(page, index, laid, scan)
    finally:
        page.close()


def _shown(page, index: int, laid: Annotations, scan: bool = False) -> Iterator[Item]:
    """What is read on the page; `scan`: it was one before its fields were written in."""
    glyphs = _glyphs(page)
    count = sum(each.written for each in glyphs)
    blocks = [block for each in glyphs if each.written for block in _blocks(each, index + 1)]
    yield from blocks
    if scan or _is_scan(page, count):
        yield Scan(to_png(rendered(page, grayscale=True)), index + 1, stamped=count > 0)
    if laid.comments:
        text = squeezed(" ".join(block.text.replace(" | ", " ") for block in blocks))
        yield from (Block("paragraph", comment, page=index + 1) for comment in laid.said_beside(text))


def _blocks(glyphs: Glyphs, page: int) -> Iterator[Block]:
    if glyphs.in_order:
        return blocks_of(lines_of(glyphs), page)
    return iter([Block("paragraph", squeezed(glyphs.chars), page=page)])


def _glyphs(page) -> list[Glyphs]:
    """Every character with its box, in the order of the content stream, turned so that it stands upright: together
    those that are turned alike, on most pages all. A note on the margin or a column's name may go up the page."""
    import numpy as np

    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count > MAX_CHARS:
            raise Unreadable("too_large", f"A page of the PDF holds more than {MAX_CHARS} characters; it was not read.")
        handle = textpage.raw
        chars = _chars(handle, count)
        signs = np.frombuffer(chars.encode("utf-32-le", "surrogatepass"), np.uint32)
        kept = np.logical_and.reduce([signs != sign for sign in _NO_TEXT])
        # pdfium makes up spaces and ends of lines, nothing else; U+0002 is its word for a line's last hyphen
        for sign, question, answer in ((" ", "FPDFText_IsGenerated", False), ("\2", "FPDFText_IsHyphen", True)):
            places = np.flatnonzero(signs == ord(sign))
            kept[places] = [(said == 1) == answer for said in _asked(question, handle, places.tolist())]
        places = np.flatnonzero(kept)
        nameless = _nameless(handle, places)
        if nameless.sum() > NAMELESS * len(places):
            return []  # OCR reads them
        places = places[~nameless]
        text = signs[places].tobytes().decode("utf-32-le", "surrogatepass")
        text = text.replace("\2", "-").replace("\xad", "-")  # what is drawn is no soft hyphen any more
        text, kept = _paired(text, places.tolist())
        if not kept:
            return []
        boxes = _boxes(handle, kept)
        return list(_parted(text, boxes, _turns(handle, kept, boxes)))
    finally:
        textpage.close()


def _nameless(handle, places: Places) -> Flags:
    """Which characters' font does not say what they are: what pdfium has for them is their number in it. All are asked
    where one of a sample is such."""
    import numpy as np

    question = "FPDFText_HasUnicodeMapError"
    sample = places[:: len(places) // SAMPLED + 1].tolist()
    if not any(said == 1 for said in _asked(question, handle, sample)):
        return np.zeros(len(places), bool)
    return np.fromiter(_asked(question, handle, places.tolist()), np.int64, len(places)) == 1


def _chars(handle, count: int) -> str:
    """The sign of each place, all at once: asking for one after the other takes a hundred times as long.

    Where the text has not one sign for each place, they are asked for all the same; so is what it has U+FFFE for.
    """
    from pypdfium2 import raw

    units = bytearray(2 * (count + 1))  # an array of ctypes is a type of its own for each length
    first = ctypes.byref(ctypes.c_ushort.from_buffer(units))
    written = raw.FPDFText_GetText(handle, 0, count, first) - 1  # the last one is a zero
    text = units[: 2 * max(written, 0)].decode("utf-16-le", "surrogatepass")
    if len(text) != count or _SURROGATE.search(text):
        return "".join(map(chr, map(raw.FPDFText_GetUnicode, repeat(handle), range(count))))
    return re.sub("\ufffe", lambda found: chr(raw.FPDFText_GetUnicode(handle, found.start())), text)


def _turns(handle, places: list[int], boxes: Boxes) -> Turns:
    """By how many quarters each character is turned clockwise, or `OBLIQUE`. A page's own rotation is not asked for:
    its text is turned against it, or lies on its side for readers too.

    Characters that go on beside the one before them, in its size, are turned as it is: they are not asked.
    """
    import numpy as np
    from pypdfium2 import raw

    left, top, _, bottom = boxes.T
    middles, sizes = (top + bottom) / 2, np.maximum(top - bottom, 1.0)
    larger = np.maximum(sizes[1:], sizes[:-1])
    goes_on = (
        (np.abs(np.diff(middles)) < SAME_LINE * larger)
        & (larger < SAME_SIZE * np.minimum(sizes[1:], sizes[:-1]))
        & (left[1:] > left[:-1])
    )
    begins = np.flatnonzero(np.append(True, ~goes_on))
    asked = np.asarray(places)[begins].tolist()
    angles = map(raw.FPDFText_GetCharAngle, repeat(handle), asked)
    sizes_said = map(raw.FPDFText_GetFontSize, repeat(handle), asked)
    turns = np.fromiter(map(_turn, angles, sizes_said), np.int8, len(asked))
    return np.repeat(turns, np.diff(np.append(begins, len(places))))


def _turn(angle: float, size: float) -> int:
    quarters = angle / (math.pi / 2)
    if abs(quarters - round(quarters)) > ASKEW:
        return OBLIQUE
    upside_down = size < 0  # the angle is the matrix's alone
    return (round(quarters) + 2 * upside_down) % 4


def _parted(text: str, boxes: Boxes, turns: Turns) -> Iterator[Glyphs]:
    """The characters that are turned alike, most first."""
    import numpy as np

    if (turns == turns[0]).all():
        yield Glyphs(text, turned(boxes, turns[0]), in_order=turns[0] != OBLIQUE)
        return
    counts = np.bincount(turns, minlength=OBLIQUE + 1)
    signs = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    for turn in sorted(np.flatnonzero(counts).tolist(), key=lambda each: -counts[each]):
        alike = turns == turn
        chars = signs[alike].tobytes().decode("utf-32-le")
        yield Glyphs(chars, turned(boxes[alike], turn), in_order=turn != OBLIQUE)


def _boxes(handle, positions: list[int]) -> Boxes:
    """The characters' boxes. A page holds thousands: they are asked for without a step of Python for each."""
    import numpy as np
    from pypdfium2 import raw

    boxes = np.empty((len(positions), 4), np.float32)  # FS_RECTF of each: left, top, right and bottom
    start, size = boxes.ctypes.data, ctypes.sizeof(raw.FS_RECTF)
    into = map(ctypes.c_void_p.from_param, range(start, start + size * len(positions), size))
    deque(_asked("FPDFText_GetLooseCharBox", handle, positions, into), maxlen=0)
    return boxes.astype(np.float64)


def _asked(question: str, handle, positions: list[int], *more: Iterator[Any]) -> Iterator[int]:
    """The answers to a question for each character. `more`: its further arguments, as `from_param` gives them."""
    page = ctypes.c_void_p.from_param(ctypes.cast(handle, ctypes.c_void_p).value)
    return map(_function(question), repeat(page), positions, *more)


@cache
def _function(name: str) -> Any:
    """A function of pdfium that answers with a number. Arguments are not looked at and no lock is given up in between:
    with both a question takes twice as long."""
    from pypdfium2 import raw

    return ctypes.PYFUNCTYPE(ctypes.c_int)(ctypes.cast(getattr(raw, name), ctypes.c_void_p).value or 0)


def _paired(text: str, places: list[int]) -> tuple[str, list[int]]:
    """Characters beyond the first plane come as two surrogates on one place: joined here."""
    if not _SURROGATE.search(text):
        return text, places
    joined: list[str] = []
    kept: list[int] = []
    for char, place in zip(text, places, strict=True):
        if joined and "\udc00" <= char <= "\udfff" and "\ud800" <= joined[-1] <= "\udbff":
            joined[-1] = (joined[-1] + char).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        else:
            joined.append(char)
            kept.append(place)
    return _SURROGATE.sub("\ufffd", "".join(joined)), kept


def _is_scan(page, chars: int) -> bool:
    """Whether OCR is to read the page: nothing is written but something drawn, or what is written is a scan's stamp."""
    return chars < STAMP_CHARS and _covered(page) if chars else _drawn(page)


def _drawn(page) -> bool:
    return next(iter(page.get_objects(max_depth=1)), None) is not None


def _covered(page) -> bool:
    """Whether images cover the page. A scan may be cut into several, and lie in forms."""
    from pypdfium2 import PdfMatrix

    left, bottom, right, top = page.get_bbox()
    covered = 0.0
    for each in page.get_objects(max_depth=1):
        for from_left, from_bottom, to_right, to_top in _images(each.raw, PdfMatrix()):
            width, height = min(right, to_right) - max(left, from_left), min(top, to_top) - max(bottom, from_bottom)
            covered += max(width, 0.0) * max(height, 0.0)
    return covered > SCAN_COVERS * (right - left) * (top - bottom)


def _images(handle, matrix, depth: int = 0) -> Iterator[tuple[float, float, float, float]]:
    """Where the images lie on the page that an object is or, if it is a form, shows. `matrix`: of the form around."""
    from pypdfium2 import PdfMatrix, raw

    kind = raw.FPDFPageObj_GetType(handle)
    if kind == raw.FPDF_PAGEOBJ_IMAGE:
        left, bottom, right, top = (ctypes.c_float() for _ in range(4))
        if raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top):
            yield matrix.on_rect(left.value, bottom.value, right.value, top.value)
    own = raw.FS_MATRIX()
    if kind == raw.FPDF_PAGEOBJ_FORM and depth <= MAX_FORMS and raw.FPDFPageObj_GetMatrix(handle, own):
        inside = PdfMatrix.from_raw(own).multiply(matrix)
        for at in range(min(raw.FPDFFormObj_CountObjects(handle), MAX_OBJECTS)):
            yield from _images(raw.FPDFFormObj_GetObject(handle, at), inside, depth + 1)
