"""Characters that a person does not see, or that change the order of what is seen, while a model or an engine reads
them: what somebody has to judge is shown with them, and what a stranger writes for everybody is kept without them."""

from __future__ import annotations

import re
import unicodedata

SPOKEN = frozenset({"\n", "\t"})
CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_EMPTY = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Marks and letters that are drawn as nothing (Default_Ignorable_Code_Point of Unicode, and the empty braille cell)."""


def with_unseen_shown(text: str) -> str:
    """A text in which each character that a reader would not see, or would see elsewhere, stands as its number."""
    return "".join(f"⟨U+{ord(each):04X}⟩" if _unseen(each) else each for each in text)


def without_unseen(text: str) -> str:
    """A text without the characters that a reader would not see."""
    return "".join(each for each in text if not _unseen(each))


def _unseen(char: str) -> bool:
    if char < "\x7f":
        return char < " " and char not in SPOKEN
    return unicodedata.category(char) in CATEGORIES or _EMPTY.match(char) is not None
