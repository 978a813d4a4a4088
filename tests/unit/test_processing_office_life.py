"""Word, slides, mail and web pages as offices make them: forms, tables with holes, words in several pieces."""

from __future__ import annotations

import io
from typing import Any

import docx
import pptx
import pytest
from docx.oxml import parse_xml

from servers.cradle.processing.extraction import Block
from tests.tables_rig import extracted, texts

_SPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)


def word(*xml: str) -> tuple[Block, ...]:
    """What is read of a DOCX with this body."""
    made = docx.Document()
    body: Any = made.element.body
    for child in list(parse_xml(f"<w:body {_SPACES}>{''.join(xml)}</w:body>")):
        body.insert(len(body) - 1, child)
    out = io.BytesIO()
    made.save(out)
    return extracted(out.getvalue(), "a.docx").blocks


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def cell(text: str, properties: str = "") -> str:
    inside = text if text.startswith("<") else f"<w:p>{run(text)}</w:p>"
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def row(*cells: str, properties: str = "") -> str:
    return f"<w:tr><w:trPr>{properties}</w:trPr>{''.join(map(cell, cells))}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/><w:tblGrid/>{''.join(rows)}</w:tbl>"


def before(count: int, width: int = 2000) -> str:
    return f'<w:gridBefore w:val="{count}"/><w:wBefore w:w="{width}" w:type="dxa"/>'


def test_a_row_of_word_that_begins_further_right_keeps_its_columns() -> None:
    (found,) = word(
        table(row("Artikel", "Name", "Preis"), row("Stecker", "2,50", properties=before(1)), row("4711", "Dose", "3"))
    )
    assert found.rows == (("Artikel", "Name", "Preis"), ("", "Stecker", "2,50"), ("4711", "Dose", "3"))
    (indented,) = word(table(row("A", "B", properties=before(1)), row("C", properties=before(2))))
    assert indented.rows == (("A", "B"), ("", "C"))


def test_an_edge_that_was_dragged_by_hand_is_no_column_of_word() -> None:
    wide = '<w:gridSpan w:val="2"/>'
    first = f"<w:tr>{cell('Artikel', wide)}{cell('Preis')}</w:tr>"
    (found,) = word(table(first, row("4711", "2,50", properties=before(1, 30))))
    assert found.rows == (("Artikel", "", "Preis"), ("4711", "", "2,50"))


def test_a_table_around_tables_is_a_frame_and_those_in_it_are_tables() -> None:
    inner = table(row("Artikel", "Preis"), row("4711", "2,50"))
    found = word(table(row("Preisliste"), row(inner + "<w:p/>")), f"<w:p>{run('Schluss')}</w:p>")
    assert [(each.kind, each.text) for each in found] == [
        ("paragraph", "Preisliste"), ("table", "Artikel | Preis\n4711 | 2,50"), ("paragraph", "Schluss"),
    ]  # fmt: skip
    assert found[1].rows == (("Artikel", "Preis"), ("4711", "2,50"))


@pytest.mark.parametrize("off", ["0", "false", "off"])
def test_a_row_of_word_that_is_told_to_be_no_header_is_none(off: str) -> None:
    rows = [row(name, "x", properties=f'<w:tblHeader w:val="{off}"/>') for name in "abc"]
    (found,) = word(table(*rows))
    assert found.header_rows == 1


def field(data: str) -> str:
    return f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:name w:val="F"/>{data}</w:ffData></w:fldChar></w:r>'


LIST = '<w:listEntry w:val="rot"/><w:listEntry w:val="blau"/>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f'<w:ddList><w:result w:val="1"/>{LIST}</w:ddList>', "blau"),
        (f'<w:ddList><w:default w:val="1"/>{LIST}</w:ddList>', "blau"),
        (f"<w:ddList>{LIST}</w:ddList>", "rot"),
        ('<w:ddList><w:result w:val="7"/></w:ddList>', ""),
        ('<w:checkBox><w:default w:val="0"/><w:checked/></w:checkBox>', "☒"),
        ('<w:checkBox><w:default w:val="1"/><w:checked w:val="0"/></w:checkBox>', "☐"),
        ('<w:checkBox><w:default w:val="1"/></w:checkBox>', "☒"),
        ('<w:checkBox><w:default w:val="0"/></w:checkBox>', "☐"),
    ],
)
def test_what_is_chosen_in_a_form_of_word_is_read(data: str, said: str) -> None:
    (found,) = word(f"<w:p>{run('Farbe: ')}{field(data)}{run(' gewählt')}</w:p>")
    assert found.text == f"Farbe: {said} gewählt"


