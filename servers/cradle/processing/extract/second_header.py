"""The second row of a table's header, where no merged cells tell of it: names below a group's, or units. Pure.

Artikel-Nr. | Abmessungen |        | Gewicht      Artikel-Nr. | Länge | Gewicht
            | Länge       | Breite |                          | mm    | kg
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from servers.cradle.processing.extract.column_names import role_of, split_unit
from servers.cradle.processing.extract.columns import Figure, Row, shown

_UNIT = re.compile(
    r"[\[(]?([mcdk]?m[²³23]?|[µn]m|[kmµ]?[gAVW]|t|k?VA|[kMG]?Hz|m?l|k?Nm?|m?bar|k?Wh|lm|m?s|min|°C|K|%|k?Ω|Stück|Stk\.?|St\.?|pcs\.?"
    r"|EUR|€|CHF|USD|GBP)[\])]?"
)
_LABEL = re.compile(  # Länge außen, Breite B1, Höhe in mm: a remark has more words
    r"(?=.{1,30}$)(?:[^\W\d_]{2,}[-.]?|Ø)(?:[ /-](?:[^\W\d_]+\.?|[A-Z]\d))?(?: in [^\W\d_]{1,3}[²³]?)?"
)
_OF_NAMES = re.compile(  # what is named twice: any other words below are a name themselves
    r"deutsch|englisch|französisch|italienisch|spanisch|niederländisch|polnisch|german|english|french|italian|spanish"
    r"|dutch|polish|de|en|fr|it|es|nl|pl|kurz(?:text|form)?|lang(?:text|form)?|short|long",
    re.IGNORECASE,
)
_BOUND = re.compile(r"(?:ab|from|je|pro|per|bis|seit|until)\s.*")  # ab 10 Stk, bis 30.06.2026
_NAMING = ("name", "description", "type_name")


def with_second(header: Row, below: Row, rows: Sequence[Row], numbers: Sequence[int]) -> Row | None:
    """The header with what the row below it adds to its names; None where that is no part of it.

    Args:
        rows: what follows; a text that comes again in its column there is none of a header.
        numbers: the columns of article numbers and GTINs, whose cells a second row leaves empty.
    """
    added = {at: shown(cell) for at, cell in enumerate(below) if cell}
    if not added or any(at in added for at in numbers) or any(isinstance(below[at], Figure) for at in added):
        return None
    names = [shown(header[at]) if at < len(header) else "" for at in range(max(len(header), max(added) + 1))]
    if all(names[at] and _UNIT.fullmatch(cell) for at, cell in added.items()):
        return tuple(_measured(name, added.get(at, "")) for at, name in enumerate(names))
    groups = _groups(names)
    once = len({(groups[at], cell) for at, cell in added.items()}) == len(added) > 1
    once = once and not any(at < len(row) and row[at] == below[at] for row in rows for at in added)
    if not once or not all(_names_part(groups[at], cell) for at, cell in added.items()):
        return None
    return tuple(_part(groups[at], name, added[at]) if at in added else name for at, name in enumerate(names))


def _names_part(group: str, cell: str) -> bool:
    """Whether a cell names what stands below a group's name."""
    role = role_of(group) if group else None
    if role == "price" and _BOUND.fullmatch(cell):
        return role_of(f"{group} {cell}") == role
    text = split_unit(cell)[0]
    label = _OF_NAMES.fullmatch(text) if role in _NAMING else _LABEL.fullmatch(text)
    return bool(group and label) and not _UNIT.fullmatch(cell)


def _part(group: str, name: str, cell: str) -> str:
    """The whole name of a column; a name that has a role by itself keeps it for the first one below it, but for prices:
    `Preis alt` is not the price."""
    whole, role = f"{group} {cell}", role_of(group)
    bare, unit = split_unit(group)
    if unit and not role and not split_unit(cell)[1]:
        return f"{bare} {cell} [{unit}]"
    return name if name and role not in (None, "price") and role_of(whole) != role else whole


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
