"""How words are made comparable for search: umlauts, compounds, article numbers. Pure."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_WORD = re.compile(r"[a-z]{5,40}")
_CODE = re.compile(r"[a-z0-9]+(?:[./_-]+[a-z0-9]+)*")
_SEPARATORS = re.compile(r"[./_-]+")
_DIGIT = re.compile(r"[0-9]")
_NAMED = re.compile(r"[a-z].*[0-9]|[0-9]{8}")
MIN_CODE, MAX_CODE = 4, 40
STEM = 7
"""Letters that two forms of a German word share in most cases (`Klemme`, `Klemmen`; `Drehmoment`, `Drehmomente`)."""
_STOP_WORDS = (
    "aber als am an auch auf aus bei bis bzw das dass dem den der des die dies diese dieser dieses ein eine "
    "einem einen einer eines er es fuer gibt gilt hat haben ich ihr im in ist kann man mit nach nicht noch nur "
    "ob oder sie sind so ueber um und unter vom von vor wann war warum was welche welchem welchen welcher "
    "welches wem wen wenn wer werden wie wieviel wir wird wo wurde zu zum zur a an and are as at be by can do "
    "does for from has have how in is it its of on or than that the their then there these they this to was "
    "were what when where which who why will with"
)
_STOP = frozenset(_STOP_WORDS.split())
_TOKEN = re.compile(r"[a-z0-9]+")


def folded(text: str) -> str:
    """Lower case without umlauts and accents: `Gehäuse` and `Gehaeuse` become the same."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).lower().translate(_GERMAN)
    if plain.isascii():
        return plain
    return "".join(each for each in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(each))


def long_words(text: str) -> str:
    """The text's different words of five letters and more: what compounds are looked up in, by their parts."""
    return " ".join(dict.fromkeys(_WORD.findall(folded(text))))


def codes(text: str) -> str:
    """What looks like an article number, GTIN or type, without separators; `5SY4 116-7` also joined."""
    found = [_SEPARATORS.sub("", token) if _numbered(token) else "" for token in _CODE.findall(folded(text))]
    pairs = [left + right for left, right in pairwise(found) if left and right]
    return " ".join(dict.fromkeys(each for each in (*found, *pairs) if MIN_CODE <= len(each) <= MAX_CODE))


def names_an_article(text: str) -> bool:
    """Whether the text holds an article number, a type or a GTIN: a code that is no measure (`500mm`), date or year."""
    return any(_NAMED.search(code) for token in text.split() for code in codes(token).split())


def content_words(text: str) -> frozenset[str]:
    """The words of a question that carry its content, cut to their stems; numbers whole."""
    found = (token for token in _TOKEN.findall(folded(text)) if token not in _STOP)
    return frozenset(token if token.isdigit() else token[:STEM] for token in found)


def coverage(wanted: frozenset[str], text: str) -> float:
    """The share of the wanted words that the text holds, 0 to 1: at the start of a word, or inside a long one."""
    if not wanted:
        return 0.0
    plain = folded(text)
    tokens = _TOKEN.findall(plain)
    stems = {token if token.isdigit() else token[:STEM] for token in tokens}
    return sum(word in stems or (len(word) >= STEM and word in plain) for word in wanted) / len(wanted)


def _numbered(token: str) -> bool:
    return _DIGIT.search(token) is not None
