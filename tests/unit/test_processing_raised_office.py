"""Superscripts and hidden text of OpenDocument, of Word's old files and of workbooks, as of the newer formats."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from servers.cradle.processing.extract import rich_text
from servers.cradle.processing.extract.xls_strings import raised_strings
from servers.cradle.processing.extract.xlsb_strings import raised_text
from tests.office_rig import opendocument
from tests.tables_rig import extracted, texts
from tests.unit.test_processing_open_text import made, xml
from tests.word_old import old_file
from tests.word_pictures import picture_doc
from tests.xlsb_file import Rich, binary

ROOT = Path(__file__).parents[2]
SAID = "10⁻³ m² H2O 12,50¹⁾ 1st"
STYLE = '<style:style style:name="%s" style:family="text"><style:text-properties %s/></style:style>'
STYLES = (
    STYLE % ("T1", 'style:text-position="super 58%"')
    + STYLE % ("T2", 'style:text-position="-33% 58%"')
    + '<style:style style:name="T3" style:family="text" style:parent-style-name="Note"/>'
    + STYLE % ("T4", 'text:display="none"')
)
BODY = (
    '<text:p>10<text:span text:style-name="T1">-3</text:span> m<text:span text:style-name="T1">2</text:span> '
    'H<text:span text:style-name="T2">2</text:span>O 12,50<text:span text:style-name="T3">1)</text:span> '
    '1<text:span text:style-name="T1">st</text:span><text:span text:style-name="T4"> VERSTECKT</text:span></text:p>'
)


def named(position: str) -> str:
    """The styles of a file, with one that is called Note."""
    properties = f'<style:text-properties style:text-position="{position}"/>'
    return xml("styles", f'<office:styles><style:style style:name="Note">{properties}</style:style></office:styles>')


@pytest.mark.parametrize("position", ["super 58%", "33% 58%"])
def test_a_text_of_opendocument_shows_what_its_styles_show(position: str) -> None:
    found = extracted(made(BODY, styles=STYLES, more={"styles.xml": named(position)}), "a.odt")
    assert texts(found) == [SAID]


def test_a_section_that_is_not_shown_is_not_read() -> None:
    section = '<text:section text:display="none"><text:p>VERSTECKT</text:p></text:section>'
    assert texts(extracted(made(f"<text:p>Sichtbar</text:p>{section}"), "a.odt")) == ["Sichtbar"]


def test_a_workbook_of_opendocument_too_and_its_price_is_the_one_that_it_shows() -> None:
    from odf.style import Style, TextProperties
    from odf.table import TableCell, TableRow
    from odf.text import P, Span

    def fill(table) -> None:
        for cells in (("Artikelnummer", "Bezeichnung", "Preis EUR"), ("A-1", ("Klemme 4 mm", "2"), ("12,50", "1)"))):
            table.addElement(row := TableRow())
            for each in cells:
                text, up = each if isinstance(each, tuple) else (each, "")
                row.addElement(cell := TableCell(valuetype="string"))
                cell.addElement(paragraph := P(text=text))
                if up:
                    paragraph.addElement(Span(text=up, stylename="T1"))

    def above(document) -> None:
        document.automaticstyles.addElement(style := Style(name="T1", family="text"))
        style.addElement(TextProperties(textposition="super 58%"))

    (product,) = extracted(opendocument(fill, also=above), "a.ods").products
    assert (product.names[0].text, [price.amount for price in product.prices]) == ("Klemme 4 mm²", ["12.50"])


def test_a_file_of_word_97_shows_what_its_characters_are() -> None:
    above, hidden = struct.pack("<HB", 0x2A48, 1), struct.pack("<HB", 0x083C, 1)
    below = struct.pack("<HB", 0x2A48, 2)
    text = "10-3 m2 H2O 12,501 VERSTECKT\r"
    said = {2: above, 3: above, 6: above, 9: below, 17: above, **dict.fromkeys(range(18, len(text) - 1), hidden)}
    assert texts(extracted(picture_doc(text, said), "a.doc")) == ["10⁻³ m² H2O 12,50¹"]


def test_a_file_of_word_95_too() -> None:
    runs = [(2, b""), (4, b"\x68\1"), (6, b""), (7, b"\x68\1"), (9, b""), (10, b"\x68\2"), (11, b""), (17, b"\x5c\1")]
    assert texts(extracted(old_file(b"10-3 m2 H2O weg\x13\x14\x15\r", [], runs), "a.doc")) == ["10⁻³ m² H2O"]


@pytest.mark.parametrize("based", [False, True])
def test_a_file_of_word_97_whose_notes_have_a_style_of_characters_too(based: bool) -> None:
    def style(kind: int, base: int, sprms: bytes) -> bytes:
        name = struct.pack("<H", 1) + "N".encode("utf-16-le") + bytes(2)
        content = struct.pack("<HH", 0xFFF, base << 4 | kind).ljust(10, b"\0") + name + struct.pack("<H", len(sprms))
        return struct.pack("<H", len(content) + len(sprms)) + content + sprms + bytes(len(sprms) % 2)

    none, above = 0xFFF, struct.pack("<HB", 0x2A48, 1)
    styles = [style(1, none, bytes(2)), style(2, none, above), style(2, 1 if based else none, b"" if based else above)]
    sheet = struct.pack("<HHH", 4, len(styles), 10) + b"".join(styles)
    noted, on_line = struct.pack("<HH", 0x4A30, 2), struct.pack("<HHHB", 0x4A30, 2, 0x2A48, 0)
    found = picture_doc("12,501 12,501\r", {5: noted, 12: on_line}, parts={1: sheet})
    assert texts(extracted(found, "a.doc")) == ["12,50¹ 12,501"]


def rich(*cells: tuple[str | None, ...], inline: bool = False) -> bytes:
    """A workbook with one article, whose name and price are these pieces; `None` makes the next one superscript.

    Args:
        inline: each text stands in its cell.
    """
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        up, page = book.add_format({"font_script": 1}), book.add_worksheet("Preise")
        page.write_row(0, 0, ("Artikelnummer", "Bezeichnung", "Preis EUR"))
        page.write(1, 0, "A-1")
        for column, cell in enumerate(cells, 1):
            if len(cell) == 1:
                page.write(1, column, cell[0])
            else:
                page.write_rich_string(1, column, *(up if each is None else each for each in cell))
    return _with_inline_texts(out.getvalue()) if inline else out.getvalue()


def _with_inline_texts(data: bytes) -> bytes:
    """The workbook as programs write it that know no table of texts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(out, "w") as written:
        shared = re.findall(b"<si>(.*?)</si>", read.read("xl/sharedStrings.xml"))
        for name in read.namelist():
            content = read.read(name)
            if name == "xl/sharedStrings.xml":
                content = re.sub(b"<si>.*</si>", b"", content)
            content = re.sub(
                rb' t="s"><v>(\d+)</v>', lambda cell: b' t="inlineStr"><is>%b</is>' % shared[int(cell[1])], content
            )
            written.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("inline", [False, True])
