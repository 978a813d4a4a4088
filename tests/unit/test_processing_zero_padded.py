"""Numbers of an XLSX file that are shown with leading zeros are read as they are shown."""

from __future__ import annotations

import io
import zipfile
from itertools import chain

import pytest
import python_calamine
import xlsxwriter

from servers.cradle.processing.extract import zero_padded
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.number_formats import cell_formats
from servers.cradle.processing.extract.zero_padded import as_shown
from tests.tables_rig import extracted


def workbook(**formats: str) -> bytes:
    """Columns with these formats, each with the numbers 471, 12 and 123456."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    for sheet in (book.add_worksheet("eins"), book.add_worksheet("zwei")):
        for column, code in enumerate(formats.values()):
            form = book.add_format({"num_format": code})
            sheet.write_string(0, column, "Kopf")
            for row, number in enumerate((471, 12, 123456), 1):
                sheet.write_number(row, column, number, form)
    book.close()
    return out.getvalue()


def cells(data: bytes) -> list[list[list[object]]]:
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    return [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]


def test_an_article_number_has_the_zeros_that_the_sheet_shows() -> None:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet, form = book.add_worksheet(), book.add_format({"num_format": "00000"})
    sheet.write_row(0, 0, ["Artikelnummer", "Bezeichnung", "Preis EUR"])
    sheet.write_row(1, 1, ["Klemme", 12.5])
    sheet.write_row(2, 1, ["Mutter", 7])
    sheet.write_number(1, 0, 471, form)
    sheet.write_formula(2, 0, "=A2+1", form, 472)
    book.close()
    found = extracted(out.getvalue(), "preise.xlsx")
    assert [product.article_number for product in found.products] == ["00471", "00472"]
    assert [[price.amount for price in product.prices] for product in found.products] == [["12.5"], ["7"]]


@pytest.mark.parametrize("block", [7, 100, 2**20])
def test_only_cells_that_show_nothing_but_padded_digits_are_text(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_padded, "BLOCK", block)
    data = workbook(padded="00000", german="[$-407]0000", plain="0", money="0.00", thousands="#,##0", none="General")
    first, second = cells(as_shown(data, check_zip(data), cell_formats(check_zip(data))))
    assert first == second
    assert first[1] == ["00471", "0471", *[471.0] * 4]
    assert first[2] == ["00012", "0012", *[12.0] * 4]
    assert first[3] == [123456.0] * 6


def test_a_file_without_such_a_format_stays_as_it_came() -> None:
    data = workbook(plain="0", money="0.00", duration="[hh]:mm:ss", coded="000-000")
    assert as_shown(data, check_zip(data), cell_formats(check_zip(data))) is data


@pytest.mark.parametrize("prefix", ["", "x:"])
@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ('<{0}c s="1" r="A1"><{0}v>471</{0}v></{0}c>', "00471"),
        ("<{0}c r='A1' s='1' t='n'><{0}v>471</{0}v></{0}c>", "00471"),
        ('<{0}c r="A1" s="1"><{0}f>1+470</{0}f><{0}v>471</{0}v></{0}c>', "00471"),
        ('<{0}c r="A1" s="1"><{0}f t="shared" si="0"/><{0}v>471</{0}v></{0}c>', "00471"),
        ('<{0}c r="A1" s="1"><{0}v>4.5</{0}v></{0}c>', 4.5),
        ('<{0}c r="A1" s="1"><{0}v>-471</{0}v></{0}c>', -471.0),
        ('<{0}c r="A1" s="1" t="b"><{0}v>1</{0}v></{0}c>', True),
        ('<{0}c r="A1" s="1" t="str"><{0}v>47</{0}v></{0}c>', "47"),
        ('<{0}c r="A1" s="11"><{0}v>471</{0}v></{0}c>', 471.0),
    ],
)
def test_a_cell_is_known_however_it_is_written(prefix: str, written: str, read_as: object) -> None:
    before = workbook(padded="00000")
    space = (
        f'xmlns{":" if prefix else ""}{prefix.rstrip(":")}="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    )
    sheet = (
        "<{0}worksheet " + space + '><{0}sheetData><{0}row r="1">' + written + "</{0}row></{0}sheetData></{0}worksheet>"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, sheet.format(prefix) if name.endswith("sheet1.xml") else old.read(name))
    data = out.getvalue()
    assert list(chain.from_iterable(cells(as_shown(data, check_zip(data), cell_formats(check_zip(data))))[0])) == [
        read_as
    ]
