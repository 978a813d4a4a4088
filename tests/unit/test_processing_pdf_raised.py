"""What a PDF's page shows above or below the line: no digit of the number before it, and in its place on the line."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from servers.cradle.processing.extract.pdf_lines import Glyphs, lines_of
from tests.tables_rig import extracted, texts

Piece = tuple[str, Literal["", "up", "down"]]
TABLE: tuple[tuple[Piece, ...], ...] = (
    (("Artikelnummer", ""),), (("Bezeichnung", ""),), (("Preis EUR", ""),),
    (("A-1", ""),), (("Klemme 10 mm", ""), ("2", "up")), (("12,50", ""), ("1)", "up")),
    (("A-2", ""),), (("Klemme 4 mm", ""), ("2", "up")), (("9,", ""), ("99", "up")),
    (("A-3", ""), ("2)", "up")), (("Ion Ca", ""), ("2+", "up")), (("9", ""), ("99", "up")),
)  # fmt: skip


def pdf_of(*lines: tuple[Piece, ...], columns: int = 1, scale: float = 0.6, rise: float = 0.4) -> bytes:
    """A page with these lines, `columns` of them on one level."""
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=11)
    pdf.sup_scale = pdf.sub_scale = scale
    pdf.sup_lift, pdf.sub_lift = rise, -0.15
    for at, line in enumerate(lines):
        pdf.set_xy(20 + 55 * (at % columns), 20 + 8 * (at // columns))
        for text, how in line:
            pdf.char_vpos = {"": "LINE", "up": "SUP", "down": "SUB"}[how]
            pdf.write(text=text)
    return bytes(pdf.output())


@pytest.mark.parametrize(("scale", "rise"), [(0.58, 0.33), (0.65, 0.35), (0.7, 0.45), (0.83, 0.36)])
def test_exponents_and_indices_stand_in_their_line_as_what_they_are(scale: float, rise: float) -> None:
    line: tuple[Piece, ...] = (
        ("Ein Wert von 10", ""), ("-3", "up"), (" m", ""), ("2", "up"), (", H", ""), ("2", "down"), ("O und x", ""),
        ("1", "down"), ("2", "up"), (" bei 1", ""), ("st", "up"), (" class", ""),
    )  # fmt: skip
    said = "Ein Wert von 10⁻³ m², H2O und x1² bei 1st class"
    below: Piece = ("Der Text geht ohne Absatz weiter.", "")
    assert texts(extracted(pdf_of(line, (below,), scale=scale, rise=rise), "a.pdf"))[0].startswith(said)


def test_a_price_is_the_one_on_the_page_with_a_note_s_number_or_cents_above_the_line() -> None:
    first, second, third = extracted(pdf_of(*TABLE, columns=3), "a.pdf").products
    assert [price.amount for each in (first, second, third) for price in each.prices] == ["12.50", "9.99"]
    assert [(each.article_number, each.names[0].text) for each in (first, third)] == [
        ("A-1", "Klemme 10 mm²"),
        ("A-3", "Ion Ca²⁺"),
    ]
    kept = [[(each.name, each.values[0].text) for each in product.features] for product in (first, second, third)]
    assert kept == [[("Preis EUR", "12,50¹⁾")], [], [("Artikelnummer", "A-3²⁾"), ("Preis EUR", "9⁹⁹")]]


def boxes(text: str, top: float, left: float, size: float) -> list[tuple[str, tuple[float, ...]]]:
    return [(char, (left + 5 * at, top, left + 5 * at + 5, top - size)) for at, char in enumerate(text)]


def read(*placed: list[tuple[str, tuple[float, ...]]]) -> list[list[str]]:
    chars = [each for line in placed for each in line]
    found = lines_of(Glyphs("".join(char for char, _ in chars), np.array([box for _, box in chars])))
    return [[segment.text for segment in each.segments] for each in found]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (boxes("2", 51, 10, 6), [["10²"]]),
        (boxes("2", 47, 10, 6), [["102"]]),  # of a smaller font, on one line in the middle
        (boxes("2", 46, 10, 6), [["102"]]),
        (boxes("2", 44, 10, 6), [["102"]]),  # an index
        (boxes("nur klein", 52, 10, 6), [["10nur klein"]]),
        (boxes("+", 51, 10, 6), [["10⁺"]]),
        (boxes("2", 42, 40, 6), [["10"], ["2"]]),  # a line of its own, behind no character of the one above
    ],
)
def test_what_is_small_is_raised_only_where_it_stands_above(beside: list, said: list[list[str]]) -> None:
    assert read(boxes("10", 50, 0, 10), beside) == said


def test_a_note_s_number_before_its_note_stands_above_the_line_too() -> None:
    assert read(boxes("1)", 51, 0, 6), boxes(" zzgl.", 50, 10, 10)) == [["¹⁾ zzgl."]]


def test_an_index_and_an_exponent_of_one_letter_stand_in_its_line() -> None:
    small = [*boxes("2", 52, 5, 6), *boxes("1", 43, 5, 6)]
    assert read(boxes("x", 50, 0, 10), small, boxes("y", 50, 12, 10)) == [["x²1 y"]]


def test_two_small_lines_beside_a_large_word_stay_two_lines() -> None:
    said = read(boxes("NT24", 60, 0, 24), boxes("fuer innen und", 62, 25, 10), boxes("fuer aussen da", 50, 25, 10))
    assert said == [["NT24 fuer innen und"], ["fuer aussen da"]]


def test_a_sign_behind_an_arrow_is_no_charge() -> None:
    assert read(boxes("a\u2190", 50, 0, 10), boxes("-", 51, 10, 6)) == [["a\u2190-"]]


def test_a_note_s_number_that_begins_the_next_line_stays_there() -> None:
    assert read(boxes("Nebenan, der", 50, 0, 10), boxes("1", 42.5, 25, 6)) == [["Nebenan, der"], ["1"]]
    assert read(boxes("Nebenan, der", 50, 0, 10), boxes("1", 43, 25, 6)) == [["Nebenan, der"], ["1"]]
