"""German or English, told by the words that each is full of."""

from __future__ import annotations

import pytest

from servers.cradle.processing.language import guess


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Klemme ist für 10 A ausgelegt.", "de"),
        ("The terminal is rated for 10 A.", "en"),
        ("A Klemme", "en"),
        ("(A) Klemme", "en"),
        ("Klemme 10 A", ""),
        ("Klemme 10A, 16\u00a0A; 20 A", ""),
        ("x10 Aber", ""),
        ("Gehäuse", "de"),
        ("Ωder日und", "de"),
        ("BREITE width FÜR", "de"),
        ("4711 50 mm", ""),
        (" " * 4000 + "der die das", ""),
    ],
)
def test_a_text_is_of_the_language_whose_small_words_it_has_more_of_and_an_ampere_is_no_article(
    text: str, language: str
) -> None:
    assert guess(text) == language
    assert guess(text, "fr") == (language or "fr")
