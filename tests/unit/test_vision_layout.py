"""What recognised pieces are made of: columns and tables as on the page, western signs, pages the right way up."""

from __future__ import annotations

import math
from itertools import count

import pytest

from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.vision.layout import markdown, text
from servers.cradle.vision.lines import Piece, reads_better, wrong_way
from servers.cradle.vision.tesseract import _pieces
from servers.cradle.vision.western import western
from shared.contracts.vision import Word

PRICES = [["Art.-Nr.", "Bezeichnung", "Preis"], ["KL-1", "Klemme grau", "12,50"], ["KL-2", "Klemme blau", "1,20"]]


def piece(said: str, x: float, y: float, width: float = 0, turn: float = 0.0, sure: float = 0.99) -> Piece:
    """A piece 30 high on a page turned by `turn` radians."""
    right, cos, sin = x + (width or 15 * len(said)), math.cos(turn), math.sin(turn)
    corners = ((x, y), (right, y), (right, y + 30), (x, y + 30))
    return Piece(said, sure, tuple((px * cos - py * sin, px * sin + py * cos) for px, py in corners))


def table(rows: list[list[str]], top: float = 300, turn: float = 0.0) -> list[Piece]:
    return [
        piece(cell, (60, 300, 900)[column], top + 45 * row, turn=turn)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    ]


def prose(words: str, x: float, top: float, turn: float = 0.0) -> list[Piece]:
    lines = [f"{words} Zeile {number} des Absatzes geht noch weiter" for number in range(1, 5)]
    return [piece(line, x, top + 38 * at, 600, turn) for at, line in enumerate(lines)]


@pytest.mark.requirement("I-06")
@pytest.mark.parametrize("degrees", [0, 2, -3])
def test_columns_of_prose_are_read_one_after_the_other_and_rows_of_a_table_in_cells(degrees: int) -> None:
    turn = math.radians(degrees)
    left, right = prose("Links:", 60, 600, turn), prose("Rechts:", 720, 600, turn)
    page = [piece("Preisliste 2026", 60, 100, turn=turn), *table(PRICES, turn=turn), *left, *right]
    columns = ["\n".join(each.text for each in column) for column in (left, right)]
    assert text(page).split("\n\n") == ["Preisliste 2026", "\n".join(map(" | ".join, PRICES)), *columns]


def test_a_table_read_on_a_page_is_one_with_its_header_and_empty_cells_keep_their_place() -> None:
    rows = [*PRICES, ["KL-3", "Klemme rot"], ["", "Zubehör", "9,90"]]
    page = [each for each in table(rows) if each.text]
    blocks = list(paragraphs(text(page), 4))
    assert [(block.kind, block.page, block.header_rows) for block in blocks] == [("table", 4, 1)]
    assert blocks[0].rows == (*map(tuple, PRICES), ("KL-3", "Klemme rot", ""), ("", "Zubehör", "9,90"))


@pytest.mark.parametrize("framed", [False, True])
def test_lines_of_cells_in_any_text_are_a_table(framed: bool) -> None:
    lines = [" | ".join(row) for row in PRICES]
    lines = [f"| {line} |" for line in [lines[0], "--- | --- | ---", *lines[1:]]] if framed else lines
    found = list(paragraphs("\n".join(["Unsere Preise:", *lines, "Gültig bis 31.12."])))
    assert [block.kind for block in found] == ["paragraph", "table", "paragraph"]
    assert found[1].rows == tuple(map(tuple, PRICES))


@pytest.mark.parametrize(
    "said", ["ls | grep a", "ls | wc\ncat a | sort | uniq", "| er schrieb:\n| ja", "a |\nb", "a\n| b"]
)
def test_other_lines_with_a_bar_stay_as_they_are(said: str) -> None:
    assert [(block.kind, block.text) for block in paragraphs(f"Zuerst\n{said}\nzuletzt")] == [
        ("paragraph", f"Zuerst\n{said}\nzuletzt")
    ]


def test_pieces_of_one_cell_are_joined() -> None:
    page = [*table(PRICES), piece("extra", 480, 345)]
    assert "KL-1 | Klemme grau extra | 12,50" in text(page)


def test_markdown_has_the_same_tables_and_columns() -> None:
    page = [*table(PRICES), *prose("Links:", 60, 600), *prose("Rechts:", 720, 600)]
    said = markdown(page)
    assert said.startswith("| Art.-Nr. | Bezeichnung | Preis |\n| --- | --- | --- |\n| KL-1 | Klemme grau | 12,50 |\n")
    assert said.index("Links: Zeile 4") < said.index("Rechts: Zeile 1")


def words(line: str, x: float, y: float) -> list[Word]:
    """The words of a line as Tesseract gives them: each box is what is drawn, with the letters' own heights."""
    found, at = list[Word](), x
    for each in line.split():
        high = any(not letter.islower() or letter in "bdfhklt" for letter in each)
        top, bottom = y + (0 if high else 6), y + 20 + (5 if set(each) & set("gjpqy") else 0)
        found.append(Word(text=each, confidence=0.95, box=(at, top, at + 13 * len(each), bottom)))
        at += 13 * len(each) + 10
    return found


def test_columns_of_a_table_that_tesseract_reads_one_after_the_other_become_rows() -> None:
    rows = list(enumerate(PRICES))
    lines = [words(row[at], x, 100 + 45 * down) for at, x in enumerate((60, 300, 900)) for down, row in rows]
    assert text(_pieces(lines)) == "\n".join(map(" | ".join, PRICES))


def test_rules_of_a_table_that_tesseract_reads_as_signs_are_no_cells() -> None:
    cells = [(60 + 400 * at, *column) for at, column in enumerate(zip(PRICES[1], PRICES[2], strict=True))]
    ruled = [word for x, cell, _ in cells for word in (*words("|", x - 20, 95), *words(cell, x, 100))]
    other = [word for x, _, cell in cells for word in words(cell, x, 145)]
    assert text(_pieces([ruled, other])) == "KL-1 | Klemme grau | 12,50\nKL-2 | Klemme blau | 1,20"


def stroke(sign: str, width: float, height: float) -> Piece:
    return Piece(sign, 0.9, ((0, 0), (width, 0), (width, height), (0, height)))


def test_signs_of_a_chinese_model_are_those_of_a_western_page() -> None:
    page = [
        stroke("一", 21, 35),
        stroke("一", 26, 30),
        stroke("二", 21, 36),
        piece("-30 一 50 ℃（Ａ）：Gehäuse", 0, 100),
    ]
    assert [each.text for each in western(page)] == ["I", "–", "II", "-30 – 50 °C(A):Gehäuse"]
    chinese = [piece("一般说明（第二版）", 0, 0), piece("HL-240 照明灯", 0, 40)]
    assert western(chinese) == chinese


@pytest.mark.parametrize(
    ("high", "sure", "quarters"), [(False, 0.9, 0), (False, 0.3, 2), (True, 0.9, 1), (True, 0.3, 3)]
)
def test_a_page_is_turned_by_how_its_words_stand_and_how_sure_they_are(high: bool, sure: float, quarters: int) -> None:
    places = count(0, 40)
    page = [piece("Klemme", next(places), 0, 12 if high else 200, sure=sure) for _ in range(5)]
    assert wrong_way(page, 0.6) == quarters
    assert reads_better([piece("Klemme", 0, 0, sure=0.5)], page) == (sure < 0.5)


def test_an_empty_page_is_not_turned() -> None:
    assert wrong_way([], 0.6) == 0