def test_a_workbook_of_excel_too_and_its_price_is_the_one_that_it_shows(inline: bool) -> None:
    data = rich(("Klemme 4 mm", None, "2", " & 10", None, "-3", " m"), ("12,50", None, "1)"), inline=inline)
    found = extracted(data, "a.xlsx")
    (product,) = found.products
    assert (product.names[0].text, [price.amount for price in product.prices]) == ("Klemme 4 mm² & 10⁻³ m", ["12.50"])
    assert [(each.name, each.values[0].text) for each in product.features] == [("Preis EUR", "12,50¹⁾")]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = archive.read("xl/worksheets/sheet1.xml" if inline else "xl/sharedStrings.xml")
        assert b"superscript" in held


@pytest.mark.parametrize("shared", [False, True])
def test_a_binary_workbook_too(shared: bool) -> None:
    name, price = ((0, 0), (11, 1), (12, 0), (17, 1), (19, 0)), ((5, 1),)
    article = ("A-1", Rich("Klemme 4 mm2 & 10-3 m", name, shared), Rich("12,501)", price, shared))
    (product,) = extracted(binary(("Artikelnummer", "Bezeichnung", "Preis EUR"), article), "a.xlsb").products
    assert (product.names[0].text, [price.amount for price in product.prices]) == ("Klemme 4 mm² & 10⁻³ m", ["12.50"])


def test_a_text_of_a_binary_workbook_that_breaks_stays_as_it_is() -> None:
    whole = Rich("m2 10-3", ((1, 1), (2, 0), (5, 1))).content()
    assert raised_text(whole, {1})[5:19].decode("utf-16-le") == "m² 10⁻³"
    for end in range(len(whole)):
        assert len(raised_text(whole[:end], {1})) == end
    assert raised_text(whole, {2}) == whole


