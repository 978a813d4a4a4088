"""Hebrew and Arabic on pages, whose letters stand from right to left."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.right_to_left import logical
from tests.unit.test_processing_pdf_layout import page_of, shown, texts

LETTERS = "שלוםמחירעברית"
MAP = "".join(f"<{0x61 + at:02X}><{ord(letter):04X}>" for at, letter in enumerate(LETTERS)).encode()
NAMES = b"begincmap 1 begincodespacerange <00> <FF> endcodespacerange %d beginbfchar %s endbfchar endcmap" % (
    len(LETTERS),
    MAP,
)


def drawn(*lines: str) -> list[str]:
    """What is read of lines as they are seen, from left to right, in a font whose small letters are Hebrew."""
    codes = {letter: chr(0x61 + at) for at, letter in enumerate(LETTERS)}
    shows = [
        shown(
            "".join(codes.get(sign, sign) for sign in line).replace("(", r"\(").replace(")", r"\)"), 60, 700 - 12 * at
        )
        for at, line in enumerate(lines)
    ]
    return texts(page_of(shows, names=NAMES))


def seen(word: str) -> str:
    return "".join(reversed(word))


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (f"{seen('מחיר')} {seen('שלום')}", "שלום מחיר"),
        (f"12.50 {seen('מחיר')} {seen('שלום')}", "שלום מחיר 12.50"),
        (f"{seen('מחיר')} NT-24 {seen('שלום')}", "שלום NT-24 מחיר"),
        (f".({seen('מחיר')}) {seen('שלום')}", "שלום (מחיר)."),
        (f"PRICE NETTO ({seen('מחיר')}) EUR", "PRICE NETTO (מחיר) EUR"),
    ],
)
def test_a_line_is_read_as_it_was_written(line: str, read: str) -> None:
    assert drawn(line) == [read]


def test_lines_of_a_paragraph_go_on_and_parts_of_a_line_stand_from_the_right() -> None:
    assert drawn(seen("שלום מחיר"), seen("עברית")) == ["שלום מחיר עברית"]
    (line,) = texts(page_of([shown("hgfe", 60, 700), shown("dcba", 300, 700)], names=NAMES))
    assert line == "שלום מחיר"


def test_marks_stay_on_their_letters_and_other_text_as_it_is() -> None:
    assert logical("\u05dd\u05d5\u05b9\u05dc\u05c1") == "\u05dc\u05c1\u05d5\u05b9\u05dd"
    assert logical("50% ريحم") == "محير 50%"
    assert logical("Preis (netto) 12,50") == "Preis (netto) 12,50"


def test_a_table_and_columns_of_prose_begin_on_the_right() -> None:
    def row(y: int, *cells: str) -> list[str]:
        return [shown(cell, x, y) for x, cell in zip((60, 200, 340), cells, strict=True)]

    shows = [*row(700, "cba", "hgfe", "dcba"), *row(688, "12.50", "hgfe", "1"), *row(676, "13.50", "ed", "2")]
    assert texts(page_of(shows, names=NAMES)) == ["שלום | מחיר | שלו\n1 | מחיר | 12.50\n2 | םמ | 13.50"]
    left, right = "hgfe dcba " * 5, "dcba " * 10
    prose = [shown(side, x, 700 - 12 * at) for at in range(3) for x, side in ((30, left), (320, right))]
    assert [text.split()[1] for text in texts(page_of(prose, names=NAMES))] == ["שלום", "מחיר"]
