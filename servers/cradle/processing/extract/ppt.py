"""PPT of PowerPoint 97-2003: every slide as a page, its title, texts, tables, comments and notes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from servers.cradle.processing.extract.compound import BROKEN, opened
from servers.cradle.processing.extract.detect import PPT
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.pictures import chars_of, for_ocr, scans
from servers.cradle.processing.extract.ppt_file import DAMAGED, Presentation, Shape, Slide
from servers.cradle.processing.extract.summary import summary
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import About, Attachment, Block, Item

_TITLES = frozenset({0, 6})
_BREAK = re.compile("[\r\v]")
_NO_CONTENT = frozenset({7, 8, 9, 10})  # date, number, footer and header of a slide


class Ppt:
    name = "ppt"
    version = "7"
    media_types = frozenset({PPT})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Slides in their order, then what is embedded; a slide with next to no text gives its pictures to OCR.

        Raises:
            Unreadable: `damaged`, `encrypted`, or `zip_bomb` where pictures overlap.
        """
        try:
            with opened(file.data) as container:
                said = summary(container)
                yield About(title=said.title, dated=said.dated)
                presentation = Presentation(container)
                for page, slide in enumerate(presentation.slides(), 1):
                    yield About(pages=page)
                    yield from _slide(presentation, slide, page, file.depth, inner)
                yield from _objects(presentation, file.depth, inner)
        except BROKEN:
            raise Unreadable("damaged", DAMAGED) from None


def _slide(presentation: Presentation, slide: Slide, page: int, depth: int, inner: Inner) -> Iterator[Item]:
    chars = 0
    for block in _blocks(slide, page):
        chars += chars_of(block)
        yield block
    numbers = [number for each in _flat(slide.shapes) for number in each.pictures]
    shown = filter(None, map(presentation.store.picture, numbers))
    yield from for_ocr(chars, scans(shown, page, depth, inner))


def _blocks(slide: Slide, page: int) -> Iterator[Block]:
    """Shapes in document order, which is their reading order; the title first; then comments and notes."""
    for shape in sorted(slide.shapes, key=lambda each: not _is_title(each)):
        yield from _table(shape, page) if isinstance(shape, list) else _texts(shape, page)
    if comments := "\n".join(filter(None, map(squeezed, slide.comments))):
        yield Block("paragraph", comments, page=page)
    for shape in _flat(slide.notes):
        if text := "\n".join(_lines(shape)):
            yield Block("paragraph", text, page=page)


def _flat(shapes: list[Shape | list[Shape]]) -> Iterator[Shape]:
    for each in shapes:
        yield from each if isinstance(each, list) else [each]


def _is_title(shape: Shape | list[Shape]) -> bool:
    return isinstance(shape, Shape) and any(each.kind in _TITLES for each in shape.texts)


def _lines(shape: Shape) -> list[str]:
    if shape.placeholder in _NO_CONTENT:
        return []
    return [line for each in shape.texts for text in _BREAK.split(each.text) if (line := squeezed(text))]


def _texts(shape: Shape, page: int) -> Iterator[Block]:
    lines = _lines(shape)
    if lines and _is_title(shape):
        yield Block("heading", " ".join(lines), level=1, page=page)
    elif len(lines) > 1:
        yield Block("list", "\n".join(f"- {line}" for line in lines), page=page)
    elif lines:
        yield Block("paragraph", lines[0], page=page)


def _table(shapes: list[Shape], page: int) -> Iterator[Block]:
    """The cells of a table by where they stand; those that stand nowhere follow. One that is merged holds its text
    going down, so that each row says what it is of."""
    filled = [(each.box, " ".join(_lines(each))) for each in shapes if each.box and _lines(each)]
    lefts = sorted({box[0] for box, _ in filled})
    tops = sorted({box[1] for box, _ in filled})
    rows = [[""] * len(lefts) for _ in tops]
    for (left, top, _, bottom), text in filled:
        for row, place in enumerate(tops):
            if top <= place < max(bottom, top + 1):
                rows[row][lefts.index(left)] = text
    if rows:
        yield table_block(rows, 1 if len(rows) > 1 else 0, page)
    for shape in shapes:
        yield from () if shape.box else _texts(shape, page)


def _objects(presentation: Presentation, depth: int, inner: Inner) -> Iterator[Item]:
    """The items of embedded sheets and documents; what of it cannot be read is an `Attachment` with why."""
    for number, (size, record) in enumerate(presentation.objects(), 1):
        inner.require(size)
        try:
            data = presentation.unpacked(size, record)
        except Unreadable as error:
            yield Attachment(f"object-{number}", "", size, error.code, error.reason)
        else:
            yield from inner_items(inner, data, f"object-{number}", depth + 1)
