"""Hebrew and Arabic of a page: from the order in which they stand, from left to right, to that in which they are read.

The way back from Unicode's bidirectional algorithm (UAX 9), which is not one to one: what is Latin or a number beside
one another stays together. Pure.
"""

from __future__ import annotations

import re
import unicodedata

_RIGHT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_LETTER = re.compile(f"[{_RIGHT}]")
_LATIN = re.compile("[A-Za-z\xc0-\u024f]")
_LEFT_RUN = re.compile(rf"([^\W_{_RIGHT}](?:[^{_RIGHT}()\[\]]*[^\W_{_RIGHT}])?[%°€$]?)")
_RIGHT_RUN = re.compile(rf"([{_RIGHT}](?:[^\w\n]*[{_RIGHT}])*)([^\w\n]*)")
_MIRRORED = str.maketrans("()[]{}", ")(][}{")


def stands(text: str) -> bool:
    """Whether any of the text is read from right to left."""
    return _LETTER.search(text) is not None


def leads(text: str) -> bool:
    """Whether most of the letters are read from right to left, so that the line is."""
    return len(_LETTER.findall(text)) > len(_LATIN.findall(text))


def logical(text: str) -> str:
    """The text of a line, or of a part of it, as it is read."""
    if not stands(text):
        return text
    if not leads(text):
        # pdfium gives the brackets behind such a word as if they were read from right to left, too
        return _RIGHT_RUN.sub(lambda run: _reversed(run[1]) + run[2].translate(_MIRRORED), text)
    parts = _LEFT_RUN.split(text)  # every second one is a run from left to right
    return "".join(part if at % 2 else _reversed(part) for at, part in reversed(list(enumerate(parts))))


def _reversed(text: str) -> str:
    """The characters from the last to the first, each with the marks on it."""
    clusters: list[str] = []
    for char in text:
        if clusters and unicodedata.combining(char):
            clusters[-1] += char
        else:
            clusters.append(char)
    return "".join(reversed(clusters))
