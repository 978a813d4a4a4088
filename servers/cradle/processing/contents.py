"""Pages of contents: lines of a title, a leader (dots or a tab) and a page number. They name everything and say
nothing, so a passage of them is marked, for the search to prefer the pages that it points to. Pure.
"""

from __future__ import annotations

import re
from itertools import pairwise

ENTRIES = 4
COVERED = 0.6
RISING = 0.8
_DOTS = re.compile(r"\s*(?:[.·_]\s?){5,}")
_LEADER = r"(?:(?:[.·_]\s?){4,}|…|\t)[\s|]*"
_LEADERS = re.compile(_LEADER)
_ENTRY = re.compile(rf"[^\n]{{2,200}}?{_LEADER}(?P<page>\d{{1,4}})(?![\d.,]*\d|\w)")


def without_leaders(text: str) -> str:
    """The text with each run of dots between a title and its page as `…`: dots would fill passages and mean nothing."""
    return _DOTS.sub(" … ", text).strip() if "...." in text or ". . ." in text or "____" in text else text


def is_contents(text: str, *, continued: bool = False) -> bool:
    """Whether a passage is of a table of contents: mostly entries whose page numbers do not fall.

    That they rise tells it from a data sheet with leaders (`Spannung … 24`). `continued`: the passage before is one, so
    that a remainder of few entries is one too.
    """
    least = 1 if continued else ENTRIES
    dots = sum(map(text.count, ".·_"))
    if dots // 4 + text.count("…") + text.count("\t") < least:
        return False
    if sum(1 for _ in _LEADERS.finditer(text)) < least:
        return False  # nearly every passage: looking for entries takes thousands of times as long
    entries = list(_ENTRY.finditer(text))
    if len(entries) < least:
        return False
    if sum(len(entry.group()) for entry in entries) < COVERED * len(text):
        return False
    pages = [int(entry.group("page")) for entry in entries]
    pairs = list(pairwise(pages))
    rising = sum(before <= after for before, after in pairs)
    return not pairs or (rising >= RISING * len(pairs) and (continued or pages[-1] > pages[0]))
