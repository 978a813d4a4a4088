"""PPTX: every slide as a page, its titles, texts, tables, charts, diagrams and notes, straight from the XML."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from functools import partial
from itertools import chain

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.detect import PPTX
from servers.cradle.processing.extract.encoding import clean, raised, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.pictures import chars_of, for_ocr
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import About, Block, Item

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_TITLES = frozenset({"title", "ctrTitle"})
_NUMBERS = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})


class Pptx:
    name = "pptx"
    version = "11"
    media_types = frozenset({PPTX})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Slides in their order, each with what is embedded in it; one with next to no text gives its pictures to OCR.

        Raises:
            Unreadable: `damaged` where the presentation lists slides that are not there.
        """
        archive = check_zip(file.data)
        slides = _slides(archive)
        title, dated = opc.properties(archive)
        yield About(title=title, pages=len(slides), dated=dated)
        seen = set(slides)
        for number, name in enumerate(slides, 1):
            yield from _slide(archive, name, number, file.depth, inner, seen)


def _slides(archive: zipfile.ZipFile) -> list[str]:
    main = opc.main(archive, "ppt/presentation.xml")
    root = opc.root(archive, main)
    if root is None:
        raise Unreadable("damaged", "The presentation has no list of slides. Save it again as PPTX.")
    targets = opc.related(archive, main)
    ids = [each.get(opc.ID) or "" for each in root.iter(_P + "sldId")]
    if any(key not in targets for key in ids):
        raise Unreadable("damaged", "The presentation lists slides that it does not hold. Save it again as PPTX.")
    return [targets[key][1] for key in ids]


def _slide(archive: zipfile.ZipFile, name: str, page: int, depth: int, inner: Inner, seen: set[str]) -> Iterator[Item]:
    root = opc.root(archive, name)
    if root is None:
        raise Unreadable("damaged", "A slide of the presentation is missing. Save it again as PPTX.")
    parts = opc.related(archive, name)
    chars = 0
    for item in chain(_shapes(root, page), _beside(archive, parts, page)):
        chars += chars_of(item)
        yield item
    yield from for_ocr(chars, opc.scans(archive, opc.of_kind(parts, "image"), page, depth, inner))
    yield from opc.files(archive, parts, depth, inner, seen)


def _beside(archive: zipfile.ZipFile, parts: opc.Related, page: int) -> Iterator[Item]:
    for kind in (*opc.SAYING, "notesSlide", "comments"):
        said = partial(_shapes, titles=False) if kind == "notesSlide" else opc.values
        yield from opc.read_parts(archive, opc.of_kind(parts, kind), partial(said, page=page))


def _shapes(root: Element, page: int, *, titles: bool = True) -> Iterator[Block]:
    """Shapes in document order, which is their reading order; the title first."""
    shapes = [each for each in root.iter() if local(each) in ("sp", "graphicFrame") and not _is_twin(each)]
    shapes.sort(key=lambda each: _placeholder(each) not in _TITLES)
    for shape in shapes:
        kind = _placeholder(shape)
        if kind in _NUMBERS:
            continue
        if local(shape) == "graphicFrame":
            yield from (_table(table, page) for table in shape.iter(_A + "tbl"))
            continue
        lines = [text for text in map(_text, shape.iter(_A + "p")) if text.strip()]
        if not lines:
            continue
        if titles and kind in _TITLES:
            yield Block("heading", squeezed(" ".join(lines)), level=1, page=page)
        elif kind in ("body", "obj", "") and len(lines) > 1:
            yield Block("list", "\n".join("- " + squeezed(line) for line in lines), page=page)
        else:
            yield Block("paragraph", "\n".join(lines), page=page)


def _is_twin(shape: Element) -> bool:
    """Whether it is what older programs show in a newer shape's place."""
    return any(local(each) == "Fallback" for each in shape.iterancestors())


def _placeholder(shape: Element) -> str:
    """What the layout says that a shape is; `obj` where it says nothing more, '' for a free shape."""
    mark = next(shape.iter(_P + "ph"), None)
    return (mark.get("type") or "obj") if mark is not None else ""


def _text(paragraph: Element) -> str:
    pieces = []
    for node in paragraph.iter():
        name = local(node)
        if name == "t":
            run = node.getparent().find(_A + "rPr")
            up = run is not None and re.fullmatch(r"[1-9]\d*%?", run.get("baseline") or "") is not None
            pieces.append(raised(node.text or "") if up else node.text or "")
        elif name == "br":
            pieces.append("\n")
    return clean("".join(pieces))


def _table(table: Element, page: int) -> Block:
    """Cells that a merged cell covers hold its text going down, so that each row says what it is of."""
    rows: list[list[str]] = []
    for row in table.findall(_A + "tr"):
        cells = []
        for column, cell in enumerate(row.findall(_A + "tc")):
            text = squeezed(" ".join(map(_text, cell.iter(_A + "p"))))
            above = rows[-1][column] if rows and column < len(rows[-1]) else ""
            cells.append(above if cell.get("vMerge") in ("1", "true") and not text else text)
        rows.append(cells)
    return table_block(rows, 1 if len(rows) > 1 else 0, page)
