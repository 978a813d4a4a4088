"""Products that an update of their supplier's catalogue (BMEcat: T_UPDATE_PRODUCTS, mode `delete`) takes back.

Documents have no order in time. So a deletion holds for what catalogues and price lists say, and not for what another
update says, which may be the newer one; nor does it hold in a document that deletes an article and names it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.dataset.rows import ProductRow

DELETED = "deleted"


class Deletions:
    """The deletions of a dataset.

    Args:
        tables: `relations` and `products`, each whole.
    """

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        from pyarrow.dataset import field

        found = tables["relations"].filter(field("kind") == DELETED).to_pylist()
        self._documents: dict[tuple[str, str], list[str]] = defaultdict(list)
        named = _named(tables["products"], {row["document_id"] for row in found}) if found else set()
        for row in found:
            if (row["document_id"], row["article_number"]) not in named:
                self._documents[row["article_number"], row["target"]].append(row["document_id"])

    def of(self, product: ProductRow) -> str:
        """The id of the document that takes the product back (the first one), '' where none does."""
        if product.transaction == "update" or not product.supplier:
            return ""
        return next(iter(self._documents.get((product.article_number, product.supplier), ())), "")


def _named(products: pa.Table, documents: set[str]) -> set[tuple[str, str]]:
    """(document, article number) of what these documents name."""
    from pyarrow.dataset import field

    rows = products.filter(field("document_id").isin(list(documents)))
    return set(zip(rows["document_id"].to_pylist(), rows["article_number"].to_pylist(), strict=True))
