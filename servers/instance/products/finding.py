"""Products that meet conditions. An article that several documents name is one: each of them may tell a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from servers.instance.products.articles import by_maker
from servers.instance.products.conditions import Condition, Met, measured, meeting, names_of, values_of
from servers.instance.products.succession import Succession
from shared.dataset.rows import ProductRow

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Told:
    """A row of the products, the document that takes it back ('' where none does), and what meets each condition: by
    what, and the id of the document that says it."""

    row: ProductRow
    deleted_by: str
    met: tuple[tuple[Met, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a condition may have found nothing: how many articles meet it alone, and the values that the feature has.
    `known`: whether any has the feature; where none has, `others` are the features that they have, the likest first."""

    condition: Condition
    products: int
    known: bool
    others: list[str]


class Finder:
    """Finds products of a dataset by what they are.

    Args:
        products, features: the tables, each whole.
    """

    def __init__(self, products: pa.Table, features: pa.Table, succession: Succession) -> None:
        self._products = products
        self._features = measured(features)
        self._succession = succession

    def found(
        self, members: pa.Table | None, conditions: Sequence[Condition], start: int, limit: int
    ) -> tuple[list[Told], int | None]:
        """Products in the order of their numbers, and where the next page starts.

        Args:
            members: rows of the products, of which to choose; None: every article, each by one of its rows.
        """
        if members is not None and not conditions:
            ordered = members.sort_by([("article_number", "ascending"), ("product_id", "ascending")])
            rows = [ProductRow(**row) for row in ordered.slice(start, limit).to_pylist()]
            return [self.told(row) for row in rows], start + limit if ordered.num_rows > start + limit else None
        features, products = self._among(members)
        met = [meeting(each, features, products) for each in conditions]
        chosen = None if members is None else set(members["product_id"].to_pylist())
        found = [
            (row, same)
            for same in self._articles(met)
            for row in ([self._best(same, met)] if chosen is None else same)
            if chosen is None or row.product_id in chosen
        ]
        told = [self.told(row, _by(row, same, met)) for row, same in found[start : start + limit]]
        return told, start + limit if len(found) > start + limit else None

    def reasons(self, members: pa.Table | None, conditions: Sequence[Condition]) -> Iterator[Reason]:
        """What is there of each condition, alone."""
        features, products = self._among(members)
        for each in conditions:
            values = [] if each.feature is None else values_of(features, each.feature)
            known = bool(values) or each.feature is None
            count = len(self._keys(meeting(each, features, products))) if known else 0
            yield Reason(each, count, known, values if known else names_of(features, each.feature or ""))

    def told(self, row: ProductRow, met: tuple[tuple[Met, str], ...] = ()) -> Told:
        return Told(row, self._succession.deleted_by(row), met)

    def _among(self, members: pa.Table | None) -> tuple[pa.Table, pa.Table]:
        """Features and products among which to look: those of the members and of all of the same article numbers."""
        import pyarrow as pa
        from pyarrow.dataset import field

        if members is None:
            return self._features, self._products
        numbers = pa.array(set(members["article_number"].to_pylist()) - {""}, pa.string())
        of_members = field("product_id").isin(members["product_id"].combine_chunks())
        products = self._products.filter(of_members | field("article_number").isin(numbers))
        return self._features.filter(field("product_id").isin(products["product_id"].combine_chunks())), products

    def _articles(self, met: Sequence[dict[str, Met]]) -> Iterator[list[ProductRow]]:
        """The rows of each article whose rows together meet every condition."""
        import pyarrow as pa
        from pyarrow.dataset import field

        keys = set.intersection(*(self._keys(each) for each in met))
        wanted = pa.array(sorted(keys), pa.string())
        rows = self._products.filter(field("article_number").isin(wanted) | field("product_id").isin(wanted))
        rows = rows.sort_by([("article_number", "ascending"), ("product_id", "ascending")])
        articles = groupby((ProductRow(**row) for row in rows.to_pylist()), lambda row: row.article_number)
        for number, named in articles:
            for same in by_maker(list(named)) if number else ([row] for row in named):
                if all(any(row.product_id in each for row in same) for each in met):
                    yield same

    def _keys(self, met: dict[str, Met]) -> set[str]:
        """The article numbers of these products; of one without a number its id."""
        import pyarrow as pa
        from pyarrow.dataset import field

        rows = self._products.filter(field("product_id").isin(pa.array(list(met), pa.string())))
        pairs = zip(rows["article_number"].to_pylist(), rows["product_id"].to_pylist(), strict=True)
        return {number or key for number, key in pairs}

    def _best(self, same: Sequence[ProductRow], met: Sequence[dict[str, Met]]) -> ProductRow:
        """The row that says most of what is asked for; one that is not taken back first."""

        def rank(row: ProductRow) -> tuple[bool, int, str]:
            return bool(self._succession.deleted_by(row)), -sum(row.product_id in each for each in met), row.product_id

        return min(same, key=rank)


def _by(row: ProductRow, same: Sequence[ProductRow], met: Sequence[dict[str, Met]]) -> tuple[tuple[Met, str], ...]:
    """What meets each condition: of the row itself where it does, else of another one of the article."""
    saying = [next(each for each in (row, *same) if each.product_id in found) for found in met]
    return tuple((found[each.product_id], each.document_id) for found, each in zip(met, saying, strict=True))