def test_a_workbook_without_raised_text_is_not_held_for_it_and_its_mark_may_lie_across_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rich_text, "BLOCK", 7)
    assert (
        extracted(rich(("Klemme 4 mm", None, "2", " lang")), "a.xlsx").products[0].names[0].text == "Klemme 4 mm² lang"
    )
    monkeypatch.setattr(rich_text, "part_blocks", None)
    plain = extracted(rich(("Klemme 4 mm",)), "a.xlsx")
    assert plain.products[0].names[0].text == "Klemme 4 mm"


OPENED = """
import io, resource, zipfile
from servers.cradle.processing.extract.rich_text import with_raised
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
made = io.BytesIO()
with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("xl/sharedStrings.xml", b"superscript" + {pieces})
with zipfile.ZipFile(made) as file:
    with_raised(made.getvalue(), file)
"""


@pytest.mark.parametrize("pieces", ["b'<r>' * 300_000", "b''.join(b'<x%d:r>' % at for at in range(100_000))"])
def test_pieces_that_nobody_closes_do_not_hold_a_reader(pieces: str) -> None:
    ended = subprocess.run([sys.executable, "-c", OPENED.format(pieces=pieces)], cwd=ROOT, timeout=500, check=False)
    assert ended.returncode == 0


def old_rich(*cells: tuple[str | None, ...], before: int = 0) -> bytes:
    """The same as an XLS file, with so many long texts before these in the table that all sheets share."""
    import xlwt

    book, out = xlwt.Workbook(), io.BytesIO()
    up, plain = xlwt.easyfont("escapement superscript"), xlwt.easyfont("")
    others = book.add_sheet("Andere")
    for at in range(before):
        others.write(at, 0, f"{at} " + ("Größe €" if at % 3 else "Text") * 137)
    page = book.add_sheet("Preise")
    for column, each in enumerate(("Artikelnummer", "Bezeichnung", "Preis EUR")):
        page.write(0, column, each)
    page.write(1, 0, "A-1")
    for column, cell in enumerate(cells, 1):
        pieces = [(each, up if at and cell[at - 1] is None else plain) for at, each in enumerate(cell) if each]
        page.write_rich_text(1, column, pieces)
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("before", [0, *range(60, 68), 400])
def test_a_workbook_of_excel_97_too(before: int) -> None:
    data = old_rich(("Schütz € 4 mm", None, "2", " & 10", None, "-3", " m"), ("12,50", None, "1)"), before=before)
    found = extracted(data, "a.xls")
    (product,) = found.products
    assert product.names[0].text == "Schütz € 4 mm² & 10⁻³ m"
    assert [price.amount for price in product.prices] == ["12.50"]


@pytest.mark.parametrize("wide", [False, True])
def test_a_text_of_such_a_file_goes_on_in_another_record_as_that_says(wide: bool) -> None:
    head, runs = struct.pack("<IIHBH", 1, 1, 6, 8, 2), struct.pack("<HHHH", 2, 5, 4, 0)
    for at in range(1, 6):
        rest = "10-3 m"[at:].encode("utf-16-le" if wide else "latin-1")
        for cut in range(len(runs)):  # what is no text goes on without a byte of its own
            table = [head + b"10-3 m"[:at], bytes([wide]) + rest + runs[:cut], runs[cut:]]
            assert raised_strings(table, {4}) == {0: "10⁻³ m"}


def test_of_a_table_of_texts_that_breaks_what_came_before_is_known() -> None:
    def text(said: str, *runs: tuple[int, int]) -> bytes:
        head = struct.pack("<HBH", len(said), 8, len(runs))
        return head + said.encode("latin-1") + b"".join(struct.pack("<HH", *run) for run in runs)

    whole = struct.pack("<II", 3, 3) + text("m2", (1, 5)) + text("m2", (1, 4)) + text("10-3 m", (2, 5), (4, 0))
    assert raised_strings([whole], {4}) == {0: "m²", 2: "10⁻³ m"}
    for at in range(9, len(whole)):  # a record ends anywhere, and none goes on
        assert raised_strings([whole[:at]], {4}).items() <= {0: "m²"}.items()
    assert raised_strings([whole], set()) == raised_strings([], {4}) == {}
