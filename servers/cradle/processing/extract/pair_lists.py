"""Lists that say of articles only what they go with: `Artikel; Nachfolger`, `Alte Artikelnummer; Neue Artikelnummer`,
`Gerät; Ersatzteil`. Pure.

In any other list `Artikel` heads names, so it counts beside such a column alone, and where its cells are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

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
_RELATED = ("followup", "accessories", "sparepart")
_OF_WHAT_IS_NUMBERED = ("name", "description", "price", "order_unit", "packing")


def paired(words: Sequence[str], roles: Sequence[str | None]) -> list[str | None] | None:
    """The roles of the columns where one is found to head article numbers; None where none is.

    Args:
        words: the columns' names, folded.
        roles: what each of them is by itself, none an article number.
    """
    found = list(roles)
    related = [at for at, role in enumerate(roles) if role in _RELATED]
    ones, old = ([at for at, word in enumerate(words) if word in those] for those in (_OF_ONE, _OLD))
    parts = [at for at in related if words[at] in _THEMSELVES]
    if len(old) == 1 and "followup" in roles:
        new = roles.index("followup")
        if "price" in roles and words[new] in _NEW:  # a price list with new numbers is one of these
            found[old[0]], found[new] = "replaces", "article"
            return found
        found[old[0]] = "article"
    elif len(ones) == 1 and related and (not parts or ones[0] < parts[0]):
        found[ones[0]] = "article"
    elif len(parts) == 1 and len(ones) < 2:
        found[parts[0]] = "article"
        return [("fits" if at in ones else role) for at, role in enumerate(found)]
    else:
        return None
    return without_others(found)


def names_others(words: Sequence[str], roles: Sequence[str | None]) -> bool:
    """Whether a list with article numbers has names behind the numbers of other articles alone."""
    parts = [at for at, word in enumerate(words) if word in _THEMSELVES]
    return bool(parts) and "name" in roles and "article" in roles[: parts[0]] and parts[0] < roles.index("name")


def without_others(roles: Sequence[str | None]) -> list[str | None]:
    """The roles, without those of names and prices that stand behind another article's number: they are of that one."""
    found, other = list[str | None](), False
    for role in roles:
        other = role in _RELATED or (other and role != "article")
        found.append(None if other and role in _OF_WHAT_IS_NUMBERED else role)
    return found
