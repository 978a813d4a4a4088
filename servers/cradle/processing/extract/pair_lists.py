"""Lists that say of articles only what they go with: `Artikel; Nachfolger`, `Alte Artikelnummer; Neue Artikelnummer`,
`Gerät; Ersatzteil`. Pure.

In any other list `Artikel` heads names, so it counts beside such a column alone, and where its cells are numbers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

_ONES = (
    "artikel article item produkt product hauptartikel basisartikel grundartikel geraet grundgeraet maschine mainitem "
    "mainarticle mainproduct device machine"
)
_OLD_ONES = (
    "alteartikelnummer alteartikelnr alteartnr altartikelnummer altartikelnr artikelnummeralt artikelnralt artnralt "
    "bisherigeartikelnummer bisherigeartikelnr bisherigerartikel alterartikel oldarticlenumber oldarticle olditem "
    "olditemno olditemnumber oldpartno oldpartnumber vorgaenger vorgaengerartikel predecessor"
)
NEW = (
    "neueartikelnummer neueartikelnr neueartnr neuartikelnummer neuartikelnr artikelnummerneu artikelnrneu artnrneu "
    "neuerartikel newarticlenumber newarticle newitem newitemno newitemnumber newpartno newpartnumber"
)
NUMBERED_PARTS = "ersatzteilnummer ersatzteilnr ersatzteilartikelnummer ersatzteilartikelnr sparepartno sparepartnumber"
NUMBERED_ACCESSORIES = (
    "zubehoernummer zubehoernr zubehoerartikelnummer zubehoerartikelnr zubehoerartnr accessoryno accessorynumber "
    "accessoryarticleno accessoryarticlenumber accessoryitemno"
)
_OF_ONE, _OLD = frozenset(_ONES.split()), frozenset(_OLD_ONES.split())
_NEW, _THEMSELVES = frozenset(NEW.split()), frozenset(f"{NUMBERED_PARTS} {NUMBERED_ACCESSORIES}".split())
RELATED = ("followup", "accessories", "sparepart")
_SAID = re.compile(r"(?:nummer|nr|no|number|artikel|article)$")
_INVENTORY = re.compile(
    r"(?:serial|serien|inventar|inventory|asset|raum|room|host|user|benutzer|kostenstellen?|mac|ip)"
    r"(?:nummer|nr|no|number|name|id|tag|adresse|address)?|sn|standort|location|site|gebaeude|building|etage|floor"
    r"|nutzer|besitzer|owner|abteilung|department|costcent(?:er|re)|inventarisiert"
)
_BETWEEN = re.compile(r"[;|]|,?\s+")
_OF_WHAT_IS_NUMBERED = ("name", "description", "price", "order_unit", "packing")


def paired(words: Sequence[str], roles: Sequence[str | None]) -> list[str | None] | None:
    """The roles of the columns where one is found to head article numbers; None where none is.

    Args:
        words: the columns' names, folded.
        roles: what each of them is by itself, none an article number.
    """
    found = list(roles)
    related = [at for at, role in enumerate(roles) if role in RELATED]
    ones, old = ([at for at, word in enumerate(words) if word in those] for those in (_OF_ONE, _OLD))
    parts = [at for at in related if words[at] in _THEMSELVES]
    if len(old) == 1 and "followup" in roles:
        new = roles.index("followup")
        if "price" in roles and words[new] in _NEW:  # a price list with new numbers is one of these
            found[old[0]], found[new] = "replaces", "article"
            return found
        found[old[0]] = "article"
    elif len(ones) == 1 and related and (not parts or ones[0] < parts[0]):
        if any(map(_INVENTORY.fullmatch, words)):
            return None  # of machines that are there, each by a name of its own
        found[ones[0]] = "article"
    elif len(parts) == 1 and len(ones) < 2:
        found[parts[0]] = "article"
        return [("fits" if at in ones else role) for at, role in enumerate(found)]
    else:
        return None
    return without_others(found)


def says_numbers(words: Sequence[str], roles: Sequence[str | None]) -> bool:
    """Whether a pair list's columns say that they hold article numbers, as `Gerät; Ersatzteil` does not."""
    pairs = [(word, role) for word, role in zip(words, roles, strict=True) if role in ("article", *RELATED)]
    return any(role == "followup" or _SAID.search(word) for word, role in pairs)


def are_articles(cells: Iterable[str], may_name: Callable[[str], bool]) -> bool:
    """Whether all that has a digit in cells of other articles may be an article's number of the list."""
    found = [part for cell in cells for part in _BETWEEN.split(cell) if any(map(str.isdigit, part))]
    return bool(found) and all(map(may_name, found))


def names_behind(words: Sequence[str], roles: Sequence[str | None]) -> tuple[int, int, int] | None:
    """Of a list with article numbers that has names behind the numbers of other articles alone, the columns of all
    three; None for any other list."""
    parts = [at for at, word in enumerate(words) if word in _THEMSELVES]
    if not parts or "name" not in roles or "article" not in roles[: parts[0]] or parts[0] > roles.index("name"):
        return None
    return roles.index("article"), parts[0], roles.index("name")


def names_others(rows: Iterable[tuple[str, str, str]]) -> bool:
    """Whether the names are those of the other articles: most rows are of an article that has several, named apart. An
    article's own name is the same in each of its rows.

    Args:
        rows: an article's number, '' where it is that of the row above, another's, and the name.
    """
    others, count, article = defaultdict[str, list[tuple[str, str]]](list), 0, ""
    for number, other, name in rows:
        article, count = number or article, count + 1
        others[article].append((other, name))
    apart = (
        each for each in others.values() if all(len(set(filter(None, row))) > 1 for row in zip(*each, strict=True))
    )
    return 2 * sum(map(len, apart)) > count


def without_others(roles: Sequence[str | None]) -> list[str | None]:
    """The roles, without those of names and prices that stand behind another article's number: they are of that one."""
    found, other = list[str | None](), False
    for role in roles:
        other = role in RELATED or (other and role != "article")
        found.append(None if other and role in _OF_WHAT_IS_NUMBERED else role)
    return found
