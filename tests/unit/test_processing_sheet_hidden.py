"""Rows, columns and sheets that a workbook hides are read: most were filtered or folded away, and are the list's all
the same. A price of a hidden column is therefore read too; what nobody is to know does not belong into a source."""

from __future__ import annotations

import io

import pytest

from tests.office_rig import opendocument
from tests.tables_rig import extracted

HEAD = ("Artikelnummer", "Bezeichnung", "Preis EUR")
ROWS = (HEAD, ("A-1", "Klemme", 12.5), ("A-2", "Deckel", 3.5))


def xlsx() -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        shown, page = book.add_worksheet("Übersicht"), book.add_worksheet("Preise")
        shown.write(0, 0, "Siehe Preise")
        for at, row in enumerate(ROWS):
            page.write_row(at, 0, row)
        page.set_row(2, None, None, {"hidden": True})
        page.set_column(2, 2, None, None, {"hidden": True})
        page.hide()
    return out.getvalue()


def xls() -> bytes:
    import xlwt

    book = xlwt.Workbook()
    book.add_sheet("Übersicht").write(0, 0, "Siehe Preise")
    page = book.add_sheet("Preise")
    for at, row in enumerate(ROWS):
        for column, cell in enumerate(row):
            page.write(at, column, cell)
    page.row(2).hidden = page.col(2).hidden = True
    page.visibility = 2
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def ods() -> bytes:
    from odf.table import TableCell, TableColumn, TableRow
    from odf.text import P

    def fill(table) -> None:
        table.addElement(TableColumn(numbercolumnsrepeated=2))
        table.addElement(TableColumn(visibility="collapse"))
        for at, row in enumerate(ROWS):
            table.addElement(line := TableRow(visibility="filter" if at == 2 else "visible"))
            for each in row:
                value = {"valuetype": "float", "value": each} if isinstance(each, float) else {"valuetype": "string"}
                line.addElement(cell := TableCell(**value))
                cell.addElement(P(text=str(each)))

    return opendocument(fill, "Preise")


@pytest.mark.parametrize(("data", "name"), [(xlsx(), "a.xlsx"), (xls(), "a.xls"), (ods(), "a.ods")])
def test_what_a_workbook_hides_is_read_as_what_it_shows(data: bytes, name: str) -> None:
    products = extracted(data, name).products
    assert [(each.article_number, each.prices[0].amount) for each in products] == [("A-1", "12.5"), ("A-2", "3.5")]
