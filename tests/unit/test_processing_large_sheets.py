"""Large XLSX sheets, in pieces, are cell by cell what calamine reads as a whole; memory does not grow with rows."""

from __future__ import annotations

import contextlib
import datetime
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import openpyxl
import pytest
import python_calamine
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from servers.cradle.processing.extract import identify, large_sheet, read
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.large_sheet import LargeSheets
from servers.cradle.processing.extract.sheet_pieces import Unusual, pieces
from servers.cradle.processing.extract.spreadsheet import _rows
from servers.cradle.processing.extraction import joined, parts

MAIN = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = b"http://purl.oclc.org/ooxml/spreadsheetml/main"
CODES = ["yyyy\\-mm\\-dd", "[h]:mm:ss", '0.00"d"', "h:mm", "[$-407]d. mmm yyyy;@", "#,##0.00\\ _M;[Red]0", "0.0*y"]
FORMATS = [0, 1, 14, 22, 20, 45, 46, 47, *range(164, 164 + len(CODES))]
STYLES = (
    b'<styleSheet xmlns="%b"><numFmts>' % MAIN
    + b"".join(b"<numFmt numFmtId='%d' formatCode='%b'/>" % (164 + at, code.encode()) for at, code in enumerate(CODES))
    + b"</numFmts><cellXfs>%b</cellXfs></styleSheet>" % b"".join(b'<xf numFmtId="%d"/>' % each for each in FORMATS)
)
STRINGS = [
    b"<t>M\xc3\xbcller &amp; S\xc3\xb6hne</t>",
    b"<r><t>rich </t></r><r><rPr><b/></rPr><t xml:space='preserve'> text </t></r>",
    "<t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh>".encode(),
    b"<t xml:space='preserve'>  kept  </t>",
    b"<t>  trimmed\n</t>",
    b"<t>one_x000D_two_x0041_ _x005F_x000D_ &#13;three</t>",
    b"<t/>",
    b"",
]
EPOCH = b'<workbookPr date1904="1"/>'


def book(sheets: dict[str, bytes], *, workbook: bytes = b"", namespace: bytes = MAIN, targets: str = "") -> bytes:
    """A workbook whose sheets are the XML that is given, with `STYLES` and `STRINGS`."""
    listed = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"/>' for at, name in enumerate(sheets, 1))
    base = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "".join(
        f'<Relationship Id="r{at}" Type="{base}/worksheet" Target="{targets}worksheets/s{at}.xml"/>'
        for at in range(1, len(sheets) + 1)
    )
    written = {
        "[Content_Types].xml": b"<Types/>",
        "_rels/.rels": f'<Relationships><Relationship Id="a" Type="{base}/officeDocument" Target="xl/workbook.xml"/>'
        "</Relationships>".encode(),
        "xl/_rels/workbook.xml.rels": f"<Relationships>{relations}</Relationships>".encode(),
        "xl/workbook.xml": b'<workbook xmlns="%b" xmlns:r="%b">' % (namespace, base.encode())
        + workbook
        + f"<sheets>{listed}</sheets></workbook>".encode(),
        "xl/styles.xml": STYLES,
        "xl/sharedStrings.xml": b"<sst>%b</sst>" % b"".join(b"<si>%b</si>" % each for each in STRINGS),
    } | {f"xl/worksheets/s{at}.xml": xml for at, xml in enumerate(sheets.values(), 1)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in written.items():
            archive.writestr(path, content)
    return out.getvalue()


def worksheet(rows: bytes, *, behind: bytes = b"", before: bytes = b"", namespace: bytes = MAIN) -> bytes:
    data = b"%b<sheetData>%b</sheetData>%b" % (before, rows, behind)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n<worksheet xmlns="%b">%b</worksheet>' % (namespace, data)


def merged(*ranges: str) -> bytes:
    cells = "".join(f'<mergeCell ref="{each}"/>' for each in ranges)
    return f'<mergeCells count="{len(ranges)}">{cells}</mergeCells>'.encode()


@contextlib.contextmanager
def large_from(size: int, piece: int = 200) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_sheet, "sizes", lambda _: (piece, size))
        yield


def large(data: bytes, name: str, piece: int = 200) -> large_sheet.LargeSheet | None:
    with large_from(0, piece):
        return LargeSheets(check_zip(data), [name]).get(name)


