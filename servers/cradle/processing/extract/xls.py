"""What calamine leaves out of an XLS file: what numbers show beside them, text boxes, charts, notes and what is
embedded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from servers.cradle.processing.extract.compound import BROKEN, opened
from servers.cradle.processing.extract.extractor import Inner
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import Shown
from servers.cradle.processing.extract.office_art import Store, shown_in
from servers.cradle.processing.extract.ole_object import embedded
from servers.cradle.processing.extract.pictures import scans
from servers.cradle.processing.extract.sheet_notes import notes
from servers.cradle.processing.extract.summary import summary
from servers.cradle.processing.extract.xls_drawn import drawn
from servers.cradle.processing.extract.xls_formats import xls_formats
from servers.cradle.processing.extraction import Block, Item

_OBJECT = re.compile("MBD[0-9A-F]{8}", re.IGNORECASE)


class XlsSheets:
    """What a file's sheets hold beside what calamine reads; of those older than BIFF8, what is embedded alone. Nothing
    where it is damaged, which calamine judges.

    Args:
        depth: of the file; `inner` reads pictures and what is embedded in it.
    """

    def __init__(self, data: bytes, depth: int, inner: Inner) -> None:
        self._depth, self._inner = depth, inner
        self.dated = _dated(data)
        self._formats = xls_formats(data)
        self._store = Store(self._formats.pictures if self._formats else b"", b"")
        self._embedded = _objects(data, depth, inner)

    def readable(self, data: bytes) -> bytes:
        """The file as it came."""
        return data

    def merges(self, sheet: str) -> list[Merge]:
        """None: calamine tells them."""
        del sheet
        return []

    def marks(self, sheet: str) -> Iterator[Shown] | None:
        """The rows with cells that show more than their number."""
        return self._formats and self._formats.marks(sheet)

    def items(self, sheet: str, page: int) -> Iterator[Item]:
        """Text boxes and other shapes with text, charts, and notes; with the first sheet what is embedded."""
        if self._formats:
            found = drawn(self._formats.stream, self._formats.begins(sheet))
            yield from (Block("paragraph", each, page=page) for each in found.boxes)
            yield from (Block("paragraph", " | ".join(words), page=page) for words in found.charts)
            yield from notes(found.notes, page)
        yield from self._embedded

    def pictures(self, sheet: str, page: int) -> Iterator[Item]:
        """Scans of the pictures on a sheet; those that an earlier one shows too are left out."""
        if self._formats:
            numbers = shown_in(drawn(self._formats.stream, self._formats.begins(sheet)).drawing)
            yield from scans(filter(None, map(self._store.picture, numbers)), page, self._depth, self._inner)


def _dated(data: bytes) -> str:
    with suppress(*BROKEN), opened(data) as container:
        return summary(container).dated
    return ""


def _objects(data: bytes, depth: int, inner: Inner) -> Iterator[Item]:
    """The items of what is embedded, each in a storage of its own; none where calamine judges the file."""
    with suppress(*BROKEN), opened(data) as container:
        names = sorted({path[0] for path in container.paths if len(path) > 1 and _OBJECT.fullmatch(path[0])})
        for number, name in enumerate(names, 1):
            yield from embedded(container, (name,), f"object-{number}", depth, inner)
