"""What stands above the line (`encoding.raised`) behind a price or an article number: cents, or the number of a note.

Pure.
"""

from __future__ import annotations

import re

_UP = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_ANY = re.compile(f"[{_UP}]")
_ONE = rf"⁽?[{_UP}]{{1,2}}⁾"
_MORE = rf"(?:[,;]?\s?(?:[{_UP}]{{1,2}}|{_ONE}))*$"
_NOTES = re.compile(rf"(?:(?<=\d)\s?[{_UP}]{{1,2}}|\s?{_ONE}){_MORE}")
_CENTS = re.compile(rf"(?<=\d[.,])[{_UP}]{{2}}(?![{_UP}⁾])")
_CENTS_OR_NOTE = re.compile(rf"(?<![\d.,])\d+[{_UP}]{{2}}(?![{_UP}⁾])")
_DOWN = str.maketrans(_UP, "0123456789")


def without_notes(text: str) -> str:
    """The text without the numbers of notes at its end: one behind a digit, or with a bracket. mm² has none."""
    return _NOTES.sub("", text) if _ANY.search(text) else text


def with_cents(amount: str) -> str | None:
    """The amount on one line and without notes: 9,⁹⁹ is 9,99 and 12,50¹⁾ is 12,50. None for 9⁹⁹: cents or a note's
    number."""
    if not _ANY.search(amount):
        return amount
    if _CENTS_OR_NOTE.search(amount):
        return None
    return without_notes(_CENTS.sub(lambda cents: cents[0].translate(_DOWN), amount))