def both_ways(data: bytes, name: str = "P", piece: int = 200) -> list[tuple[str, ...]]:
    """The rows, after they were seen to be the same in pieces and as a whole."""
    whole = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_name(name)
    pieced = large(data, name, piece)
    assert pieced is not None
    assert (pieced.start, pieced.merged_cell_ranges) == (whole.start, whole.merged_cell_ranges)
    found, expected = list(_rows(pieced, ())), list(_rows(whole, ()))
    assert found == expected
    assert [[type(cell) for cell in row] for row in found] == [[type(cell) for cell in row] for row in expected]
    return found


def letters(column: int) -> str:
    return (letters(column // 26 - 1) if column >= 26 else "") + chr(65 + column % 26)


values = st.sampled_from([0, 1, 0.5, 1.25, 59, 60, 61.75, 45943.541, -1, 2958465, 2958466, 0.1 + 0.2, 99999999])
errors = st.sampled_from(["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"])
moments = st.sampled_from(["2024-02-29", "2024-02-29T13:14:15", "2024-02-29T13:14:15.5", "13:14:15", "neither"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="<&>\r\ufffe\uffff", exclude_categories=("Cc", "Cs")))
CELLS = st.one_of(
    st.tuples(st.just(""), values.map(lambda value: f"<v>{value}</v>")),
    st.tuples(st.just(' t="n"'), values.map(lambda value: f"<f>A1*2</f><v>{value}</v>")),
    st.tuples(st.just(' t="s"'), st.integers(0, len(STRINGS) - 1).map(lambda at: f"<v>{at}</v>")),
    st.tuples(st.just(' t="str"'), texts.map(lambda text: f"<f>B2</f><v>{text}_x000D_&#13;&amp;</v>")),
    st.tuples(st.just(' t="inlineStr"'), texts.map(lambda text: f'<is><t xml:space="preserve">{text}</t></is>')),
    st.tuples(st.just(' t="inlineStr"'), st.sampled_from(STRINGS).map(lambda text: f"<is>{text.decode()}</is>")),
    st.tuples(st.just(' t="b"'), st.sampled_from(["<v>1</v>", "<v>0</v>", "<v/>"])),
    st.tuples(st.just(' t="e"'), errors.map(lambda text: f"<v>{text}</v>")),
    st.tuples(st.just(' t="d"'), moments.map(lambda text: f"<v>{text}</v>")),
    st.tuples(st.just(""), st.sampled_from(["", "<v/>", "<v></v>", "<f>A1</f>", "<v>text</v>"])),
)
STEPS = st.sampled_from([1, 1, 1, 1, 2, 5])


def attribute(name: str, value: object) -> str:
    return f' {name}="{value}"'


@st.composite
def sheets(draw: st.DrawFn) -> bytes:
    """A worksheet with gaps, with cells of all kinds, and with numbers of rows and cells that are left out."""
    rows, row, first = [], draw(st.integers(0, 3)), draw(st.integers(0, 30))
    for _ in range(draw(st.integers(1, 12))):
        told = draw(st.booleans())
        row += draw(STEPS) if told else 1
        cells, column = "", -1
        for kind, content in draw(st.lists(CELLS, max_size=5)):
            column = max(column + draw(STEPS), first)
            place = attribute("r", f"{letters(column)}{row}") if told and draw(st.booleans()) else ""
            style = attribute("s", draw(st.integers(0, len(FORMATS)))) if draw(st.booleans()) else ""
            cells += f"<c{place}{style}{kind}>{content}</c>"
        rows.append(f"<row{attribute('r', row) if told else ''} spans='1:3'>{cells}</row>")
    xml = worksheet("".join(rows).encode(), behind=merged("B2:B4", "A1:C1") if draw(st.booleans()) else b"")
    return prefixed(xml) if draw(st.booleans()) else xml


def prefixed(xml: bytes) -> bytes:
    for name in (b"worksheet", b"sheetData", b"row", b"mergeCells", b"mergeCell"):
        for before in (b"<", b"</"):
            for after in (b" ", b">"):
                xml = xml.replace(before + name + after, before + b"x:" + name + after)
    return xml.replace(b"xmlns=", b"xmlns:x=")


@given(sheets(), st.sampled_from([b"", EPOCH]), st.sampled_from([60, 150, 400]))
def test_each_cell_of_a_large_sheet_is_what_it_is_in_a_small_one(xml: bytes, workbook: bytes, piece: int) -> None:
    data = book({"P": xml}, workbook=workbook)
    if large(data, "P", piece) is None:  # a sheet without any cell, or one that calamine refuses too
        whole = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_name("P")
        assert whole.start is None
    else:
        both_ways(data, piece=piece)


ORDINARY = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.datetimes(datetime.datetime(1900, 3, 1), datetime.datetime(9999, 1, 1)).map(
        lambda each: each.replace(microsecond=0)
    ),
    st.dates(datetime.date(1904, 1, 2)),
    st.times().map(lambda each: each.replace(microsecond=0)),
    st.timedeltas(datetime.timedelta(0), datetime.timedelta(90)),
)
TABLES = st.lists(st.lists(ORDINARY, max_size=4), min_size=1, max_size=8)


@given(TABLES, st.booleans(), st.booleans())
def test_what_xlsxwriter_writes_is_the_same_in_pieces(table: list[list[object]], inline: bool, epoch: bool) -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"constant_memory": inline, "in_memory": True, "date_1904": epoch}) as written:
        sheet, dated = written.add_worksheet("P"), written.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        sheet.write(0, 2, "first")
        for number, row in enumerate(table * 3, 2):
            for column, value in enumerate(row, 1):
                timed = isinstance(value, datetime.date | datetime.time | datetime.timedelta)
                if isinstance(value, str):
                    sheet.write_string(number, column, value)
                else:
                    sheet.write(number, column, value, dated if timed else None)
    both_ways(out.getvalue())


