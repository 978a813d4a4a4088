"""Spreadsheets (XLSX, XLS, XLSB, ODS) by calamine: all sheets and all rows, hidden ones too."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.detect import ODS, XLS, XLSB, XLSX
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.product_table import read_rows
from servers.cradle.processing.extraction import About, Block, Item

_DAMAGED = "The spreadsheet is cut off or damaged. Open it, save it again and send it."
BATCH = 2000


class Spreadsheet:
    name = "spreadsheet"
    version = "1"
    media_types = frozenset({XLSX, XLS, XLSB, ODS})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Each sheet is a page: its name as heading, then its tables and products."""
        del inner
        import fastexcel

        if file.media_type != XLS:
            check_zip(file.data)
        try:
            book = fastexcel.read_excel(file.data)
        except fastexcel.FastExcelError as error:
            raise _unreadable(error) from None
        yield About(pages=len(book.sheet_names))
        for number, name in enumerate(book.sheet_names, 1):
            yield Block("heading", clean(name), level=1, page=number)
            yield from read_rows(_rows(book, name), number, clean(name))


def _unreadable(error: Exception) -> Unreadable:
    if "password" in str(error).lower() or "encrypt" in str(error).lower():
        return Unreadable("encrypted", "The file is protected by a password. Save it without one and send it again.")
    return Unreadable("damaged", _DAMAGED)


def _rows(book, name: str) -> Iterator[tuple[str, ...]]:
    import fastexcel

    try:
        sheet = book.load_sheet(name, header_row=None, dtypes="string", skip_whitespace_tail_rows=True)
        frame = sheet.to_polars()
    except fastexcel.FastExcelError as error:
        if "empty" in str(error).lower() or type(error).__name__ == "NoDataError":
            return
        raise _unreadable(error) from None
    for start in range(0, frame.height, BATCH):
        for row in frame.slice(start, BATCH).iter_rows():
            yield tuple(_cell(value) for value in row)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value).strip()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
