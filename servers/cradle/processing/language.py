"""German or English, by the words that every text of the language is full of. Deterministic, without a model."""

from __future__ import annotations

import re
from itertools import repeat

_LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß_".encode("latin-1")  # COUNTRY_OF_ORIGIN is one word, and none of English
_WORDS_ONLY = bytes(byte if byte in _LETTERS else 0x20 for byte in range(256))
_NO_ARTICLE = re.compile(r"A\b(?:(?<=\dA)|(?<=\d\sA)|(?<=[\w,;:|] A)|(?<=-A)|(?=-))")  # `10 A`, `Typ A`, `A-100`
_NUMBERED = re.compile(r"\S*\d\S*(?:\s[A-Z]\b)?")  # an article number such as `AN-24` and `10 A` are of no language
_GERMAN = (
    "der die das und ist nicht mit ein eine einer eines einem einen den dem des für von zu zum zur auf im am aus bei "
    "nach über unter durch wird werden wurde sind sich auch oder als wie bis vor ohne nur kann können muss müssen "
    "darf dürfen haben hat sein ihre ihr wir sie es bitte siehe je pro kein keine artikelnummer hersteller "
    "bezeichnung menge stück preis bestellnummer seite technische daten schutzart farbe breite höhe länge gewicht "
)
_ENGLISH = (  # without words of both languages, such as `in`, `an`, `was`, `will`, `also`, `per`
    "the and of is not with a for from to on at by be are were this that these those which it its or as can "
    "may must should have has had we you your our please see no only into than then when where article "
    "number manufacturer description quantity price page technical data color colour width height length weight "
)


_SAYS = dict.fromkeys(_GERMAN.encode("latin-1").split(), 1) | dict.fromkeys(_ENGLISH.encode("latin-1").split(), -1)


def guess(text: str, default: str = "") -> str:
    """`de`, `en`, or `default` where the text's first 4,000 characters do not tell."""
    text = text[:4000]
    words = _NO_ARTICLE.sub(" ", text).lower().encode("latin-1", "replace").translate(_WORDS_ONLY).split()
    german = sum(map(_SAYS.get, words, repeat(0)))
    if german == 0:
        umlauts = sum(text.count(sign) for sign in "äöüÄÖÜß")
        return "de" if umlauts else default
    return "de" if german > 0 else "en"


def guess_of_names(text: str, default: str = "") -> str:
    """The language of articles' names, as `guess`, without the numbers in them."""
    return guess(_NUMBERED.sub(" ", text[:4000]), default)
