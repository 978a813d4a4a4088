"""One article number for what the documents of a dataset separate differently: IS 12-04 PS, IS-12-04-PS.

Numbers are one where they are the same but for separators, case and zeros in front, as a spreadsheet drops them, and a
GTIN is the same too: RK 1,5 and RK 15 are two articles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
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
    products = _spelled(tables["products"], "article_number", chosen)
    relations = _spelled(tables["relations"], "article_number", chosen)
    return {**tables, "products": products, "relations": _spelled(relations, "target", chosen)}


def _chosen(products: pa.Table) -> dict[str, str]:
    """Each article number that has several spellings → the one that is taken."""
    said: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    columns = (products[name].to_pylist() for name in ("article_number", "gtin", "supplier"))
    for number, gtin, supplier in zip(*columns, strict=True):
        if number and gtin:
            said[bare_number(number), gtin][number].append(bool(supplier))
    found: dict[str, str] = {}
    for key in sorted(key for key, spellings in said.items() if len(spellings) > 1):
        spellings = said[key]
        order = sorted(spellings, key=lambda each: (-sum(spellings[each]), -len(spellings[each]), each))
        taken = next((found[each] for each in order if each in found), order[0])
        for each in order:
            found.setdefault(each, taken)
    return found


def _spelled(table: pa.Table, column: str, chosen: Mapping[str, str]) -> pa.Table:
    """The table with the chosen numbers in a column; a relation's target only where it is an article's."""
    import pyarrow as pa

    values = table[column].to_pylist()
    kinds = table["kind"].to_pylist() if column == "target" else [""] * len(values)
    told = [
        value if kind in (MEMBER, DELETED) else chosen.get(value, value)
        for value, kind in zip(values, kinds, strict=True)
    ]
    place = table.schema.get_field_index(column)
    return table.set_column(place, table.schema.field(column), pa.array(told, pa.string()))
