"""Tables of a PDF whose short cells stand in the middle of their neighbour's lines, as DocBook and Word print them."""

from __future__ import annotations

from random import Random

from servers.cradle.vision.layout import text
from servers.cradle.vision.lines import Piece
from tests.unit.test_processing_pdf_layout import extracted, page_of, shown

PLACES = (40, 160, 300)
PITCH, HALF = 12, 6


def table(*rows: tuple[str, ...], column: int = -1) -> tuple[tuple[str, ...], ...]:
    """What is read of these rows on a page: the lines of one column (` / ` parts them) around its row's middle."""
    ops, y = [], 780.0
    for row in rows:
        lines = row[column].split(" / ")
        for x, cell in zip(PLACES, row, strict=False):
            if cell and cell != row[column]:
                ops.append(shown(cell, x, round(y - HALF * (len(lines) - 1))))
        place = PLACES[:3][column if column >= 0 else len(row) - 1]
        ops += [shown(line, place, round(y - PITCH * at)) for at, line in enumerate(lines) if line]
        y -= PITCH * len(lines)
    (block,) = extracted(page_of(ops)).blocks
    assert block.kind == "table"
    return block.rows


def test_a_name_in_the_middle_of_two_lines_begins_its_own_row() -> None:
    rows = [
        ("Gruppe", "Bedeutung"),
        ("adm", "Protokolle des Systems"),
        ("staff", "einige Verzeichnisse / des Hauses"),
        ("audio", "Ton"),
        ("lpadmin", "Befehle fuer Drucker, / um sie zu entfernen"),
    ]
    assert table(*rows) == tuple((name, said.replace(" / ", " ")) for name, said in rows)


def test_as_many_lines_are_below_the_middle_as_above_it() -> None:
    rows = [
        ("Datei", "Aktion", "Antwort"),
        ("null", "lesen", "ein Ende"),
        ("zero", "lesen", "eine Null, / nicht die Ziffer"),
        ("random", "lesen", "Zufall aus / einem Generator, / langsam"),
        ("urandom", "lesen", "Zufall wie / gerechnet"),
        ("full", "schreiben", "ein Fehler"),
    ]
    assert table(*rows) == tuple((*row[:2], row[2].replace(" / ", " ")) for row in rows)


def test_a_row_without_a_name_in_the_middle_of_two_lines_is_one_too() -> None:
    rows = [
        ("BRE", "ERE", "Bedeutung"),
        ("x", "y", "Zeichen"),
        ("a", "", "nur bei BRE / ein Zeichen"),
        ("", "b", "nur bei ERE / ein Zeichen"),
        ("c", "c", "ein anderes"),
    ]
    assert table(*rows) == tuple((*row[:2], row[2].replace(" / ", " ")) for row in rows)


def test_a_line_between_paragraphs_further_right_at_its_usual_distance_is_none_of_their_table() -> None:
    ops = [shown(text, x, y) for text, x, y in (
        ("Name", 40, 780), ("Wert", 160, 780), ("Kern", 40, 768), ("Eisen", 160, 768), ("geblecht", 160, 756),
        ("Ein Satz, der fuer sich steht.", 40, 744), ("weiter rechts", 160, 720),
    )]  # fmt: skip
    assert [block.kind for block in extracted(page_of(ops)).blocks][:2] == ["table", "paragraph"]


def test_lines_that_stand_around_no_name_are_read_too() -> None:
    rows = [("Gruppe", "Bedeutung"), ("staff", "einige Verzeichnisse / des Hauses"), ("", "Rest eins / Rest zwei")]
    assert " ".join(cell for row in table(*rows) for cell in row if cell) == (
        "Gruppe Bedeutung staff einige Verzeichnisse des Hauses Rest eins Rest zwei"
    )


def test_boxes_that_overlap_as_a_recognisers_may_lose_no_line() -> None:
    def piece(said: str, x: float, y: float, width: float, height: float) -> Piece:
        return Piece(said, 0.9, ((x, y), (x + width, y), (x + width, y + height), (x, y + height)))

    draw = Random(30)  # noqa: S311
    for _ in range(300):
        page = [
            piece(f"w{at}", draw.uniform(0, 1500), draw.uniform(0, 900), draw.uniform(1, 400), draw.uniform(1, 60))
            for at in range(draw.randrange(20))
        ]
        assert sorted(text(page).replace("|", " ").split()) == sorted(each.text for each in page)
