"""Every extractor, and the dispatcher that finds the one for a file. Runs in a limited child process (`children`)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from servers.cradle.processing.extract.archive import Archive
from servers.cradle.processing.extract.bmecat import Bmecat
from servers.cradle.processing.extract.body import Body
from servers.cradle.processing.extract.containers import MAX_RATIO, MAX_UNPACKED, RATIO_FROM
from servers.cradle.processing.extract.delimited import Delimited
from servers.cradle.processing.extract.detect import is_container, media_type, mismatch, unsupported
from servers.cradle.processing.extract.doc import Doc
from servers.cradle.processing.extract.docx import Docx
from servers.cradle.processing.extract.extractor import Exhausted, Extractor, File, Unreadable
from servers.cradle.processing.extract.html import Html
from servers.cradle.processing.extract.image import Image
from servers.cradle.processing.extract.json import Json
from servers.cradle.processing.extract.listed import READERS, with_products
from servers.cradle.processing.extract.mail import Mail
from servers.cradle.processing.extract.ole_object import Ole
from servers.cradle.processing.extract.open_text import OpenText
from servers.cradle.processing.extract.outlook import Outlook
from servers.cradle.processing.extract.pdf import Pdf
from servers.cradle.processing.extract.ppt import Ppt
from servers.cradle.processing.extract.pptx import Pptx
from servers.cradle.processing.extract.rtf import Rtf
from servers.cradle.processing.extract.smime import Smime
from servers.cradle.processing.extract.spreadsheet import Spreadsheet
from servers.cradle.processing.extract.structured import Xml
from servers.cradle.processing.extract.text import Markdown, Text
from servers.cradle.processing.extract.tnef import Tnef
from servers.cradle.processing.extraction import About, Attachment, Block, Item, Product, Scan

EXTRACTORS: tuple[Extractor, ...] = (
    Archive(),
    Bmecat(),
    Delimited(),
    Doc(),
    Docx(),
    Html(),
    Image(),
    Json(),
    Mail(),
    Markdown(),
    Ole(),
    OpenText(),
    Outlook(),
    Pdf(),
    Ppt(),
    Pptx(),
    Rtf(),
    Smime(),
    Spreadsheet(),
    Text(),
    Tnef(),
    Xml(),
)
MAX_DEPTH = 5
MAX_INNER = 20_000
_BY_TYPE = {kind: extractor for extractor in EXTRACTORS for kind in extractor.media_types}


def versions() -> dict[str, str]:
    """Extractor name → version: what the installation parameters record."""
    return {extractor.name: extractor.version for extractor in EXTRACTORS}


def find(kind: str) -> Extractor:
    """The extractor of a media type.

    Raises:
        Unreadable: `unsupported_format`.
    """
    if (extractor := _BY_TYPE.get(kind)) is None:
        raise unsupported(kind)
    return extractor


def identify(content: bytes | Body, name: str) -> tuple[File, Extractor]:
    """What a file is and who reads it. What is no container shows in its first bytes, and may stay a stream.

    Raises:
        Unreadable: empty, damaged, encrypted or unsupported.
    """
    if isinstance(content, Body) and is_container(content.head):
        content = content.all()
    kind = media_type(content if isinstance(content, bytes) else content.head, name)
    return File(content, name, kind), find(kind)


def read(file: File, extractor: Extractor) -> Iterator[Item]:
    """The items of a file, those of files inside it in their place.

    Raises:
        Unreadable: at any point; what came before still holds.
    """
    return _items(extractor, file, _Inner(file.size, in_archive=isinstance(extractor, Archive)))


def _items(extractor: Extractor, file: File, inner: _Inner) -> Iterator[Item]:
    found = extractor.extract(file, inner)
    return with_products(found) if extractor.name in READERS else found


def note(file: File) -> tuple[str, str]:
    """A code and reason for what the customer should know of a file that was read all the same; else two ''."""
    if mismatch(file.media_type, file.name):
        return "extension_mismatch", f"The name's ending does not fit: the content is {file.media_type}; read as that."
    return "", ""


class _Inner:
    """Reads inner files through the same dispatcher, within one allowance of bytes and files for the outermost."""

    def __init__(self, outermost: int, *, in_archive: bool) -> None:
        self._in_archive = in_archive
        self.left = min(MAX_UNPACKED, max(RATIO_FROM, MAX_RATIO * outermost))
        self._files = MAX_INNER

    def require(self, size: int) -> None:
        if size > self.left:
            raise Exhausted

    def __call__(self, data: bytes, name: str, depth: int) -> Iterator[Item]:
        self.require(len(data))
        self.left -= len(data)
        self._files -= 1
        if self._files < 0:
            raise Exhausted
        if depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"Files nest deeper than {MAX_DEPTH}; the innermost were not read.")
        kind = media_type(data, name)
        file = File(data, name, kind, depth)
        extractor = find(kind)
        yield Attachment(name, kind, len(data))
        tells_date = self._in_archive and isinstance(extractor, Archive | Bmecat)
        for item in _items(extractor, file, self):
            if isinstance(item, Block | Scan | Product) and not item.source:
                yield replace(item, source=name)
            elif isinstance(item, About) and not tells_date:
                yield replace(item, dated="")  # a file is not as old as one of those in it
            else:
                yield item
