"""What a cell of an XLS file shows beside its number, as XLSX tells it too."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import olefile
import pytest

from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extract.xls_formats import XlsFormats, xls_formats
from servers.cradle.processing.extract.xls_records import BEGIN, BIFF8
from tests.tables_rig import extracted

EURO = '#,##0.00 "€"'


def old(*rows: tuple[object, ...], down: int = 0, right: int = 0) -> bytes:
    """An XLS sheet behind another one; a number with its format is a pair, a formula too."""
    import xlwt

    book, out = xlwt.Workbook(), io.BytesIO()
    book.add_sheet("Größen").write(0, 0, 7, xlwt.easyxf(num_format_str='0" kg"'))
    sheet = book.add_sheet("Blatt")
    for at, row in enumerate(rows, down):
        for column, cell in enumerate(row, right):
            if isinstance(cell, tuple):
                value = xlwt.Formula(cell[0][1:]) if isinstance(cell[0], str) else cell[0]
                sheet.write(at, column, value, xlwt.easyxf(num_format_str=cell[1]))
            else:
                sheet.write(at, column, cell)
    book.save(out)
    return out.getvalue()


def test_an_old_sheet_shows_what_its_formats_add() -> None:
    header = ("Artikelnummer", "Preis", "Nennspannung", "Anteil", "Länge", "Breite")
    rows = [
        (f"A-{at}", (1234.5, EURO), (24, '0" V"'), (0.19, "0%"), (12.25, '0.00" mm"'), (at, "General")) for at in (1, 2)
    ]
    for down, right in ((0, 0), (3, 2)):
        found = extracted(old(header, *rows, down=down, right=right), "a.xls")
        assert [(p.article_number, p.prices[0].amount, p.prices[0].currency) for p in found.products] == [
            ("A-1", "1234.5", "EUR"), ("A-2", "1234.5", "EUR")
        ]  # fmt: skip
        assert [[(f.name, f.values[0].text, f.unit) for f in p.features] for p in found.products] == [
            [("Nennspannung", "24", "V"), ("Anteil", "19", "%"), ("Länge", "12.25", "mm"), ("Breite", str(at), "")]
            for at in (1, 2)
        ]


def renumbered(data: bytes, number: int, *, written: bool) -> bytes:
    """The XLS file with this number for its own format of prices, and its code only where it is written."""
    with olefile.OleFileIO(io.BytesIO(data)) as container:
        stream = container.openstream("Workbook").read()
    start = stream.index(struct.pack("<H", 0x041E), stream.index(EURO.encode("utf-16-le")) - 12)
    (old_number,) = struct.unpack_from("<H", stream, start + 4)
    new, was = struct.pack("<H", number), struct.pack("<H", old_number)
    kind = struct.pack("<H", 0x041E if written else 0x0FFF)
    stream = stream[:start] + kind + stream[start + 2 : start + 4] + new + stream[start + 6 :]
    styles = re.sub(rb"(\xe0\x00\x14\x00..)" + re.escape(was), lambda found: found[1] + new, stream, flags=re.DOTALL)
    assert styles != stream
    return compound({"Workbook": styles.ljust(4096, b"\0")})


@pytest.mark.parametrize("number", [5, 7, 8, 41, 44])
def test_an_old_format_that_excel_knows_has_a_currency_only_where_the_file_writes_it(number: int) -> None:
    data = old(("Artikelnummer", "Preis"), ("A-1", (1.5, EURO)))
    for written, currency in ((True, "EUR"), (False, "")):
        [product] = extracted(renumbered(data, number, written=written), "a.xls").products
        assert [(each.amount, each.currency) for each in product.prices] == [("1.5", currency)]


@pytest.mark.parametrize("number", [9, 10])
def test_an_old_format_of_per_cent_that_excel_knows_is_one(number: int) -> None:
    data = old(("Artikelnummer", "Anteil"), ("A-1", (0.5, EURO)))
    [product] = extracted(renumbered(data, number, written=False), "a.xls").products
    assert [(each.values[0].text, each.unit) for each in product.features] == [("50", "%")]


def test_the_formats_of_a_damaged_old_workbook_end_where_it_breaks() -> None:
    data = old(("Artikelnummer", "Preis"), *[(f"A-{at}", (1.5, EURO)) for at in range(20)])
    whole = xls_formats(data)
    assert whole is not None
    assert [each.row for each in whole.marks("Blatt")] == [-1, *range(1, 21)]
    draw, read = np.random.default_rng(711), 0
    for _ in range(2000):
        broken = bytearray(data[: draw.choice((len(data), draw.integers(1024, len(data))))])
        for at in draw.integers(512, len(broken), draw.choice((1, 3, 30))):
            broken[at] = draw.choice((0, 1, 0xFF, draw.integers(256)))
        if (found := xls_formats(bytes(broken))) is not None:
            read += sum(bool(each.cells) for each in found.marks("Blatt"))
    assert read > 2000  # most damage is elsewhere


def test_the_numbers_of_a_chart_are_no_cells() -> None:
    with olefile.OleFileIO(io.BytesIO(old(("Preis",), ((2.5, EURO),)))) as container:
        stream = container.openstream("Workbook").read()
    end = stream.rindex(b"\x0a\0\0\0")
    [style] = XlsFormats(stream)._formats.keys() - XlsFormats(stream.replace(b"\xac\x20", b"-\0"))._formats.keys()
    numbers = [struct.pack("<HHHHHd", 0x0203, 14, row, 0, style, 1.5) for row in (5, 6)]
    chart = struct.pack("<HHHH12x", BEGIN, 16, BIFF8, 0x20) + numbers[1] + b"\x0a\0\0\0"
    found = XlsFormats(stream[:end] + numbers[0] + chart + stream[end:])
    assert [each.row for each in found.marks("Blatt")] == [-1, 1, 5]
