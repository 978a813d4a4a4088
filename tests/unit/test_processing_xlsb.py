"""Binary workbooks (XLSB): what calamine leaves out of them is read, as it is of XLSX."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import python_calamine
import xlsxwriter

from servers.cradle.processing.extract import xlsb, xlsb_cells, xlsb_records
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.xlsb import XlsbSheets
from servers.cradle.processing.extract.xlsb_cells import in_full, packed, survey
from servers.cradle.processing.extract.xlsb_records import BROKEN, records, text
from servers.cradle.processing.extraction import Extraction
from tests.office_rig import KIND, changed, part, related
from tests.tables_rig import extracted, features
from tests.xlsb_file import Cell, Formula, Rich, Sheet, binary, notes_part, record, wide, workbook

EURO = '#,##0.00 "€"'
SHEET, NOTES = "xl/worksheets/sheet1.bin", "xl/comments1.bin"
HEAD = ("Artikelnummer", "Bezeichnung", "Preis", "Nennspannung", "Anteil", "Länge")
ROWS: list[tuple[Cell, ...]] = [
    ("4711", "Klemme", (1234.5, EURO), (24, '0" V"'), (0.19, 9), (12.25, '0.00" mm"')),
    ("4712", "Mutter", (Formula(7.25), EURO), (230, '0" V"'), (0.075, 10), 3.5),
]


def read(data: bytes) -> Extraction:
    return extracted(data, "a.xlsb")


def prices(found: Extraction) -> list[tuple[str | None, str]]:
    return [(price.amount, price.currency) for product in found.products for price in product.prices]


def opened(data: bytes) -> XlsbSheets:
    return XlsbSheets(check_zip(data), 0, inner=None)  # pyright: ignore[reportArgumentType]  no file is embedded


@pytest.mark.parametrize("short", [False, True])
def test_the_cells_of_a_binary_sheet_show_their_currency_unit_and_per_cent(short: bool) -> None:
    found = read(binary(HEAD, *ROWS, short=short))
    assert prices(found) == [("1234.5", "EUR"), ("7.25", "EUR")]
    assert features(found) == [
        [("Nennspannung", "24", "V"), ("Anteil", "19", "%"), ("Länge", "12.25", "mm")],
        [("Nennspannung", "230", "V"), ("Anteil", "7.5", "%"), ("Länge", "3.5", "")],
    ]


def test_calamine_reads_no_cell_that_is_written_in_short() -> None:
    def cells(data: bytes) -> list[list[Any]]:
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python()

    rows: list[tuple[Cell, ...]] = [("a", 1.5, True, 7), ("b", None, 2, Formula(3.0), "c"), (None, None, "d", "e")]
    data, whole = binary(*rows, short=True), cells(binary(*rows))
    assert cells(data) != whole  # where this fails, calamine reads them, and nothing needs to be written anew
    assert cells(opened(data).readable(data)) == whole
    assert whole[1] == ["b", "", 2, 3.0, "c"]


def test_a_text_with_fonts_inside_a_cell_is_read() -> None:
    found = read(binary(HEAD, ("4711", Rich("Klemme"), 3.0), ("4712", "Mutter", 4.0)))
    assert [(product.article_number, product.name) for product in found.products] == [
        ("4711", "Klemme"), ("4712", "Mutter")
    ]  # fmt: skip


def test_a_binary_file_without_such_cells_stays_as_it_came() -> None:
    data = binary(HEAD, *ROWS)
    assert opened(data).readable(data) is data


def test_a_text_that_is_merged_over_rows_is_said_in_each_of_them() -> None:
    rows = (("Artikelnummer", "Farbe", "Preis"), ("4711", "rot", 1.5), ("4712", None, 2.5), ("4713", None, 3.5))
    found = read(workbook({"Blatt": Sheet(rows, merges=[(1, 2, 1, 1)])}))
    assert features(found) == [[("Farbe", "rot", "")], [("Farbe", "rot", "")], []]


def test_each_binary_sheet_has_its_own_notes_and_formats() -> None:
    first = Sheet([("Artikelnummer", "Preis"), ("4711", (1.5, EURO))], notes={(1, 1): "Gilt ab Mai", (27, 28): "Ende"})
    second = Sheet([("Artikelnummer", "Preis"), ("4712", (2.5, "[$CHF-807] 0.00"))], notes={(0, 0): "Neu"})
    found = read(workbook({"Größen": first, "Blatt": second}))
    assert [(block.text, block.page) for block in found.blocks] == [
        ("Größen", 1), ("B2: Gilt ab Mai\nAC28: Ende", 1), ("Blatt", 2), ("A1: Neu", 2)
    ]  # fmt: skip
    assert prices(found) == [("1.5", "EUR"), ("2.5", "CHF")]


def boxed() -> tuple[bytes, bytes, bytes]:
    """A drawing with a text box and a chart, its relations, and the chart."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        page = book.add_worksheet()
        page.write(0, 0, 1.2)
        page.insert_textbox(5, 1, "Preise netto")
        (drawn := book.add_chart({"type": "column"})).add_series({"name": "Umsatz", "values": "=Sheet1!$A$1:$A$1"})
        page.insert_chart(8, 1, drawn)
    data, drawings = out.getvalue(), "xl/drawings/"
    names = (f"{drawings}drawing1.xml", f"{drawings}_rels/drawing1.xml.rels", "xl/charts/chart1.xml")
    return part(data, names[0]), part(data, names[1]), part(data, names[2])