@given(TABLES)
def test_what_openpyxl_writes_is_the_same_in_pieces(table: list[list[object]]) -> None:
    written = openpyxl.Workbook()
    sheet = written.active
    assert sheet is not None
    sheet.title = "P"
    for row in [["first"], *table * 3]:
        sheet.append([value.lstrip("=") if isinstance(value, str) else value for value in row])
    sheet.merge_cells("A2:A4")
    sheet.merge_cells("C3:D3")
    out = io.BytesIO()
    written.save(out)
    both_ways(out.getvalue())


def cell(content: str, place: str = "", kind: str = "", style: int = 0) -> str:
    return f"<c{attribute('r', place) if place else ''}{attribute('s', style)}{kind}>{content}</c>"


def rows_of(*lines: str) -> bytes:
    return "".join(f"<row>{line}</row>" for line in lines).encode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("".join(cell(f"<v>{at}</v>", kind=' t="s"') for at in range(len(STRINGS))),
         ("Müller & Söhne", "rich text", "東京", "kept", "trimmed",
          "one\ntwoA _x000D_ \nthree", "", "")),
        (cell("<is><r><t>a</t></r><r><t>b</t></r><rPh><t>c</t></rPh></is>", kind=' t="inlineStr"'), ("ab",)),
        (cell("<f>A1</f><v>a &amp; b</v>", kind=' t="str"'), ("a & b",)),
        (cell("<v>1</v>", kind=' t="b"') + cell("<v>0</v>", kind=' t="b"'), ("true", "false")),
        (cell("<v>12</v>") + cell("<v>1.50</v>") + cell("<v>1E3</v>"), ("12", "1.5", "1000")),
        (cell("<v>45943</v>", style=2) + cell("<v>45943.5</v>", style=3), ("2025-10-13", "2025-10-13T12:00:00")),
        (cell("<v>45943</v>", style=8) + cell("<v>45943</v>", style=10), ("2025-10-13", "45943")),
        (cell("<v>0.5</v>", style=4) + cell("<v>1.5</v>", style=6), ("12:00:00", "36:00:00")),
        (cell("<v>1.5</v>", style=9) + cell("<v>0.25</v>", style=11), ("36:00:00", "06:00:00")),
        (cell("<v>2024-02-29</v>", kind=' t="d"') + cell("<v>2024-02-29T01:02:03</v>", kind=' t="d"'),
         ("2024-02-29", "2024-02-29T01:02:03")),
    ],
)  # fmt: skip
def test_a_cell_reads_as_a_person_reads_it(line: str, expected: tuple[str, ...]) -> None:
    start, *found = both_ways(book({"P": worksheet(rows_of(cell("<v>1</v>") * len(expected), *[line] * 8))}), piece=300)
    assert start == ("1",) * len(expected)
    assert set(found) == {expected}


def test_an_error_in_a_cell_reads_the_same() -> None:
    both_ways(book({"P": worksheet(rows_of(*[cell("<v>#N/A</v>", kind=' t="e"') + cell("<v>1</v>")] * 9))}))


