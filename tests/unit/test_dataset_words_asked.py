"""Which words of a question are numbers, dates, quantities or what it asks for, and whether a passage holds them."""

from __future__ import annotations

import pytest

from shared.dataset.words import named, stands, telling, whole, written_together


@pytest.mark.parametrize(
    "text",
    [
        "Was kostet sie am 15.08.2026?", "gültig ab 01.07.2026", "price on 2026-08-01", "1. 12. 2026",
        "Preis für 250 Stück", "KP 2000 Stück", "500 pcs",
    ],
)  # fmt: skip
def test_a_day_and_a_quantity_name_no_article(text: str) -> None:
    assert not named(text)


@pytest.mark.parametrize("text", ["15.08.2026-GR", "45.08.2026", "2026-08-01-A", "KP 2000"])
def test_what_only_looks_like_a_day_names_an_article(text: str) -> None:
    assert named(text)


def test_a_short_name_between_two_numbers_may_end_the_first_one() -> None:
    assert "rk1204ps" in named("Preis RK 12-04 PS 250")["PS 250"].split()


def test_a_name_and_its_number_stand_in_a_text_with_signs_between() -> None:
    assert stands("AWG 22", "Leiterquerschnitt AWG: 22")
    assert stands("RK 4 GR", "Klemme RK-4-GR, grau")
    assert not stands("RK 4", "Klemme RK-4-GR, grau")
    assert not stands("AWG 22", "AWG: 220")
    assert not stands("AWG 22", "AWG: 20, 22 Stück")


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Haben Sie Laserscanner mit PROFINET?", ["Laserscanner", "PROFINET"]),
        ("MTTFd RK-4-GR", ["MTTFd"]),
        ("PROFINET für Sensoren", ["PROFINET", "Sensoren"]),
        ("Nenne Sensoren mit 24 V", ["Sensoren"]),
        ("neue Produkte 2026", ["Produkte"]),
        ("garantiezeit sensor", ["garantiezeit", "sensor"]),
        ("which products have no silicone?", []),
        ("Breite des Relais in mm", ["Relais"]),
        ("4711", []),
        ("Preis für 250 Stück", []),
    ],
)
def test_names_and_nouns_tell_what_a_question_asks_for(question: str, found: list[str]) -> None:
    assert telling(question) == found


@pytest.mark.parametrize(
    ("question", "asked", "code"),
    [
        ("KP 120-4 PX", "KP 120-4 PX", "kp1204px"),
        ("Artikelnummer IS 12-04 PS?", "IS 12-04 PS", "is1204ps"),
        ("KP-120", "", ""),
        ("Preis KP 120-4 PX", "", ""),
        ("ab 10", "", ""),
        ("M 8", "M 8", ""),
    ],
)
def test_a_question_that_is_one_number_of_several_words_is_told_whole(question: str, asked: str, code: str) -> None:
    assert (whole(question), written_together(asked)) == (asked, code)
