"""Lines from characters and their boxes."""

from __future__ import annotations

from servers.cradle.processing.extract.pdf import _paired
from servers.cradle.processing.extract.pdf_layout import Glyphs, lines_of


def line(text: str, top: float, left: float = 0.0, size: float = 10.0) -> list[tuple[str, tuple[float, ...]]]:
    return [(char, (left + 5 * at, top, left + 5 * at + 5, top - size)) for at, char in enumerate(text)]


def lines(*placed: tuple[str, tuple[float, ...]]) -> list[list[str]]:
    glyphs = Glyphs.of([char for char, _ in placed], [box for _, box in placed])  # pyright: ignore[reportArgumentType]
    return [[segment.text for segment in each.segments] for each in lines_of(glyphs)]


def test_characters_are_read_by_their_place_and_not_by_their_order() -> None:
    below, above = line("unten", 50), line("oben", 70)
    assert lines(*below, *reversed(above)) == [["oben"], ["unten"]]


def test_a_gap_is_a_space_and_a_wide_gap_a_new_segment() -> None:
    assert lines(*line("ab", 50), *line("cd", 50, 12.5), *line("ef", 50, 60)) == [["ab cd", "ef"]]


def test_a_drawn_space_separates_words_without_a_gap_and_spaces_alone_are_no_line() -> None:
    space = (" ", (10.0, 50.0, 10.5, 40.0))  # narrower than a gap that is one
    assert lines(*line("ab", 50), *line("cd", 50, 10.5)) == [["abcd"]]
    assert lines(*line("ab", 50), space, *line("cd", 50, 10.5)) == [["ab cd"]]
    assert lines(*line("   ", 20)) == []


def test_raised_characters_stay_in_their_line_and_the_next_line_does_not() -> None:
    assert lines(*line("10", 50), *line("2", 52, 10, 6), *line("nah", 44)) == [["102"], ["nah"]]


def test_two_halves_of_a_character_become_one_and_a_lone_one_a_question_mark() -> None:
    box = (0.0, 1.0, 1.0, 0.0)
    chars, boxes = _paired(["a", "\ud83d", "\udd0c", "\ud83d", "b"], [box] * 5)
    assert (chars, len(boxes)) == (["a", "🔌", "\ufffd", "b"], 4)
