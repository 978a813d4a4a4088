"""PDF pages that are not simply read from top to bottom: text that goes up the page or across it, columns of two
lengths, and letters of which the file does not say which they are."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extraction import Block, Scan
from tests.unit.test_processing_pdf_layout import extracted, page_of, shown, texts

PROSE = [shown("Ein Absatz in aufrechter Schrift, der eine Zeile lang ist.", 60, 700 - 12 * at) for at in range(4)]
WHOLE = " ".join(["Ein Absatz in aufrechter Schrift, der eine Zeile lang ist."] * 4)


@pytest.mark.parametrize("matrix", ["0 1 -1 0", "0 -1 1 0", "-1 0 0 -1"])
def test_a_note_on_the_margin_is_read_by_itself_and_in_order(matrix: str) -> None:
    note = shown("Nur zur internen Verwendung", 300 if matrix[0] == "-" else 30, 690, matrix)
    for placed in ([*PROSE, note], [note, *PROSE], [*PROSE[:2], note, *PROSE[2:]]):
        assert texts(page_of(placed)) == [WHOLE, "Nur zur internen Verwendung"]


def test_names_of_columns_that_go_up_the_page_are_words() -> None:
    names = [shown(name, 120 + 60 * at, 620, "0 1 -1 0") for at, name in enumerate(("Spannung", "Strom", "Gewicht"))]
    rows = [
        shown(text, 60 + 60 * column, 600 - 14 * row)
        for row, cells in enumerate((("A-1", "24", "5", "1,2"), ("A-2", "48", "3", "1,5"), ("A-3", "12", "9", "0,7")))
        for column, text in enumerate(cells)
    ]
    table, *words = texts(page_of([*names, *rows]))
    assert table == "A-1 | 24 | 5 | 1,2\nA-2 | 48 | 3 | 1,5\nA-3 | 12 | 9 | 0,7"
    assert " ".join(words) == "Spannung Strom Gewicht"


def test_what_is_written_across_a_page_does_not_come_into_its_lines() -> None:
    across = shown("MUSTER", 80, 640, "4 4 -4 4")
    for placed in ([across, *PROSE], [*PROSE[:2], across, *PROSE[2:]]):
        assert texts(page_of(placed)) == [WHOLE, "MUSTER"]


def test_a_page_that_lies_a_little_askew_is_still_read_by_its_lines() -> None:
    askew = [shown("Ein Absatz, der schief liegt.", 60, 700 - 14 * at, "0.999 0.03 -0.03 0.999") for at in range(2)]
    assert texts(page_of(askew)) == ["Ein Absatz, der schief liegt. Ein Absatz, der schief liegt."]


def columns(left: int, right: int, *more: str) -> list[str]:
    """Two columns of so many lines each; how the page is written does not matter."""
    line = "%s Zeile %d einer Spalte mit ihrem Text darin"
    sides = ((60, "links", left), (320, "rechts", right))
    return [shown(line % (name, at), x, 700 - 12 * at) for x, name, count in sides for at in range(count)] + list(more)


@pytest.mark.parametrize(("left", "right"), [(7, 4), (4, 7), (5, 5)])
def test_the_longer_of_two_columns_is_read_to_its_end_before_the_other(left: int, right: int) -> None:
    first, second = texts(page_of(columns(left, right)))
    assert [first.count("links Zeile"), second.count("rechts Zeile")] == [left, right]
    assert "rechts" not in first


def test_what_stands_below_columns_from_edge_to_edge_or_apart_is_read_after_them() -> None:
    wide = "Dieser Absatz steht unter den beiden Spalten und geht von der linken bis zur rechten Kante der Seite"
    for below in (shown(wide, 60, 652), shown("Fazit der beiden Spalten", 60, 620)):
        assert len(texts(page_of(columns(4, 4, below)))) == 3


def unmapped(pdf: bytes) -> bytes:
    """The page in a font that does not say which letters it draws."""
    own = b"/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding/ToUnicode 6 0 R"
    composite = (
        b"/Type0/BaseFont/Own/Encoding/Identity-H/DescendantFonts[<</Type/Font/Subtype/CIDFontType2/BaseFont/Own"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/DW 500>>]"
    )
    assert own in pdf
    return pdf.replace(own, composite)


def test_a_page_whose_font_does_not_name_its_letters_is_for_ocr_and_gives_no_others() -> None:
    (found,) = extracted(unmapped(page_of([shown("Ein Satz, den jeder sieht.", 60, 700)]))).flow
    assert isinstance(found, Scan)
    assert not found.stamped
    (named,) = extracted(page_of([shown("Ein Satz, den jeder sieht.", 60, 700)])).flow
    assert isinstance(named, Block)
