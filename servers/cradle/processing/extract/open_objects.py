"""What an OpenDocument file is as a whole, and what is embedded in it: charts, documents, files of other programs."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress

from servers.cradle.processing.extract import dates, opc
from servers.cradle.processing.extract.archive import label
from servers.cradle.processing.extract.containers import read_part
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import Exhausted, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.open_shapes import PARAGRAPH, said
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import Attachment, Block, Item

MAX_MANIFEST = 16 * 2**20
_LIST = "META-INF/manifest.xml"
_MANIFEST = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
_VALUE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}value"
_DOCUMENT = "application/vnd.oasis.opendocument."
_CHART, _FORMULA = f"{_DOCUMENT}chart", f"{_DOCUMENT}formula"
_NO_VALUES = frozenset({"NaN", "1.#NAN"})


def embedded(
    archive: zipfile.ZipFile, names: Iterable[str], page: int, depth: int, inner: Inner
) -> tuple[Iterator[Item], Iterator[Item]]:
    """What charts say, and the items of embedded files, each once; what of it cannot be read is an `Attachment` with
    why. Formulas of mathematics are none."""
    kinds, once = _kinds(archive), list(dict.fromkeys(names))
    charts = [f"{name}/content.xml" for name in once if kinds.get(name) == _CHART]
    others = [(name, kinds.get(name, "")) for name in once if kinds.get(name) not in {_CHART, _FORMULA}]
    return (
        opc.read_parts(archive, charts, lambda root: _words(root, page)),
        (item for name, kind in others for item in _file(archive, name, kind, depth, inner)),
    )


def is_encrypted(archive: zipfile.ZipFile) -> bool:
    """Whether a password protects what the file holds."""
    return any(True for _ in _listed(archive, "encryption-data"))


def properties(archive: zipfile.ZipFile) -> tuple[str, str]:
    """The title and the date (`dates`) among the file's properties: of its last change, else of its making."""
    try:
        content = opc.root(archive, "meta.xml", 2**20)
    except Unreadable:
        return "", ""
    said = {local(each): squeezed(each.text or "") for each in (() if content is None else content.iter())}
    return said.get("title", ""), dates.of_iso(said.get("date", "")) or dates.of_iso(said.get("creation-date", ""))


def _listed(archive: zipfile.ZipFile, name: str) -> Iterator[Element]:
    """The elements of a name in the list of what the file holds; none where it is damaged."""
    with suppress(Unreadable):
        root = opc.root(archive, _LIST, MAX_MANIFEST)
        yield from () if root is None else root.iter(_MANIFEST + name)


def _kinds(archive: zipfile.ZipFile) -> dict[str, str]:
    """The media types of the documents that lie in folders of the file."""
    entries = _listed(archive, "file-entry")
    listed = {each.get(f"{_MANIFEST}full-path", ""): each.get(f"{_MANIFEST}media-type", "") for each in entries}
    return {path.rstrip("/"): kind for path, kind in listed.items() if kind.startswith(_DOCUMENT)}


def _words(root: Element, page: int) -> Iterator[Block]:
    """A chart's titles and the values that it was drawn from."""
    held = (each for each in root.iter(PARAGRAPH) if each.getparent().get(_VALUE) not in _NO_VALUES)
    if words := [text for each in held if (text := squeezed(said(each)))]:
        yield Block("paragraph", " | ".join(words), page=page)


def _file(archive: zipfile.ZipFile, name: str, kind: str, depth: int, inner: Inner) -> Iterator[Item]:
    shown = label(posixpath.basename(name))
    try:
        data = _packed(archive, name, kind, inner) if kind else read_part(archive, name, opc.MAX_FILE)
    except Exhausted:
        raise
    except Unreadable as error:
        yield Attachment(shown, "", 0, error.code, error.reason)
        return
    if data:
        yield from inner_items(inner, data, shown, depth + 1)


def _packed(archive: zipfile.ZipFile, folder: str, kind: str, inner: Inner) -> bytes:
    """A document of a folder as a file of its own.

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`; Exhausted.
    """
    entries = [each for each in archive.infolist() if each.filename.startswith(f"{folder}/") and not each.is_dir()]
    size = sum(each.file_size for each in entries)
    inner.require(size)
    if size > opc.MAX_FILE:
        reason = f"A document inside the file is longer than {opc.MAX_FILE >> 20} MiB; it was not read."
        raise Unreadable("zip_bomb", reason)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("mimetype", kind)
        packed.writestr(_LIST, f'<m:manifest xmlns:m="{_MANIFEST[1:-1]}"/>')  # calamine asks for one
        for each in entries:
            packed.writestr(each.filename.removeprefix(f"{folder}/"), read_part(archive, each, each.file_size) or b"")
    return out.getvalue()
