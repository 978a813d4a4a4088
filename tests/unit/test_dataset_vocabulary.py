"""Which of a dataset's words are like a question's, and which rows satisfy filters."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shared.dataset.filters import FILTERED, Filters
from shared.dataset.vocabulary import MOST, Vocabulary, vocabulary_file

WORDS = {"reihenklemme", "klemmenkasten", "klemmen", "drehmoment", "schutzschalter", "breite", "kabel", "gehaeuse"}
ROWS = pa.table(
    {
        "language": ["de", "de", "en", "en", "mul"],
        "kind": ["text", "product", "text", "product", "list"],
        "document_id": ["d1", "d2", "d2", "d3", "d4"],
        "path": ["a.pdf", "b.pdf", "b.pdf", "d1", "c.xml"],
        "page": [1, 2, 2, 3, 1],
    }
)


def known(words: set[str] = WORDS) -> Vocabulary:
    return Vocabulary(vocabulary_file(words))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (
            "klemme",
            ["klemmen", "reihenklemme", "klemmenkasten"],
        ),  # itself, then what it is a part of, the shortest first
        ("reihenklemmenbreite", ["reihenklemme", "klemmen", "breite"]),  # its parts
        ("schutzshalter", ["schutzschalter"]),  # misspelt
        ("drehmomentschluessel", ["drehmoment"]),
        ("kabel", ["kabel"]),
        ("widerstand", []),
    ],
)
def test_a_word_finds_its_parts_its_compounds_and_itself(asked: str, found: list[str]) -> None:
    assert set(known().like(asked)) == set(found)


def test_the_most_similar_come_first() -> None:
    assert known().like("klemmen")[:2] == ["klemmen", "klemmenkasten"]


def test_a_word_that_repeats_its_letters_counts_them_once() -> None:
    assert known({"klemmklemm", "klemmstein"}).like("klemmsteine")[0] == "klemmstein"


def test_a_question_keeps_its_own_words_and_leaves_out_those_without_content() -> None:
    assert known().meant("Welche Breite werden Klemmen haben, ungefragt?").split() == [
        *("breite", "klemmen", "ungefragt"),
        *("klemmenkasten", "reihenklemme"),
    ]


@pytest.mark.parametrize(
    ("question", "put"),
    [
        ("Reihen Klemme 4 mm²", "reihenklemme 4 mm2"),
        ("Breite der Reihen-Klemmen", "breite der reihenklemmen"),
        ("Schutz Schalter", "schutzschalter"),
        ("Schutzschalter", "schutzschalter"),
        ("Klemme Kasten", "klemmenkasten"),
        ("Dreh Moment und Schutz - Schalter", "drehmoment und schutzschalter"),
        ("Kabel Breite", "kabel breite"),
        ("RK 4 GR", "rk 4 gr"),
    ],
)
def test_a_compound_that_is_written_apart_is_put_as_the_passages_write_it(question: str, put: str) -> None:
    assert known().together(question) == put


def test_one_word_stands_for_so_many_at_most() -> None:
    many = {f"klemme{first}{second}" for first in "abcdefghij" for second in "abcdefghij"}
    assert len(known(many).like("klemme")) == MOST


@pytest.mark.requirement("O-03")
def test_the_same_words_give_the_same_bytes_in_any_order() -> None:
    assert vocabulary_file(sorted(WORDS, reverse=True)) == vocabulary_file(sorted(WORDS))


def test_without_words_nothing_is_like_any() -> None:
    assert known(set()).like("klemme") == []
    assert known(set()).meant("Klemme") == "klemme"


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (Filters(), [0, 1, 2, 3, 4]),
        (Filters(language="de"), [0, 1, 4]),  # what is in several languages is in each
        (Filters(language="en"), [2, 3, 4]),
        (Filters(language="en", kind="product"), [3]),
        (Filters(page=2), [1, 2]),
        (Filters(document="d1"), [0, 3]),  # an id or a path
        (Filters(document="b.pdf", language="de"), [1]),
        (Filters(kind="' OR 1 = 1 --"), []),
    ],
)
def test_a_mask_holds_the_rows_that_satisfy_the_filters(filters: Filters, rows: list[int]) -> None:
    assert tuple(ROWS.column_names) == FILTERED
    assert np.flatnonzero(filters.mask(ROWS)).tolist() == rows