def test_text_boxes_charts_notes_and_threads_of_a_binary_sheet_follow_its_rows() -> None:
    drawing, relations, chart = boxed()
    notes = {(1, 2): "[Threaded comment] Ab Mai", (2, 1): "Auslauf"}
    data = related(workbook({"Blatt": Sheet([("a", "b")], notes=notes)}), SHEET, "drawing", "../drawings/drawing1.xml")
    rels = "xl/worksheets/_rels/sheet1.bin.rels"
    thread = b'<Threads xmlns="urn:t"><threadedComment ref="C2"><text>Ab Mai</text></threadedComment></Threads>'
    line = f'<Relationship Id="rT" Type="{KIND}threadedComment" Target="../t.xml"/></Relationships>'.encode()
    parts = {"xl/t.xml": thread, rels: part(data, rels).replace(b"</Relationships>", line)}
    parts |= {"xl/drawings/drawing1.xml": drawing, "xl/drawings/_rels/drawing1.xml.rels": relations}
    found = read(changed(data, {**parts, "xl/charts/chart1.xml": chart}))
    assert [block.text for block in found.blocks[2:]] == ["Preise netto", "Umsatz | 1.2", "C2: Ab Mai", "B3: Auslauf"]


@pytest.mark.parametrize("end", [b"", record(635, b"short") + record(629), record(629)[:1], b"\x80"])
def test_notes_that_are_cut_off_are_said_and_those_before_are_read(end: bytes) -> None:
    data = workbook({"Blatt": Sheet([("a", "b")], notes={(1, 1): "Gilt ab Mai"})})
    before, found, _ = part(data, NOTES).partition(record(634) + record(629))
    assert found
    told = read(changed(data, {NOTES: before + end}))
    assert [block.text for block in told.blocks][-1] == "B2: Gilt ab Mai"
    assert [(each.name, each.code) for each in told.attachments] == [("comments1.bin", "damaged")]


@pytest.mark.parametrize(
    ("number", "written", "amount", "currency"),
    [(44, {44: EURO}, "3", "EUR"), (7, {7: "[$CHF-807] 0.00"}, "3", "CHF"), (44, {}, "3", ""), (7, {}, "3", "")],
)
def test_a_format_that_excel_knows_has_a_currency_only_where_the_file_writes_it(
    number: int, written: dict[int, str], amount: str, currency: str
) -> None:
    found = read(binary(("Artikelnummer", "Bezeichnung", "Preis"), ("4711", "K", (3.0, number)), written=written))
    assert prices(found) == [(amount, currency)]


def test_a_style_of_cells_is_none_of_another_list_of_styles() -> None:
    data = binary(HEAD, *ROWS)
    styles = part(data, "xl/styles.bin")
    others = record(626) + record(47, struct.pack("<HH12x", 0xFFFF, 9)) * 3 + record(627)
    assert record(617, struct.pack("<I", 6)) in styles
    more = styles.replace(record(617, struct.pack("<I", 6)), others + record(617, struct.pack("<I", 6)))
    more = more.replace(record(618), record(618) + others.replace(record(626), b""))
    assert features(read(changed(data, {"xl/styles.bin": more}))) == features(read(data))


@pytest.mark.parametrize("block", [7, 64, 2**20])
def test_records_are_the_same_however_the_part_comes(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsb, "BLOCK", block)
    monkeypatch.setattr(xlsb_cells, "JOINED", 3)
    name = "Klemme " * 40  # its record's size takes two bytes
    rows: list[tuple[Cell, ...]] = [("Artikelnummer", "Bezeichnung", "Preis"), *ROWS, ("4713", name, (9, EURO))]
    found = read(workbook({"Blatt": Sheet(rows, merges=[(1, 1, 0, 0)], notes={(1, 1): name})}, short=True))
    assert prices(found) == [("1234.5", "EUR"), ("7.25", "EUR"), ("9", "EUR")]
    assert found.products[2].name == name.strip()
    assert found.blocks[-1].text == f"B2: {name.strip()}"