def test_a_formula_and_a_tab_to_the_margin_part_what_stands_beside_them() -> None:
    part = "<m:{0}><m:r><m:t>{1}</m:t></m:r></m:{0}>".format
    (found,) = word(
        f"<w:p>{run('P = ')}<m:oMath><m:f>{part('num', 'U')}{part('den', 'R')}</m:f>"
        f"<m:sSup>{part('e', 'x')}{part('sup', '2')}</m:sSup></m:oMath>"
        "<w:r><w:ptab w:alignment='right' w:relativeTo='margin' w:leader='dot'/><w:t>Seite 3</w:t></w:r></w:p>"
    )
    assert found.text == "P = U/Rx^2\tSeite 3"


def web(body: str) -> list[str]:
    return texts(extracted(f"<html><body>{body}</body></html>".encode(), "a.html"))


def test_a_word_of_a_web_page_in_several_pieces_is_one_word_wherever_it_stands() -> None:
    assert web(
        "<h2>H<sub>2</sub>O-F<i>il</i>ter</h2><ul><li>Sch<b>alt</b>er<ul><li>m<sup>2</sup></li></ul></li></ul>"
        "<table><caption>Ty<b>p</b>en</caption><tr><th>Art.<b>-Nr</b></th></tr>"
        "<tr><td><span>47</span><span>11</span></td></tr></table>"
    ) == ["H2O-Filter", "- Schalter\n- m²", "Typen", "Art.-Nr\n4711"]


def test_lines_of_a_web_page_are_apart_inside_of_what_is_read_as_one_line() -> None:
    assert web("<h1>Netz<br>teil</h1><ul><li><p>eins</p><p>zwei</p></li></ul>") == ["Netz teil", "- eins zwei"]
    assert web("<table><tr><td>a<br>b</td><td><p>c</p><p>d</p>e</td><td><div>f</div>g</td></tr></table>") == [
        "a b | c d e | f g"
    ]
    assert web("Farbe <select><option>rot</option><option>blau</option></select>") == ["Farbe rot blau"]


@pytest.mark.parametrize("sign", ["\xad", "\u200b", "\u2060"])
def test_where_a_word_may_be_broken_it_is_one_word(sign: str) -> None:
    text = f"Donau{sign}dampfer"
    assert (
        web(f"<h1>{text}</h1><p>{text}</p><pre>{text}</pre><table><tr><td>{text}</td></tr></table>")
        == ["Donaudampfer"] * 4
    )
    assert [each.text for each in word(f"<w:p>{run(text)}</w:p>")] == ["Donaudampfer"]


def test_a_shape_that_is_there_for_older_programs_too_is_read_once() -> None:
    made = pptx.Presentation()
    tree: Any = made.slides.add_slide(made.slide_layouts[6]).shapes._spTree
    shape = (
        '<p:sp><p:nvSpPr><p:cNvPr id="7" name="n"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/>'
        "<p:txBody><a:bodyPr/><a:p><a:r><a:t>U = R · I</a:t></a:r></a:p></p:txBody></p:sp>"
    )
    tree.append(
        parse_xml(
            '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
            'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
            'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">'
            f'<mc:Choice Requires="a14">{shape}</mc:Choice><mc:Fallback>{shape}</mc:Fallback></mc:AlternateContent>'
        )
    )
    out = io.BytesIO()
    made.save(out)
    assert texts(extracted(out.getvalue(), "a.pptx")) == ["U = R · I"]


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_a_header_that_was_sent_in_eight_bits_keeps_its_letters(charset: str) -> None:
    mail = "From: Jürgen Müller <a@example.com>\nSubject: Größe\n   und Maß\n\nText\n".encode(charset)
    assert texts(extracted(mail, "a.eml")) == ["Größe und Maß", "From: Jürgen Müller <a@example.com>", "Text"]
