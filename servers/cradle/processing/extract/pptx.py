"""PPTX: every slide as a page, its titles, texts, tables, charts, diagrams and notes, straight from the XML."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator

from servers.cradle.processing.extract.containers import check_zip, read_part
from servers.cradle.processing.extract.detect import PPTX
from servers.cradle.processing.extract.docx import title_of
from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extract.xml import Element, local, parse
from servers.cradle.processing.extraction import About, Block, Item, Scan

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TITLES = frozenset({"title", "ctrTitle"})
_NUMBERS = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})
MAX_PICTURE = 64 * 2**20


class Pptx:
    name = "pptx"
    version = "1"
    media_types = frozenset({PPTX})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Slides in their order; a slide without any text gives its pictures to OCR.

        Raises:
            Unreadable: `damaged` where the presentation lists slides that are not there.
        """
        archive = check_zip(file.data)
        slides = _slides(archive)
        yield About(title=title_of(archive), pages=len(slides))
        for number, name in enumerate(slides, 1):
            yield from _slide(archive, name, number, file.depth, inner)


def _slides(archive: zipfile.ZipFile) -> list[str]:
    content = read_part(archive, "ppt/presentation.xml")
    if content is None:
        raise Unreadable("damaged", "The presentation has no list of slides. Save it again as PPTX.")
    targets = _related(archive, "ppt/presentation.xml")
    ids = [each.get(_R + "id") or "" for each in parse(content).iter(_P + "sldId")]
    if any(key not in targets for key in ids):
        raise Unreadable("damaged", "The presentation lists slides that it does not hold. Save it again as PPTX.")
    return [targets[key][1] for key in ids]


def _related(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Relation id → (last word of its kind, name of the part), for parts inside the file."""
    folder, name = posixpath.split(part)
    content = read_part(archive, f"{folder}/_rels/{name}.rels", 16 * 2**20)
    if content is None:
        return {}
    found = {}
    for relation in parse(content):
        if relation.get("TargetMode") != "External" and (target := relation.get("Target")):
            place = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
            found[relation.get("Id") or ""] = ((relation.get("Type") or "").rpartition("/")[2], place)
    return found


def _slide(archive: zipfile.ZipFile, name: str, page: int, depth: int, inner: Inner) -> Iterator[Item]:
    content = read_part(archive, name)
    if content is None:
        raise Unreadable("damaged", "A slide of the presentation is missing. Save it again as PPTX.")
    related = _related(archive, name)
    given = 0
    for block in _shapes(parse(content), page):
        given += 1
        yield block
    for kind, target in sorted(related.values()):
        if kind not in ("notesSlide", "chart", "diagramData") or (part := read_part(archive, target)) is None:
            continue
        given += 1
        yield from _shapes(parse(part), page, titles=False) if kind == "notesSlide" else _values(parse(part), page)
    if not given:
        yield from _pictures(archive, related, page, depth, inner)


def _values(root: Element, page: int) -> Iterator[Block]:
    """What a chart or diagram says: its names and cached values, in order."""
    words = [text for each in root.iter() if local(each) in ("v", "t") and (text := squeezed(each.text or ""))]
    if words:
        yield Block("paragraph", " | ".join(words), page=page)


def _pictures(
    archive: zipfile.ZipFile, related: dict[str, tuple[str, str]], page: int, depth: int, inner: Inner
) -> Iterator[Item]:
    for kind, target in sorted(related.values(), key=lambda each: each[1]):
        if kind != "image" or (data := read_part(archive, target, MAX_PICTURE)) is None:
            continue
        try:
            yield from (Scan(each.png, page) for each in inner(data, target, depth + 1) if isinstance(each, Scan))
        except Unreadable as error:
            if error.code != "unsupported_format":  # drawings (EMF, SVG) hold no scan
                raise


def _shapes(root: Element, page: int, *, titles: bool = True) -> Iterator[Block]:
    """Shapes in document order, which is their reading order; the title first."""
    shapes = [each for each in root.iter() if local(each) in ("sp", "graphicFrame")]
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


def _placeholder(shape: Element) -> str:
    """What the layout says that a shape is; `obj` where it says nothing more, '' for a free shape."""
    mark = next(shape.iter(_P + "ph"), None)
    return (mark.get("type") or "obj") if mark is not None else ""


def _text(paragraph: Element) -> str:
    pieces = []
    for node in paragraph.iter():
        name = local(node)
        if name == "t":
            pieces.append(node.text or "")
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
