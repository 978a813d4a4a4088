"""DOC (Word 6 to 2003): headings, paragraphs, lists, tables, notes, headers, comments, text boxes, pictures."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import chain

from servers.cradle.processing.extract.compound import BROKEN, Compound, opened
from servers.cradle.processing.extract.detect import DOC
from servers.cradle.processing.extract.doc_file import DAMAGED, Word, form_of
from servers.cradle.processing.extract.doc_old import is_old, old_form
from servers.cradle.processing.extract.doc_pictures import pictures
from servers.cradle.processing.extract.encoding import decode, paired, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.pictures import chars_of, for_ocr, scans
from servers.cradle.processing.extract.rtf_words import code_page
from servers.cradle.processing.extract.story import Story
from servers.cradle.processing.extraction import About, Attachment, Item

_MARK = re.compile("[\r\x07\x0c]")
_TEXT = b"\x1e\0\0\0"  # VT_LPSTR
_PAGE, _TITLE = 1, 2
_IN_LINE = {0x0B: "\n", 0x0E: "\n", 0x1E: "-", 0x1F: None}
_OBJECT = "It is an object of another programme inside a Word file, which is not read. Send it as a file of its own."


class Doc:
    name = "doc"
    version = "2"
    media_types = frozenset({DOC})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The body in order, then footnotes, headers and footers, comments, endnotes and text boxes, then what is
        embedded. Deleted text is out, inserted text is in. A document with next to no text gives its pictures to OCR.

        Raises:
            Unreadable: `damaged`, `encrypted`, `zip_bomb` where pictures overlap, or `unsupported_format` for files
                older than Word 6.
        """
        try:
            with opened(file.data) as container:
                yield About(title=_title(container.read("\x05SummaryInformation")))
                word = _word(container)
                chars = 0
                for item in chain.from_iterable(_story(word, start, end) for start, end in word.stories()):
                    chars += chars_of(item)
                    yield item
                yield from for_ocr(chars, scans(pictures(word), file.depth, inner))
                yield from _objects(container, file.depth, inner)
        except BROKEN:
            raise Unreadable("damaged", DAMAGED) from None


def _word(container: Compound) -> Word:
    stream = container.read("WordDocument")
    if is_old(stream):
        return Word(stream, stream, old_form(stream))
    tables = (container.read("0Table"), container.read("1Table"))
    return Word(stream, container.read("Data"), form_of(stream, tables))


def _story(word: Word, start: int, end: int) -> Iterator[Item]:
    blocks: list[Item] = []
    story = Story(blocks)
    for mark in _MARK.finditer(word.text, start, end):
        text = paired(word.text[start : mark.start()]).translate(_IN_LINE)
        start = mark.end()
        said = word.paragraph(mark.start())
        if mark.group() == "\x07" and said.row_end:
            story.row(said.edges, header=said.header)
        elif mark.group() == "\x07":
            story.cell(text)
        elif said.in_table:
            story.cell_paragraph(text)
        else:
            story.paragraph(text, said.level, listed=said.listed)
        yield from blocks
        blocks.clear()
    story.paragraph(paired(word.text[start:end]).translate(_IN_LINE))
    story.close()
    yield from blocks


def _title(properties: bytes) -> str:
    """Property 2 of the first set of properties (MS-OLEPS): a table of numbers and places, then the values.

    Property 1 is the code page of its texts.
    """
    if len(properties) < 48:
        return ""
    section = properties[struct.unpack_from("<I", properties, 44)[0] :][: 2**20]
    count = min(int.from_bytes(section[4:8], "little"), (len(section) - 8) // 8)
    places = dict(struct.iter_unpack("<II", section[8 : 8 + 8 * count])) if count > 0 else {}
    at = places.get(_TITLE, len(section))
    if section[at : at + 4] != _TEXT:
        return ""
    text = section[at + 8 : at + 8 + int.from_bytes(section[at + 4 : at + 8], "little")].rstrip(b"\0")
    page = section[places.get(_PAGE, len(section)) :][4:6]
    codec = code_page(int.from_bytes(page, "little"))
    return squeezed(decode(text) if codec == "cp1252" else text.decode(codec, "replace"))


def _objects(container: Compound, depth: int, inner: Inner) -> Iterator[Item]:
    """What is embedded: a document of Office 2007 and later is read, others are named."""
    names = sorted({path[1] for path in container.paths if path[0] == "ObjectPool" and len(path) > 2})
    for number, name in enumerate(names, 1):
        if package := container.read("ObjectPool", name, "Package"):
            yield from inner_items(inner, package, f"object-{number}", depth + 1)
        else:
            yield Attachment(f"object-{number}", "application/x-ole-storage", 0, "unsupported_format", _OBJECT)
