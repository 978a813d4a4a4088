"""PDF pages on which some of the text goes up the page, down, or across it."""

from __future__ import annotations

import pytest

from tests.unit.test_processing_pdf_layout import page_of, shown, texts

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
