"""Articles of a dataset: every product of one article number together, with its features, prices and media.

An article number that several documents name is one article. What it says comes from the product row with the most
features (then prices, then the smallest id); what that one leaves empty comes from the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from shared.dataset.rows import FeatureRow, MediaRow, PriceRow, ProductRow, RelationRow

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("products", "features", "prices", "media", "relations")


@dataclass(frozen=True, slots=True)
class Article:
    """One article. `sources` counts the product rows that it was put together from."""

    product: ProductRow
    features: tuple[FeatureRow, ...] = ()
    prices: tuple[PriceRow, ...] = ()
    media: tuple[MediaRow, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    sources: int = 1


class Articles:
    """The articles of a dataset, in the order of their numbers.

    Args:
        tables: `TABLES`, each in the order of its keys.
        document: only products of this document's id.
    """

    def __init__(self, tables: Mapping[str, pa.Table], document: str | None = None) -> None:
        self._tables = tables
        self._places = {name: _places(tables[name]) for name in ("features", "prices", "media")}
        self._references = _references(tables["relations"])
        rows = [ProductRow(**row) for row in tables["products"].to_pylist()]
        chosen = [row for row in rows if row.article_number and document in (None, row.document_id)]
        self.unnumbered = sum(not row.article_number for row in rows if document in (None, row.document_id))
        self._rows = sorted(chosen, key=lambda row: (row.article_number, self._rank(row)))

    def __iter__(self) -> Iterator[Article]:
        for number, rows in groupby(self._rows, key=lambda row: row.article_number):
            yield self._article(number, list(rows))

    def _rank(self, row: ProductRow) -> tuple[int, int, str]:
        return -self._count("features", row), -self._count("prices", row), row.product_id

    def _count(self, table: str, row: ProductRow) -> int:
        return self._places[table].get((row.document_id, row.product_id), (0, 0))[1]

    def _article(self, number: str, rows: Sequence[ProductRow]) -> Article:
        return Article(
            product=_first_of_each(rows),
            features=self._children("features", FeatureRow, rows),
            prices=self._children("prices", PriceRow, rows),
            media=self._children("media", MediaRow, rows),
            references=tuple(
                dict.fromkeys(ref for row in rows for ref in self._references.get((row.document_id, number), ()))
            ),
            sources=len(rows),
        )

    def _children(self, table: str, kind: type[Any], rows: Sequence[ProductRow]) -> tuple[Any, ...]:
        """The rows of the first source that has any: those of several would repeat one another."""
        for row in rows:
            start, length = self._places[table].get((row.document_id, row.product_id), (0, 0))
            if length:
                return tuple(kind(**each) for each in self._tables[table].slice(start, length).to_pylist())
        return ()


def _first_of_each(rows: Sequence[ProductRow]) -> ProductRow:
    found = rows[0]
    for row in rows[1:]:
        missing = {each.name: getattr(row, each.name) for each in fields(found) if getattr(found, each.name) == ""}
        found = replace(found, **missing)
    return found


def _places(table: pa.Table) -> dict[tuple[str, str], tuple[int, int]]:
    """(document, product) → where its rows start and how many there are."""
    keys = list(zip(table["document_id"].to_pylist(), table["product_id"].to_pylist(), strict=True))
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for place, key in enumerate(keys):
        start, length = found.get(key, (place, 0))
        found[key] = (start, length + 1)
    return found


def _references(table: pa.Table) -> dict[tuple[str, str], list[tuple[str, str]]]:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in (RelationRow(**each) for each in table.to_pylist()):
        if row.kind != "member":
            found.setdefault((row.document_id, row.article_number), []).append((row.kind, row.target))
    return found
