"""German or English, told by the words that each is full of."""

from __future__ import annotations

import pytest

from servers.cradle.processing.language import guess
from servers.cradle.processing.product_text import language_of
from tests.tables_rig import listed


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
        ("Nr | Nachfolger\nA-100 | B-100\nA-200 | NT-24-A", ""),
        ("Klemme Typ A\nBaugruppe A, Kategorie A", ""),
        ("Form: A; A | B", ""),
        ("A terminal of type A", "en"),
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


@pytest.mark.parametrize(
    ("header", "names", "languages"),
    [
        ("Item no.;Description;Price per 100", ("Power supply 24 V DC, 5 A", "Terminal, grey"), ["en", "en"]),
        ("Artikelnummer;Bezeichnung;Preis", ("Reihenklemme 4", "Netzteil"), ["de", "de"]),
        ("SKU;Name;Price", ("Reihenklemme", "Gehäuse"), ["de", "de"]),
        ("SKU;Name;Price", ("Reihenklemme grau", "Netzteil mit Kabel"), ["de", "de"]),
        ("Artikelnummer;Bezeichnung;Preis", ("Relay with socket", "Sensor"), ["en", "en"]),
        ("SKU;Name;EAN", ("Sensor", "Motor"), ["de", "de"]),
    ],
)
def test_an_article_is_named_in_the_language_of_its_lists_names_or_header(
    header: str, names: tuple[str, str], languages: list[str]
) -> None:
    found = listed(header, *(f"A-{at};{name};12,50" for at, name in enumerate(names)))
    assert [language_of(product) for product in found.products] == languages
