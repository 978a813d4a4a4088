"""What an XLSX file holds of a sheet beside the values of its cells: text boxes, charts, comments, files, and formulas
whose results it lacks."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import whole_blocks
from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import Exhausted, Inner, Unreadable
from servers.cradle.processing.extract.xml import Element
from servers.cradle.processing.extraction import Attachment, Block, Item

BLOCK = 2**20
MAX_HELD = 32 * 2**20
_EMPTY = re.compile(
    rb"(?:</((?:[\w.-]+:)?)f>|<((?:[\w.-]+:)?)f\b[^<>]*/>)\s*(?:<(?:\1|\2)v\s*/>|<(?:\1|\2)v\s*></(?:\1|\2)v>)?\s*</(?:\1|\2)c>"
)
_CELL = re.compile(rb"<(?:[\w.-]+:)?c\b[^<>]*>")
_TEXT = re.compile(rb"""\bt=["']str["']""")


def sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """Sheet name → its part, for parts that are there."""
    main = opc.main(archive, "xl/workbook.xml")
    try:
        root, related = opc.root(archive, main), opc.related(archive, main)
    except Unreadable:  # calamine judges the file
        return {}
    named = [] if root is None else list(root.iter("{*}sheet"))
    held = set(archive.namelist())
    found = {each.get("name"): related.get(_relation(each), ("", ""))[1] for each in named}
    return {name: part for name, part in found.items() if name and part in held}


def beside(archive: zipfile.ZipFile, part: str, page: int, depth: int, inner: Inner) -> Iterator[Item]:
    """Text boxes, charts, comments with their cells, and the items of files that are embedded in a sheet; what of it
    cannot be read is an `Attachment` with why."""
    try:
        parts = opc.related(archive, part)
        for name in opc.of_kind(parts, "drawing"):
            yield from _drawing(archive, name, page)
        threads = opc.of_kind(parts, "threadedComment")  # the old comments have their texts once more, with a note
        for name in threads or opc.of_kind(parts, "comments"):
            if (root := opc.root(archive, name)) is not None:
                yield from _comments(root, page)
        yield from opc.files(archive, parts, depth, inner)
    except Exhausted:
        raise
    except Unreadable as error:
        yield Attachment("drawings and comments", "", 0, error.code, error.reason)


def without_results(archive: zipfile.ZipFile, part: str, sheet: str) -> Iterator[Attachment]:
    """Says of a sheet how many of its formulas have no result in the file: their cells were read as empty ones."""
    count = sum(1 for _ in _unanswered(archive, part))
    if count:
        what = "holds a formula" if count == 1 else "hold formulas"
        cells = "1 cell" if count == 1 else f"{count} cells"
        reason = f"{cells} of the sheet {what} without a result. Open the file in a spreadsheet program and save it."
        yield Attachment(sheet, "", 0, "formula_without_result", reason)


def _unanswered(archive: zipfile.ZipFile, part: str) -> Iterator[re.Match[bytes]]:
    held = b""
    for block in whole_blocks(archive, part, BLOCK):
        held += block
        cut = max(held.rfind(b"</c>") + 4, held.rfind(b":c>") + 3)
        if cut < 4 and len(held) <= MAX_HELD:
            continue
        for found in _EMPTY.finditer(held, 0, cut) if b"f" in held else ():
            cell = [*_CELL.finditer(held, max(0, found.start() - 8192), found.start())][-1:]
            if cell and not _TEXT.search(cell[0][0]):  # the result of a text may be an empty one
                yield found
        held = held[cut:]


def _drawing(archive: zipfile.ZipFile, name: str, page: int) -> Iterator[Block]:
    root = opc.root(archive, name)
    for shape in () if root is None else root.iter("{*}sp"):
        lines = [text for each in shape.iter("{*}p") if (text := _said(each).strip())]
        if lines:
            yield Block("paragraph", "\n".join(lines), page=page)
    for chart in opc.of_kind(opc.related(archive, name), *opc.SAYING):
        if (root := opc.root(archive, chart)) is not None:
            yield from opc.values(root, page)


def _comments(root: Element, page: int) -> Iterator[Block]:
    said = ((each.get("ref"), squeezed(_said(each))) for each in root.iter("{*}comment", "{*}threadedComment"))
    if lines := [f"{place}: {text}" for place, text in said if text]:
        yield Block("paragraph", "\n".join(lines), page=page)


def _said(element: Element) -> str:
    return clean("".join(each.text or "" for each in element.iter("{*}t", "{*}text")))


def _relation(sheet: Element) -> str:
    return next((value for name, value in sheet.attrib.items() if name.endswith("}id")), "")
