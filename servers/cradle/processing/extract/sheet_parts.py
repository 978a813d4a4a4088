"""What an XLSX file holds of a sheet beside the values of its cells: text boxes, charts, comments, files, and formulas
whose results it lacks."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import whole_blocks
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.extractor import Inner, Unreadable
from servers.cradle.processing.extract.sheet_notes import notes
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import Attachment, Block, Item

BLOCK = 2**20
MAX_HELD = 4 * 2**20  # without an end of a cell
KEPT = 2**16  # then
_EMPTY = re.compile(
    rb"(?:</((?:[\w.-]+:)?)f>|<((?:[\w.-]+:)?)f\b[^<>]*/>)(?:\s*<(?:\1|\2)v(?:\s*/>|\s*></(?:\1|\2)v>))?\s*</(?:\1|\2)c>"
)
_TEXT = re.compile(rb"""\st\s*=\s*["']str["']""")

ReadNotes = Callable[[zipfile.ZipFile, str, int, set[str]], Iterator[Item]]
"""Archive, part, page and cells with a thread → what the part's notes say."""


def sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """Sheet name → its part, for parts that are there."""
    main = opc.main(archive, "xl/workbook.xml")
    try:
        root, related = opc.root(archive, main), opc.related(archive, main)
    except Unreadable:  # calamine judges the file
        return {}
    named = [] if root is None else list(root.iter("{*}sheet"))
    held = set(archive.namelist())
    found = {clean(each.get("name") or ""): related.get(each.get(opc.ID, ""), ("", ""))[1] for each in named}
    return {name: part for name, part in found.items() if part in held}


def beside(
    archive: zipfile.ZipFile, part: str, page: int, depth: int, inner: Inner, binary: ReadNotes | None = None
) -> Iterator[Item]:
    """Text boxes, charts, comments with their cells, and the items of files that are embedded in a sheet; what of it
    cannot be read is an `Attachment` with why.

    Args:
        binary: reads a part of notes where these are no XML.
    """
    parts = opc.related(archive, part)
    for name in opc.of_kind(parts, "drawing"):
        charts = opc.of_kind(opc.related(archive, name), *opc.SAYING)
        yield from opc.read_parts(archive, [name], lambda root: _boxes(root, page))
        yield from opc.read_parts(archive, charts, lambda root: opc.values(root, page))
    threads: set[str] = set()
    said, held = opc.of_kind(parts, "threadedComment"), opc.of_kind(parts, "comments")
    yield from opc.read_parts(archive, said if binary else said + held, lambda root: _comments(root, page, threads))
    for name in held:
        if binary:
            yield from binary(archive, name, page, threads)
    yield from opc.files(archive, parts, depth, inner)


def pictures(archive: zipfile.ZipFile, part: str, page: int, depth: int, inner: Inner) -> Iterator[Item]:
    """Scans of the pictures on a sheet."""
    drawings = opc.of_kind(opc.related(archive, part), "drawing")
    named = (name for each in drawings for name in opc.of_kind(opc.related(archive, each), "image"))
    yield from opc.scans(archive, dict.fromkeys(named), page, depth, inner)


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
        if cut < 4:
            held = held[-KEPT:] if len(held) > MAX_HELD else held
            continue
        end = 0
        for found in _EMPTY.finditer(held, 0, cut) if b"f" in held else ():
            cell = held.rfind(b"<%bc" % (found[1] or found[2] or b""), end, found.start())
            end = found.end()
            if cell >= 0 and not _TEXT.search(held, cell, held.find(b">", cell)):  # that of a text may be an empty one
                yield found
        held = held[cut:]


def _boxes(root: Element, page: int) -> Iterator[Block]:
    for shape in root.iter("{*}sp"):
        if any(local(each) == "Fallback" for each in shape.iterancestors()):
            continue
        lines = [text for each in shape.iter("{*}p") if (text := _said(each).strip())]
        if lines:
            yield Block("paragraph", "\n".join(lines), page=page)


def _comments(root: Element, page: int, threads: set[str]) -> Iterator[Block]:
    """Comments with their cells. `threads`: cells with a thread, for which old programs have its texts as a note."""
    said = list(root.iter("{*}threadedComment"))
    threads.update(each.get("ref", "") for each in said)
    said += [each for each in root.iter("{*}comment") if each.get("ref", "") not in threads]
    yield from notes(((each.get("ref", ""), _said(each)) for each in said), page)


def _said(element: Element) -> str:
    return clean(
        "".join("\n" if local(each) == "br" else each.text or "" for each in element.iter("{*}t", "{*}text", "{*}br"))
    )
