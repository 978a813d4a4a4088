"""What calamine leaves out of a spreadsheet, by its format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.detect import ODS, XLS, XLSB
from servers.cradle.processing.extract.extractor import File, Inner
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import Format, Shown, cell_formats, formats, marks
from servers.cradle.processing.extract.opendocument import OpenSheets
from servers.cradle.processing.extract.rich_text import with_raised
from servers.cradle.processing.extract.sheet_parts import beside, pictures, sheets, without_results
from servers.cradle.processing.extract.xls import XlsSheets
from servers.cradle.processing.extract.xlsb import XlsbSheets
from servers.cradle.processing.extract.zero_padded import as_shown
from servers.cradle.processing.extraction import Item


class LeftOut(Protocol):
    """Sheets by their names, without control characters. One that is not known has nothing.

    `dated` is from when the file is by its properties (`dates`): of its last change, else of its making.
    """

    dated: str

    def readable(self, data: bytes) -> bytes:
        """The file, `data`, as calamine reads of its cells what they show."""
        ...

    def merges(self, sheet: str) -> list[Merge]:
        """Merged cells that calamine does not tell."""
        ...

    def marks(self, sheet: str) -> Iterator[Shown] | None:
        """The rows with cells that show more than their number; None where there are none."""
        ...

    def items(self, sheet: str, page: int) -> Iterator[Item]:
        """What lies on a sheet and is said of its cells."""
        ...

    def pictures(self, sheet: str, page: int) -> Iterator[Item]:
        """Scans of the pictures on a sheet; one that is damaged is an `Attachment` with why."""
        ...


def left_out(file: File, data: bytes, inner: Inner) -> LeftOut:
    """What is left out of a file, which `data` is.

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`.
    """
    if file.media_type == XLS:
        return XlsSheets(data, file.depth, inner)
    archive = check_zip(data)
    of_format = {ODS: OpenSheets, XLSB: XlsbSheets}.get(file.media_type, XlsxSheets)
    return of_format(archive, file.depth, inner)


class XlsxSheets:
    """What an XLSX file's sheets hold beside what calamine reads.

    Args:
        depth: of the file; `inner` reads files that are embedded in it.
    """

    def __init__(self, archive: zipfile.ZipFile, depth: int, inner: Inner) -> None:
        self._archive, self._depth, self._inner = archive, depth, inner
        self.dated = opc.properties(archive)[1]
        self._codes = cell_formats(archive)
        self._shown = archive

    def readable(self, data: bytes) -> bytes:
        """The file with numbers that are shown with leading zeros as texts, and superscripts in raised characters."""
        if (shown := as_shown(data, self._archive, self._codes)) is not data:
            self._shown = zipfile.ZipFile(io.BytesIO(shown))
        return with_raised(shown, self._shown)

    def merges(self, sheet: str) -> list[Merge]:
        """None: calamine tells them."""
        del sheet
        return []

    def marks(self, sheet: str) -> Iterator[Shown] | None:
        """The rows with cells that show more than their number."""
        part = self._parts.get(sheet)
        return marks(self._shown, part, self._styles) if part and self._styles else None

    def items(self, sheet: str, page: int) -> Iterator[Item]:
        """How many formulas have no result; text boxes, charts, threads, notes and embedded files."""
        if part := self._parts.get(sheet):
            yield from without_results(self._archive, part, sheet)
            yield from beside(self._archive, part, page, self._depth, self._inner)

    def pictures(self, sheet: str, page: int) -> Iterator[Item]:
        """Scans of the pictures on a sheet."""
        if part := self._parts.get(sheet):
            yield from pictures(self._archive, part, page, self._depth, self._inner)

    @cached_property
    def _parts(self) -> dict[str, str]:
        return sheets(self._archive)

    @cached_property
    def _styles(self) -> dict[bytes, Format]:
        return formats(self._codes)
