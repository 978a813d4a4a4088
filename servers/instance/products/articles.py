"""Articles of a dataset: every product of one article number together, with its features, prices and media.

An article number that several documents name, however they separate it, is one article, but for products of different
makers. What it says comes from the product row with the most features (then prices, then the smallest id), of a
supplier's catalogues from the newest; what that one leaves empty comes from the next. Its prices are those of all its
rows in one document: of a price update where there is one that no newer catalogue follows. A product that an update has
deleted is none of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from servers.instance.products.spelling import one_spelling
from servers.instance.products.succession import Succession
from shared.dataset.rows import DELETED, MEMBER, FeatureRow, MediaRow, PriceRow, ProductRow, RelationRow

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("documents", "products", "features", "prices", "media", "relations")
_UPDATES = {"update": 1, "prices": 2}  # BMEcat's transactions that change an earlier catalogue
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Article:
    """One article. `sources` counts the product rows that it was put together from, `namesakes` the articles of its
    number: several makers may have one each."""

    product: ProductRow
    features: tuple[FeatureRow, ...] = ()
    prices: tuple[PriceRow, ...] = ()
    media: tuple[MediaRow, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    sources: int = 1
    namesakes: int = 1


class Articles:
    """The articles of a dataset, in the order of their numbers.

    Args:
        tables: `TABLES`, each in the order of its keys.
        document: only products of this document's id, with their numbers as it writes them.
    """

    def __init__(self, tables: Mapping[str, pa.Table], document: str | None = None) -> None:
        tables = one_spelling(tables) if document is None else tables
        self._tables = tables
        self._places = {name: _places(tables[name]) for name in ("features", "prices", "media")}
        self._references = _references(tables["relations"])
        rows = [ProductRow(**row) for row in tables["products"].to_pylist()]
        rows = [row for row in rows if document in (None, row.document_id)]
        self.unnumbered = sum(not row.article_number for row in rows)
        self._succession = Succession(tables)
        sold = [row for row in rows if row.article_number and not self._succession.deleted_by(row)]
        self.deleted = len({row.article_number for row in rows} - {row.article_number for row in sold} - {""})
        self._rows = sorted(sold, key=lambda row: (row.article_number, self._rank(row)))

    def __iter__(self) -> Iterator[Article]:
        for number, rows in groupby(self._rows, key=lambda row: row.article_number):
            makers = by_maker(self._succession.newest_first(list(rows)))
            yield from (replace(self._article(number, same), namesakes=len(makers)) for same in makers)

    def _rank(self, row: ProductRow) -> tuple[int, int, str]:
        return -self._count("features", row), -self._count("prices", row), row.product_id

    def _count(self, table: str, row: ProductRow) -> int:
        return self._places[table].get((row.document_id, row.product_id), (0, 0))[1]

    def _article(self, number: str, rows: Sequence[ProductRow]) -> Article:
        return Article(
            product=_first_of_each(rows),
            features=self._children("features", FeatureRow, rows),
            prices=self._prices(rows),
            media=self._children("media", MediaRow, rows),
            references=tuple(
                dict.fromkeys(ref for row in rows for ref in self._references.get((row.document_id, number), ()))
            ),
            sources=len(rows),
        )

    def _children(self, table: str, kind: type[Any], rows: Sequence[ProductRow]) -> tuple[Any, ...]:
        """The rows of the first source that has any: those of several would repeat one another."""
        return next((found for row in rows if (found := self._rows_of(table, kind, row))), ())

    def _prices(self, rows: Sequence[ProductRow]) -> tuple[PriceRow, ...]:
        """The distinct prices of one document that no newer one of the supplier follows: of an update before others,
        then of the newest update, then of the first."""
        stating: dict[tuple[str, str, str], list[ProductRow]] = {}
        for row in rows:
            if self._count("prices", row):
                stating.setdefault((row.document_id, row.supplier, row.transaction), []).append(row)
        offers = [
            (transaction, self._joined(same))
            for (document, supplier, transaction), same in stating.items()
            if not any(supplier == by and self._succession.newer(each, document) for each, by, _ in stating)
        ]
        return max(offers, key=lambda offer: _newness(*offer), default=("", ()))[1]

    def _joined(self, rows: Sequence[ProductRow]) -> tuple[PriceRow, ...]:
        found: dict[PriceRow, PriceRow] = {}
        for row in sorted(rows, key=lambda row: row.ordinal):
            for price in self._rows_of("prices", PriceRow, row):
                found.setdefault(replace(price, product_id="", ordinal=0), price)
        return tuple(found.values())

    def _rows_of(self, table: str, kind: type[Any], row: ProductRow) -> tuple[Any, ...]:
        start, length = self._places[table].get((row.document_id, row.product_id), (0, 0))
        return tuple(kind(**each) for each in self._tables[table].slice(start, length).to_pylist()) if length else ()


def _newness(transaction: str, prices: Sequence[PriceRow]) -> tuple[int, str]:
    """Orders prices by their transaction, and those of updates by the latest day from which one of them holds."""
    if transaction not in _UPDATES:
        return 0, ""
    return _UPDATES[transaction], max(each.valid_from if _DAY.match(each.valid_from) else "" for each in prices)


def by_maker(rows: Sequence[ProductRow]) -> list[list[ProductRow]]:
    """The rows by maker, in their order. Those that name none are its product where there is one maker only."""
    makers: list[list[str]] = []
    for words in sorted((_words(row.manufacturer) for row in rows if row.manufacturer.strip()), key=len):
        if not any(_is_one(known, words) for known in makers):
            makers.append(words)
    if len(makers) < 2:
        return [list(rows)]
    found: dict[int, list[ProductRow]] = {}
    for row in rows:
        words = _words(row.manufacturer)
        place = next((place for place, known in enumerate(makers) if words and _is_one(known, words)), -1)
        found.setdefault(place, []).append(row)
    return list(found.values())


def _words(maker: str) -> list[str]:
    return re.findall(r"\w+", maker.casefold()) or maker.split()


def _is_one(shorter: list[str], longer: list[str]) -> bool:
    """Whether two names are of one maker: `Muster` is `MUSTER GmbH & Co. KG`."""
    return longer[: len(shorter)] == shorter


def _first_of_each(rows: Sequence[ProductRow]) -> ProductRow:
    """Of each field the first that a row fills. A product without a name is called by its number: that is no name."""
    named = [replace(row, name="") if row.name == row.article_number else row for row in rows]
    found = named[0]
    for row in named[1:]:
        missing = {each.name: getattr(row, each.name) for each in fields(found) if getattr(found, each.name) == ""}
        found = replace(found, **missing)
    return found if found.name else replace(found, name=rows[0].name)


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
        if row.kind not in (MEMBER, DELETED):
            found.setdefault((row.document_id, row.article_number), []).append((row.kind, row.target))
    return found