def test_a_record_is_written_as_it_was_read() -> None:
    raw = b"".join(record(kind, bytes(size)) for kind in (0, 7, 129, 2071) for size in (0, 127, 128, 20_000))
    assert b"".join(packed(*each) for each in records([raw])) == raw


@pytest.mark.parametrize("broken", [b"", b"\x05", b"\x05\x10abc", b"\x05\xff\xff\xff\xff\xff"])
def test_records_end_where_one_is_cut_off_or_malformed(broken: bytes) -> None:
    assert list(records([record(176) + broken])) == [(176, b"")]


def test_nothing_is_read_behind_a_record_without_a_size() -> None:
    blocks = iter([record(176) + b"\x05\xff\xff\xff\xff\xff", bytes(9), bytes(9)])
    assert list(records(blocks)) == [(176, b"")]
    assert len(list(blocks)) == 2


def test_a_text_that_is_none_is_empty_and_one_that_is_cut_off_is_not_read() -> None:
    assert text(b"..\xff\xff\xff\xff", 2) == ("", 6)
    with pytest.raises(BROKEN):
        text(wide("Blatt")[:-1], 0)


def test_a_record_that_is_too_long_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsb_records, "MAX_RECORD", 4096)
    blocks = iter([record(176) + b"\x05\xff\xff\xff\x7f", *[bytes(4096)] * 9])
    assert list(records(blocks)) == [(176, b"")]
    assert len(list(blocks)) == 8


def test_a_sheet_that_merges_too_many_ranges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsb_cells, "MAX_MERGES", 3)
    merge = record(176, struct.pack("<4I", 1, 2, 3, 4))
    assert survey([merge * 3]).merges == [Merge(1, 3, 2, 4)] * 3
    with pytest.raises(Unreadable) as refused:
        survey([merge * 4])
    assert refused.value.code == "zip_bomb"


def test_a_row_that_begins_with_a_cell_in_short_begins_with_the_first_column() -> None:
    rows = [record(0, bytes(25)) + record(1, struct.pack("<II", 3, 0)), record(0, bytes(25)) + record(12, bytes(4))]
    assert [content[:4] for kind, content in records(in_full(rows)) if kind] == [b"\3\0\0\0", b"\0\0\0\0"]


def test_a_column_beyond_all_numbers_is_none() -> None:
    row = record(0, bytes(25)) + record(1, struct.pack("<II", 0xFFFFFFFF, 0)) + record(12, bytes(4))
    assert [kind for kind, _ in records(in_full([row]))] == [0, 1, 1]


def test_a_damaged_binary_workbook_is_read_as_far_as_it_goes() -> None:
    notes = {(1, 1): "Gilt ab Mai"}
    whole = workbook({"Blatt": Sheet([HEAD, *ROWS], merges=[(1, 2, 1, 1)], notes=notes)}, short=True)
    parts = [name for name in zipfile.ZipFile(io.BytesIO(whole)).namelist() if name.endswith(".bin")]
    draw, marked = np.random.default_rng(711), 0
    for _ in range(600):
        name = draw.choice(parts)
        broken = bytearray(part(whole, name)[: draw.choice((10_000, draw.integers(200)))])
        for _ in range(draw.choice((1, 3)) if broken else 0):
            broken[draw.integers(len(broken))] = draw.choice((0, 1, 0x7F, 0xFF, draw.integers(256)))
        sheets = opened(changed(whole, {name: bytes(broken)}))
        sheets.readable(whole)
        marked += sum(len(each.cells) for each in sheets.marks("Blatt") or ())
        list(sheets.items("Blatt", 1))
    assert marked > 600


def test_the_name_of_a_sheet_and_the_text_of_a_note_lose_signs_that_control() -> None:
    sheet = Sheet([("Artikelnummer", "Preis"), ("4711", (1.5, EURO))], notes={(0, 0): "N\x02eu"})
    found = read(workbook({"Bl\x01att": sheet}))
    assert [block.text for block in found.blocks] == ["Blatt", "A1: Neu"]
    assert prices(found) == [("1.5", "EUR")]
    assert wide("N\x02eu") in notes_part({(0, 0): "N\x02eu"})
