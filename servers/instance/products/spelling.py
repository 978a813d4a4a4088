"""One article number for what the documents of a dataset separate differently: IS 12-04 PS, IS-12-04-PS.

Numbers are one where they are the same but for separators, case and zeros in front, as a spreadsheet drops them, and a
GTIN is the same too, but for these: RK 1,5 and RK 15 are two articles. What a list calls by its GTIN alone is the one
article that others number. An article of another GTIN or maker keeps its number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING

from servers.instance.products.numbers import bare_number
from shared.dataset.rows import DELETED, MEMBER

if TYPE_CHECKING:
    import pyarrow as pa


def one_spelling(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables with one article number for each article: a catalogue's, else the one that comes most often.

    Args:
        tables: products and relations, each whole, and any others.
    """
    chosen = _chosen(tables["products"])
    if not chosen:
        return dict(tables)
    certain = _certain(tables["products"], chosen)
    products = _spelled(tables["products"], chosen, certain)
    meant = _meant(tables["products"], products, {number for number, _ in chosen})
    return {**tables, "products": products, "relations": _following(tables["relations"], meant, certain)}


def _chosen(products: pa.Table) -> dict[tuple[str, str], str]:
    """Article number and GTIN (bare), of each article that has several spellings → the one that is taken."""
    said: dict[str, dict[str, dict[str, list[bool]]]] = defaultdict(dict)
    makers: dict[str, set[str]] = defaultdict(set)
    for number, raw, supplier, maker in _columns(products, "article_number", "gtin", "supplier", "manufacturer"):
        if number and (gtin := _bare_gtin(raw)):
            makers[gtin].update(_maker(maker))
            spellings = said[gtin].setdefault(bare_number(number), {})
            spellings.setdefault(number, []).append(bool(supplier))
    found: dict[tuple[str, str], str] = {}
    for gtin, articles in said.items():
        if len(articles) == 2 and gtin in articles and len(makers[gtin]) < 2:
            itself = articles.pop(gtin)
            (numbered,) = articles.values()
            found |= {(each, gtin): _taken(numbered) for each in itself}
        for spellings in articles.values():
            if len(spellings) > 1:
                found |= {(each, gtin): _taken(spellings) for each in spellings}
    return found


def _maker(name: str) -> list[str]:
    """What a maker is known by, if one is named: `Muster` is `MUSTER GmbH`."""
    return name.casefold().split()[:1]


def _taken(spellings: Mapping[str, list[bool]]) -> str:
    return min(spellings, key=lambda each: (-sum(spellings[each]), -len(spellings[each]), each))


def _bare_gtin(gtin: str) -> str:
    """A GTIN without separators, and without the zeros that pad it to 14 digits."""
    return gtin.lstrip("0") if gtin.isdigit() else bare_number(gtin)


def _certain(products: pa.Table, chosen: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """The numbers of which one article alone may be meant, without its GTIN → the spelling that is taken."""
    several = {number for number, _ in chosen}
    taken: dict[str, set[str]] = defaultdict(set)
    makers: dict[str, set[str]] = defaultdict(set)
    for number, gtin, maker in _columns(products, "article_number", "gtin", "manufacturer"):
        if number in several:
            taken[number] |= {chosen.get((number, _bare_gtin(gtin)), number)} if gtin else set()
            makers[number].update(_maker(maker))
    return {each: next(iter(names)) for each, names in taken.items() if len(names) == 1 and len(makers[each]) < 2}


def _spelled(products: pa.Table, chosen: Mapping[tuple[str, str], str], certain: Mapping[str, str]) -> pa.Table:
    """The products with the numbers that are taken; one without a GTIN where its number is certain."""
    told = [
        chosen.get((number, _bare_gtin(gtin)), number) if gtin else certain.get(number, number)
        for number, gtin in _columns(products, "article_number", "gtin")
    ]
    return _with(products, "article_number", told)


def _meant(products: pa.Table, spelled: pa.Table, several: Set[str]) -> dict[tuple[str, str], set[str]]:
    """(Document or supplier, number that has several spellings) → the numbers of the products that it calls so."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    rows = _columns(products, "document_id", "supplier", "article_number")
    for (document, supplier, number), (taken,) in zip(rows, _columns(spelled, "article_number"), strict=True):
        if number in several:
            found[document, number].add(taken)
            found[supplier, number].add(taken)
    return found


def _following(relations: pa.Table, meant: Mapping[tuple[str, str], set[str]], certain: Mapping[str, str]) -> pa.Table:
    """The relations with the numbers that are taken: of a product of the same document, of the supplier whose article
    is taken back, else where the number is certain. A group's code and a supplier stay."""

    def spelled(number: str, *within: str) -> str:
        names = next((meant[each, number] for each in within if (each, number) in meant), None)
        if names is None:
            return certain.get(number, number)
        return next(iter(names)) if len(names) == 1 else number

    numbers: list[str] = []
    targets: list[str] = []
    for document, number, kind, target in _columns(relations, "document_id", "article_number", "kind", "target"):
        numbers.append(spelled(number, document, target) if kind == DELETED else spelled(number, document))
        targets.append(target if kind in (MEMBER, DELETED) else spelled(target, document))
    return _with(_with(relations, "article_number", numbers), "target", targets)


def _columns(table: pa.Table, *names: str) -> Iterator[tuple[str, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _with(table: pa.Table, column: str, told: list[str]) -> pa.Table:
    import pyarrow as pa

    place = table.schema.get_field_index(column)
    return table.set_column(place, table.schema.field(column), pa.array(told, pa.string()))