def test_dates_count_from_1904_where_the_workbook_says_so() -> None:
    xml = worksheet(rows_of(*[cell("<v>1</v>", style=2)] * 9))
    assert both_ways(book({"P": xml}, workbook=EPOCH))[8] == ("1904-01-02",)
    assert both_ways(book({"P": xml}))[8] != ("1904-01-02",)


def test_rows_and_columns_that_are_left_out_are_empty_and_rows_without_numbers_follow() -> None:
    xml = b'<row r="3"><c r="C3"><v>1</v></c><c r="E3"><v>2</v></c></row><row r="4"/><row><c r="D5"><v>3</v></c></row>'
    xml += b"<row><c/><c/><c/><c/><c><v>4</v></c></row><row r='400'><c r='G400'><v>5</v></c></row><row r='401'></row>"
    found = both_ways(book({"P": worksheet(xml)}), piece=20)
    assert len(found) == 400
    assert [(at, row) for at, row in enumerate(found, 1) if any(row)] == [
        (3, ("1", "", "2", "", "")),
        (5, ("", "3", "", "", "")),
        (6, ("", "", "4", "", "")),
        (400, ("", "", "", "", "5")),
    ]


def test_merged_cells_behind_the_rows_are_known_before_them() -> None:
    xml = worksheet(rows_of(*[cell("<v>1</v>") * 3] * 40), behind=merged("A1:B1", "C30:C33") + b"<pageMargins/>")
    both_ways(book({"P": xml}))
    sheet = large(book({"P": xml}), "P")
    assert sheet
    assert sheet.merged_cell_ranges == [((0, 0), (0, 1)), ((29, 2), (32, 2))]


@pytest.mark.parametrize("targets", ["", "/xl/"])
@pytest.mark.parametrize("namespace", [MAIN, STRICT])
def test_small_and_large_sheets_of_a_book_come_in_its_order_hidden_ones_too(namespace: bytes, targets: str) -> None:
    def table(mark: int, rows: int) -> bytes:
        return worksheet(rows_of(*[cell(f"<v>{mark}</v>") + cell("<v>7</v>")] * rows), namespace=namespace)

    made = {"Groß &amp; klein": table(1, 90), "Klein": table(2, 2), 'Auch" state="hidden': table(3, 80)}
    data = book(made | {"Leer": table(0, 0)}, namespace=namespace, targets=targets)
    with large_from(1500):
        names = ["Groß & klein", "Klein", "Auch", "Leer"]
        found = LargeSheets(check_zip(data), names)
        assert [found.get(name) is not None for name in names] == [True, False, True, False]
        pieced = joined(parts(read(*identify(data, "a.xlsx"))))
    assert pieced == joined(parts(read(*identify(data, "a.xlsx"))))
    assert [block.text for block in pieced.blocks if block.kind == "heading"] == names


def test_products_of_a_large_sheet_are_those_of_a_small_one() -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as written:
        picture = written.add_chart({"type": "line"})
        assert picture
        picture.add_series({"values": "=Notiz!$A$1"})
        written.add_chartsheet("Bild").set_chart(picture)
        sheet = written.add_worksheet("Preise")
        sheet.hide()
        written.add_worksheet("Notiz").write(0, 0, "hier")
        for row in range(700):
            sheet.write_row(row + 1, 1, [f"A-{row}", f"Klemme {row % 9}", row / 100])
        sheet.write_row(0, 1, ["Artikelnummer", "Bezeichnung", "Preis EUR"])
        sheet.merge_range(30, 2, 33, 2, "Serie", written.add_format())
    whole = joined(parts(read(*identify(out.getvalue(), "a.xlsx"))))
    with large_from(5000, 3000):
        assert LargeSheets(check_zip(out.getvalue()), ["Preise"]).get("Preise")
        assert joined(parts(read(*identify(out.getvalue(), "a.xlsx")))) == whole
    assert len(whole.products) == 700
    assert whole.products[31].names[0].text == "Serie"


