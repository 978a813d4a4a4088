"""What the office formats share (Open Packaging Conventions, ECMA-376-2): parts that name others; charts, diagrams,
pictures and whole files inside a document."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.archive import label
from servers.cradle.processing.extract.containers import MAX_XML, read_part
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import Exhausted, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.xml import Element, local, parse
from servers.cradle.processing.extraction import Attachment, Block, Item, Scan

MAX_RELATIONS = 16 * 2**20
MAX_FILE = 64 * 2**20
ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
SAYING = ("chart", "diagramData")
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/(main|relationships)")
_WORDS = frozenset({"v", "t", "text"})
_EQUATION = "Equation Native".encode("utf-16-le")
_HOLDING = ("package", "oleObject", "aFChunk")

Related = dict[str, tuple[str, str]]
"""Relation id → (last word of its kind, name of the part)."""


def root(archive: zipfile.ZipFile, part: str, limit: int = MAX_XML) -> Element | None:
    """The root of a part, None where there is none. Names of the strict form are those of the usual one."""
    content = read_part(archive, part, limit)
    if content is not None and _STRICT.search(content):
        content = _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/\2", content)
    return None if content is None else parse(content)


def main(archive: zipfile.ZipFile, usual: str) -> str:
    """The part that the file is about; Word in a browser numbers it (`word/document2.xml`)."""
    held = set(archive.namelist())
    return next((name for name in of_kind(related(archive, ""), "officeDocument") if name in held), usual)


# what python-docx and python-pptx take over from their templates into each file that they make
_OF_TEMPLATES = frozenset({"2013-12-23T23:15:00", "2013-01-27T09:14:16", "2013-01-27T09:15:58"})


def properties(archive: zipfile.ZipFile) -> tuple[str, str]:
    """The title and the date (`dates`) among the file's properties: of its last change, else of its making."""
    try:
        found = root(archive, "docProps/core.xml", 2**20)
    except Unreadable:
        return "", ""
    said = {local(each): squeezed(each.text or "") for each in reversed(() if found is None else found)}
    moments = (dates.of_iso(said.get(each, "")) for each in ("modified", "created"))
    return said.get("title", ""), next((each for each in moments if each and each not in _OF_TEMPLATES), "")


def related(archive: zipfile.ZipFile, part: str) -> Related:
    """The parts inside the file that `part` names; none where it names them in a part that is damaged."""
    folder, name = posixpath.split(part)
    found: Related = {}
    try:
        listed = root(archive, posixpath.join(folder, "_rels", f"{name}.rels"), MAX_RELATIONS)
    except Unreadable:
        return found
    for relation in () if listed is None else listed:
        if relation.get("TargetMode") != "External" and (target := relation.get("Target")):
            place = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            found[relation.get("Id") or ""] = ((relation.get("Type") or "").rpartition("/")[2], place)
    return found


def of_kind(parts: Related, *kinds: str) -> list[str]:
    """The parts that are related in one of these ways, each once, by name and number."""
    return sorted({name for kind, name in parts.values() if kind in kinds}, key=_numbered)


def _numbered(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"([0-9]{1,9})", name)]


def read_parts(
    archive: zipfile.ZipFile, names: Iterable[str], read: Callable[[Element], Iterator[Item]]
) -> Iterator[Item]:
    """What is read from each part; one that is damaged is an `Attachment` with why."""
    for name in names:
        try:
            element = root(archive, name)
        except Unreadable as error:
            yield _unread(name, 0, error)
        else:
            yield from () if element is None else read(element)


def values(element: Element, page: int = 0) -> Iterator[Block]:
    """What a chart, diagram or comment says: its names, texts and cached values, in order."""
    words = [text for each in element.iter() if local(each) in _WORDS and (text := squeezed(each.text or ""))]
    if words:
        yield Block("paragraph", " | ".join(words), page=page)


def scans(archive: zipfile.ZipFile, names: Iterable[str], page: int, depth: int, inner: Inner) -> Iterator[Item]:
    """Pictures for OCR; one that is damaged is an `Attachment` with why. Drawings (EMF, SVG) hold no scan."""
    for name in names:
        data = b""
        try:
            data = read_part(archive, name, MAX_FILE) or b""
            yield from (Scan(each.png, page) for each in inner(data, name, depth + 1) if isinstance(each, Scan))
        except Exhausted:
            raise
        except Unreadable as error:
            if error.code != "unsupported_format":
                yield _unread(name, len(data), error)


def files(
    archive: zipfile.ZipFile, parts: Related, depth: int, inner: Inner, seen: set[str] | None = None
) -> Iterator[Item]:
    """The items of whole documents that the file holds: sheets in a text, texts in a sheet. Equations are none.

    Args:
        seen: parts that were read already; those read now join them.
    """
    seen = set() if seen is None else seen
    for name in of_kind(parts, *_HOLDING):
        if name in seen:
            continue
        seen.add(name)
        try:
            data = read_part(archive, name, MAX_FILE)
        except Unreadable as error:
            yield _unread(name, 0, error)
            continue
        if data is not None and _EQUATION not in data:
            yield from inner_items(inner, data, label(posixpath.basename(name)), depth + 1)


def _unread(name: str, size: int, why: Unreadable) -> Attachment:
    return Attachment(label(posixpath.basename(name)), "", size, why.code, why.reason)
