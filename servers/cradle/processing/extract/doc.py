"""DOC (Word 6 to 2003): headings, paragraphs, lists, tables, notes, headers, comments, text boxes, pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from servers.cradle.processing.extract.compound import BROKEN, Compound, opened
from servers.cradle.processing.extract.detect import DOC
from servers.cradle.processing.extract.doc_file import DAMAGED, Word, form_of
from servers.cradle.processing.extract.doc_old import is_old, old_form
from servers.cradle.processing.extract.doc_pictures import pictures
from servers.cradle.processing.extract.encoding import paired
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.ole_object import embedded
from servers.cradle.processing.extract.pictures import chars_of, for_ocr, scans
from servers.cradle.processing.extract.story import Story
from servers.cradle.processing.extract.summary import summary
from servers.cradle.processing.extraction import About, Item

_MARK = re.compile("[\r\x07\x0c]")
_IN_LINE = {0x0B: "\n", 0x0E: "\n", 0x1E: "-", 0x1F: None}
_OBJECTS = "ObjectPool"


class Doc:
    name = "doc"
    version = "10"
    media_types = frozenset({DOC})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The body in order, then footnotes, headers and footers, comments, endnotes and text boxes, then what is
        embedded. Deleted and hidden text is out, inserted text is in. A document with next to no text gives its
        pictures to OCR.

        Raises:
            Unreadable: `damaged`, `encrypted`, `zip_bomb` where pictures overlap, or `unsupported_format` for files
                older than Word 6.
        """
        try:
            with opened(file.data) as container:
                said = summary(container)
                yield About(title=said.title, dated=said.dated)
                word = _word(container)
                chars = 0
                for item in chain.from_iterable(_story(word, start, end) for start, end in word.stories()):
                    chars += chars_of(item)
                    yield item
                yield from for_ocr(chars, scans(pictures(word), 0, file.depth, inner))
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


def _objects(container: Compound, depth: int, inner: Inner) -> Iterator[Item]:
    """The items of what is embedded."""
    names = sorted({path[1] for path in container.below(_OBJECTS) if len(path) > 2})
    for number, name in enumerate(names, 1):
        yield from embedded(container, (_OBJECTS, name), f"object-{number}", depth, inner)
