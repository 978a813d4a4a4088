"""The second row of a table's header, where no merged cells tell of it: names below a group's, or units. Pure.

Artikel-Nr. | Abmessungen |        | Gewicht      Artikel-Nr. | Länge | Gewicht
            | Länge       | Breite |                          | mm    | kg
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from servers.cradle.processing.extract.columns import Figure, Row, shown

_UNIT = re.compile(
    r"[\[(]?([mcdk]?m[²³23]?|[µn]m|[kmµ]?[gAVW]|t|k?VA|[kMG]?Hz|m?l|k?Nm?|m?bar|k?Wh|lm|m?s|min|°C|K|%|k?Ω|Stück|Stk\.?|St\.?|pcs\.?"
    r"|EUR|€|CHF|USD|GBP)[\])]?"
)
_WORDS = re.compile(r"[^\W\d_]{2,}|Ø")


def with_second(header: Row, below: Row, numbers: Sequence[int]) -> Row | None:
    """The header with what the row below it adds to its names; None where that is no part of it.

    Args:
        numbers: the columns of article numbers and GTINs, whose cells a second row leaves empty.
    """
    added = {at: shown(cell) for at, cell in enumerate(below) if cell}
    if not added or any(at in added for at in numbers) or any(isinstance(below[at], Figure) for at in added):
        return None
    names = [shown(header[at]) if at < len(header) else "" for at in range(max(len(header), max(added) + 1))]
    if all(names[at] and _UNIT.fullmatch(cell) for at, cell in added.items()):
        return tuple(_measured(name, added.get(at, "")) for at, name in enumerate(names))
    groups = _groups(names)
    parts = all(groups[at] and _WORDS.search(cell) and not _UNIT.fullmatch(cell) for at, cell in added.items())
    if not parts or not any(not names[at] for at in added):
        return None
    return tuple(f"{groups[at]} {added[at]}" if at in added else name for at, name in enumerate(names))


def _measured(name: str, unit: str) -> str:
    found = _UNIT.fullmatch(unit)
    return f"{name} [{found[1].rstrip('.')}]" if found else name


def _groups(names: Sequence[str]) -> list[str]:
    """Of each column the name that stands over it and further ones, '' where its own stands over it alone."""
    found: list[str] = []
    for at, name in enumerate(names):
        over_more = name and at + 1 < len(names) and not names[at + 1]
        found.append(name if over_more else "" if name else found[-1] if found else "")
    return found
