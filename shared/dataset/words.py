"""How words are made comparable for search: umlauts, compounds, article numbers. Pure."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_WORD = re.compile(r"[a-z]{5,40}")
_CODE = re.compile(r"[a-z0-9]+(?:[./_-]+[a-z0-9]+)*")
_SEPARATORS = re.compile(r"[./_-]+")
MIN_CODE, MAX_CODE = 4, 40


def folded(text: str) -> str:
    """Lower case without umlauts and accents: `Gehäuse` and `Gehaeuse` become the same."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_GERMAN)
    if plain.isascii():
        return plain
    return "".join(each for each in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(each))


def long_words(text: str) -> str:
    """The text's different words of five letters and more: what compounds are looked up in, by their parts."""
    return " ".join(dict.fromkeys(_WORD.findall(folded(text))))


def codes(text: str) -> str:
    """What looks like an article number, GTIN or type, without separators; `5SY4 116-7` also joined."""
    tokens = [_SEPARATORS.sub("", token) for token in _CODE.findall(folded(text))]
    pairs = [left + right for left, right in pairwise(tokens) if _numbered(left) and _numbered(right)]
    return " ".join(
        dict.fromkeys(each for each in (*tokens, *pairs) if _numbered(each) and MIN_CODE <= len(each) <= MAX_CODE)
    )


def _numbered(token: str) -> bool:
    return any(each.isdigit() for each in token)
