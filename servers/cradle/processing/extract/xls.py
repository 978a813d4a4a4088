"""What calamine leaves out of an XLS file: what numbers show beside them, text boxes, charts and notes."""

from __future__ import annotations

from collections.abc import Iterator

from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import Shown
from servers.cradle.processing.extract.sheet_notes import notes
from servers.cradle.processing.extract.xls_drawn import drawn
from servers.cradle.processing.extract.xls_formats import xls_formats
from servers.cradle.processing.extraction import Block, Item


class XlsSheets:
    """What a file's sheets hold beside what calamine reads; nothing where it is older than BIFF8 or damaged, which
    calamine judges."""

    def __init__(self, data: bytes) -> None:
        self._formats = xls_formats(data)

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
        """Text boxes and other shapes with text, charts, and notes."""
        if self._formats is None:
            return
        found = drawn(self._formats.stream, self._formats.begins(sheet))
        yield from (Block("paragraph", each, page=page) for each in found.boxes)
        yield from (Block("paragraph", " | ".join(words), page=page) for words in found.charts)
        yield from notes(found.notes, page)
