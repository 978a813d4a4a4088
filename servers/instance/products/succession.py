"""Which catalogue of a supplier is the newer one, and so what holds of an article that several of them name.

BMEcat catalogues say when they were made. Where two of them do not, or say the same, they have no order: then what an
update deletes (T_UPDATE_PRODUCTS, mode `delete`) holds for catalogues and price lists, and not for another update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shared.dataset.rows import DELETED

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.dataset.rows import ProductRow

_HOLDING = ["archive", "bmecat"]  # an archive is dated by the one catalogue in it
_WHOLE = ("new", "update")  # transactions that say all of an article, not its price alone


class Succession:
    """The order of a dataset's catalogues.

    Args:
        tables: documents, products and relations, each whole.
    """

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        from pyarrow.dataset import field

        made = tables["documents"].filter(field("extractor").isin(_HOLDING) & (field("dated") != ""))
        self._made = dict(zip(made["document_id"].to_pylist(), made["dated"].to_pylist(), strict=True))
        found = tables["relations"].filter(field("kind") == DELETED).to_pylist()
        self._deleting: dict[tuple[str, str], list[str]] = defaultdict(list)
        named = _named(tables["products"], {row["document_id"] for row in found}) if found else set()
        for row in found:
            if (row["document_id"], row["article_number"]) not in named:
                self._deleting[row["article_number"], row["target"]].append(row["document_id"])

    def newer(self, document: str, other: str) -> bool:
        """Whether both are catalogues, and the first was made later; a day that has no time is no later than itself."""
        made, before = self._made.get(document, ""), self._made.get(other, "")
        known = min(len(made), len(before))
        return made[:known] > before[:known]

    def deleted_by(self, product: ProductRow) -> str:
        """The id of the document that takes the product back (the first one), '' where none does."""
        if not product.supplier:
            return ""
        deleting = self._deleting.get((product.article_number, product.supplier), ())
        return next((each for each in deleting if self._takes_back(each, product)), "")

    def newest_first(self, rows: Sequence[ProductRow]) -> list[ProductRow]:
        """The rows of an article in their order, but those of one supplier's catalogues in one language newest first:
        they change places among themselves."""
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if row.supplier and row.transaction in _WHOLE and row.document_id in self._made:
                places[row.supplier, row.language].append(place)
        found = list(rows)
        for group in places.values():
            by_age = sorted(group, key=lambda place: self._made[rows[place].document_id], reverse=True)
            for place, source in zip(group, by_age, strict=True):
                found[place] = rows[source]
        return found

    def _takes_back(self, document: str, product: ProductRow) -> bool:
        if self.newer(product.document_id, document):
            return False
        return self.newer(document, product.document_id) or product.transaction != "update"


def _named(products: pa.Table, documents: set[str]) -> set[tuple[str, str]]:
    """(document, article number) of what these documents name."""
    from pyarrow.dataset import field

    rows = products.filter(field("document_id").isin(list(documents)))
    return set(zip(rows["document_id"].to_pylist(), rows["article_number"].to_pylist(), strict=True))