ROW = b"<row><c><v>1</v></c></row>"
UNUSUAL = {
    "a comment": worksheet(ROW + b"<!-- <row> -->" + ROW),
    "CDATA": worksheet(ROW + b'<row><c t="inlineStr"><is><t><![CDATA[<row>]]></t></is></c></row>'),
    "an instruction": worksheet(ROW + b"<?a <row>?>" + ROW),
    "a comment in the head": worksheet(ROW, before=b"<!-- <sheetData> -->"),
    "no rows": worksheet(b""),
    "no sheetData": b"<worksheet><sheetData/></worksheet>",
    "rows that are not in order": worksheet(
        b'<row r="9"><c><v>1</v></c></row>' + ROW * 9 + b'<row r="2"><c><v>1</v></c></row>'
    ),
    "a row without digits": worksheet(b'<row r="A7"><c><v>1</v></c></row>' + ROW * 3),
    "UTF-16": worksheet(ROW).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_sheet_is_left_to_calamine(case: str) -> None:
    data = book({"P": UNUSUAL[case]})
    assert large(data, "P", 60) is None
    whole = outcome(data)
    with large_from(0, 60):
        assert outcome(data) == whole


def outcome(data: bytes) -> object:
    try:
        return joined(parts(read(*identify(data, "a.xlsx"))))
    except Unreadable as refused:
        return refused.code


LAUGHS = b'<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><worksheet><sheetData>%b</sheetData></worksheet>'
HOSTILE = {
    "billion laughs": LAUGHS % (b'<row><c t="str"><v>&b;</v></c></row>' * 30),
    "a cut sheet": worksheet(ROW * 50)[:-300],
    "a cut tag": b"<worksheet><sheetData>" + ROW * 50 + b"<row",
    "a row 0": worksheet(ROW * 9 + b'<row r="0"><c><v>1</v></c></row>'),
    "a string that there is none of": worksheet(ROW * 9 + b'<row><c t="s"><v>999</v></c></row>'),
    "a kind of cell that there is none of": worksheet(ROW * 9 + b'<row><c t="z"><v>1</v></c></row>'),
    "a place that is none": worksheet(ROW * 9 + b'<row><c r="?1"><v>1</v></c></row>'),
}


@pytest.mark.requirement("I-08")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_large_sheet_that_is_damaged_or_hostile_is_refused_as_a_small_one(case: str) -> None:
    with large_from(0):
        assert outcome(book({"P": HOSTILE[case]})) == "damaged"


def test_a_large_sheet_whose_packed_bytes_are_damaged_is_refused() -> None:
    data = bytearray(book({"P": worksheet(b"".join(b"<row><c><v>%d</v></c></row>" % (n * n) for n in range(900)))}))
    data[data.index(b"xl/worksheets/s1.xml") + 600] ^= 0xFF
    with large_from(0):
        assert outcome(bytes(data)) == "damaged"


def test_an_archive_that_only_calamine_can_unpack_is_left_to_it() -> None:
    data = book({"P": worksheet(ROW * 50)})
    data = data.replace(b"xl/worksheets/s1.xml", b"xl/worksheets/S1.xml", 1)  # its directory has the other name
    whole = outcome(data)
    with large_from(0):
        assert LargeSheets(check_zip(data), ["P"]).get("P") is None
        assert outcome(data) == whole
    assert not isinstance(whole, str)


def test_rows_without_end_are_not_held() -> None:
    blocks = chain([b"<worksheet><sheetData><row>"], repeat(b"<c/>" * 2**18, 10_000))
    with pytest.raises(Unusual):
        list(pieces(blocks))
    assert sum(1 for _ in blocks) > 9_900


READ = """
import sys
from pathlib import Path
from servers.cradle.processing.extract import large_sheet
from servers.cradle.processing.extract.containers import check_zip
from servers.cradle.processing.extract.spreadsheet import _rows
large_sheet.sizes = lambda _: (large_sheet.PIECE, 0)
sheet = large_sheet.LargeSheets(check_zip(Path(sys.argv[1]).read_bytes()), ["P"]).get("P")
print(sum(1 for _ in _rows(sheet, ())))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.requirement("I-08")
def test_memory_does_not_grow_with_the_rows_of_a_large_sheet(tmp_path: Path) -> None:
    """At 5 and at 20 MiB of XML: held whole, the second would take 27 MiB more, half as much again."""
    line = "".join(
        f'<c t="inlineStr"><is><t>Wert {column}</t></is></c><c><v>%d</v></c>' for column in range(20)
    ).encode()
    highest = []
    for rows in (4_000, 16_000):
        path = tmp_path / f"{rows}.xlsx"
        made = b"".join(
            b"<row>%b</row>" % (line % tuple(range(row, row + 20))) for row in range(100_000, 100_000 + rows)
        )
        path.write_bytes(book({"P": worksheet(made)}))
        told = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
        read_rows, kibibytes = map(int, told.stdout.split())
        assert read_rows == rows
        highest.append(kibibytes)
    assert highest[1] < 1.3 * highest[0]
