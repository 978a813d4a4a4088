"""What looks like the name of an article in a question."""

from __future__ import annotations

import pytest

from shared.dataset.words import names_an_article


@pytest.mark.parametrize(
    "text", ["ZX-9000", "Was kostet die RK-99-GR?", "5SY4 116-7", "4012345000017", "(IP69)", "NT-24-10."]
)
def test_article_numbers_types_and_gtins_name_an_article(text: str) -> None:
    assert names_an_article(text)


@pytest.mark.parametrize(
    "text",
    ["", "HL 240 50", "500mm Kabel", "20000 lm", "gültig am 1.7.2026", "im Jahr 2026", "12.500,00 €", "Reihenklemme"],
)
def test_measures_dates_and_years_name_none(text: str) -> None:
    assert not names_an_article(text)
