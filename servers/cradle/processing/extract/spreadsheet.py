"""Spreadsheets (XLSX, XLS, XLSB, ODS) by calamine: all sheets and all rows, hidden ones too."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain

from servers.cradle.processing.extract.arranged import read_sheet
from servers.cradle.processing.extract.columns import Figure
from servers.cradle.processing.extract.detect import ODS, XLS, XLSB, XLSX
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.extractor import File, Inner, Locked, Unreadable
from servers.cradle.processing.extract.left_out import left_out
from servers.cradle.processing.extract.merged import Merge, unmerged
from servers.cradle.processing.extract.number_formats import Shown, measured
from servers.cradle.processing.extract.pictures import FEW_CHARS, chars_of, for_ocr
from servers.cradle.processing.extraction import About, Block, Item, Product

_DAMAGED = "The spreadsheet is cut off or damaged. Open it, save it again and send it."


class Spreadsheet:
    name = "spreadsheet"
    version = "18"
    media_types = frozenset({XLSX, XLS, XLSB, ODS})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Each sheet is a page: its name as heading, its tables and products, then what lies on it and is said of its
        cells. A sheet that is a chart has no rows; one with next to no text gives its pictures to OCR."""
        import python_calamine as calamine

        from servers.cradle.processing.extract.large_sheet import LargeSheets

        data = file.data
        beside = left_out(file, data, inner)
        data = beside.readable(data)
        try:
            book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
            rows, chart = calamine.SheetTypeEnum.WorkSheet, calamine.SheetTypeEnum.ChartSheet
            sheets = [(each.name, each.typ) for each in book.sheets_metadata if each.typ in (rows, chart)]
            names = [name for name, kind in sheets if kind == rows]
            large = LargeSheets(zipfile.ZipFile(io.BytesIO(data)), names) if file.media_type == XLSX else None
            yield About(pages=len(sheets), dated=beside.dated)
            for number, (name, kind) in enumerate(sheets, 1):
                title = clean(name)
                yield Block("heading", title, level=1, page=number)
                cells: Iterator[tuple[str, ...]] = iter(())
                if kind == rows:
                    sheet = (large and large.get(name)) or book.get_sheet_by_name(name)
                    cells = _rows(sheet, beside.merges(title), beside.marks(title))
                chars = 0
                for item in chain(read_sheet(cells, number, title), beside.items(title, number)):
                    chars += _chars(item)
                    yield item
                yield from for_ocr(chars, beside.pictures(title, number))
        except calamine.PasswordError:
            raise Locked from None
        except (calamine.CalamineError, OSError, OverflowError):  # the last one: a duration of millions of years
            raise Unreadable("damaged", _DAMAGED) from None
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of calamine, which no module names
                raise Unreadable("damaged", _DAMAGED) from None
            raise


def _chars(item: Item) -> int:
    """How much text of the sheet itself an item is; a product is enough for a sheet."""
    if isinstance(item, Product):
        return FEW_CHARS
    return 0 if isinstance(item, Block) and item.source else chars_of(item)


def _rows(sheet, merges: Iterable[Merge], marks: Iterator[Shown] | None = None) -> Iterator[tuple[str, ...]]:
    """The rows of a sheet. `merges`: its merged cells where calamine does not tell them; `marks`: what cells show."""
    left = sheet.start[1] if sheet.start else 0  # rows come from the first one on, columns from the first used one
    told = [Merge(top, a, bottom, b) for (top, a), (bottom, b) in sheet.merged_cell_ranges or ()]
    shown = [  # one that begins left of the first used column shows nothing there
        Merge(each.top, max(each.left - left, 0), each.bottom, each.right - left)
        for each in told or merges
        if each.right >= left
    ]
    rows = (list(map(_cell, row)) for row in sheet.iter_rows())
    return unmerged(map(tuple, _measured(rows, left, marks) if marks else rows), shown)


def _measured(rows: Iterator[list[str]], left: int, marks: Iterator[Shown]) -> Iterator[list[str]]:
    """The rows, the first being the sheet's first, with what their numbers show."""
    waiting = next(marks, None)
    for number, row in enumerate(rows):
        while waiting and waiting.row < number:
            waiting = next(marks, None)
        yield measured(row, left, waiting) if waiting and waiting.row == number else row


def _cell(value: object) -> str:
    """A cell as a person reads it: whole numbers without a point, others with the 15 digits that sheets show, dates
    without a midnight."""
    if isinstance(value, str):
        return clean(value).strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | int):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        return Figure(int(value) if whole else f"{value:.15g}" if isinstance(value, float) else value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    return "" if value is None else str(value)


def _duration(value: datetime.timedelta) -> str:
    """Hours, minutes and seconds, as `[h]:mm:ss` shows them: hours count on beyond a day."""
    seconds, part = divmod(round(abs(value.total_seconds()) * 1_000_000), 1_000_000)
    sign, rest = "-" if value < datetime.timedelta() else "", f".{part:06}" if part else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}{rest}"
