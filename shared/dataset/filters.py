"""What a passage must satisfy to be a hit: as a condition for Lance, and as a mask over its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import InvalidInput
from shared.languages import SEVERAL

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

MAX_TEXT_BYTES = 32_000
FILTERED = ("language", "kind", "document_id", "path", "page")
"""The columns that filters look at."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a hit must satisfy; None does not restrict. `document` is a document's id or path. A passage in several
    languages is one in each."""

    language: str | None = None
    kind: str | None = None
    document: str | None = None
    page: int | None = None

    @property
    def where(self) -> str | None:
        """The condition in SQL; None: every passage satisfies it.

        Raises:
            InvalidInput: a text is none, or too long.
        """
        terms = [] if self.kind is None else [f"kind = {_literal(self.kind, 'kind')}"]
        if self.language is not None:
            terms.append(f"language IN ({_literal(self.language, 'language')}, '{SEVERAL}')")
        if self.page is not None:
            terms.append(f"page = {int(self.page)}")
        if self.document is not None:
            document = _literal(self.document, "document")
            terms.append(f"(document_id = {document} OR path = {document})")
        return " AND ".join(terms) or None

    def mask(self, columns: pa.Table) -> NDArray[np.bool_]:
        """Which rows satisfy it: bool [n].

        Args:
            columns: those of `FILTERED`, n rows.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        def equal(column: str, value: str | int) -> NDArray[np.bool_]:
            return pc.call_function("equal", [columns[column], pa.scalar(value)]).to_numpy()

        found = np.ones(columns.num_rows, np.bool_)
        for column, value in (("kind", self.kind), ("page", self.page)):
            if value is not None:
                found &= equal(column, value)
        if self.language is not None:
            found &= equal("language", self.language) | equal("language", SEVERAL)
        if self.document is not None:
            found &= equal("document_id", self.document) | equal("path", self.document)
        return found


def checked_text(text: str, field: str) -> str:
    """The text, as it is.

    Raises:
        InvalidInput: it holds what is no character, or is too long.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{field} holds a lone surrogate, which is no character.", field=field) from None
    if size > MAX_TEXT_BYTES:
        raise InvalidInput(f"{field} is too long.", field=field)
    return text


def _literal(text: str, field: str) -> str:
    """The text as SQL writes it."""
    escaped = checked_text(text, field).replace("'", "''")
    return f"'{escaped}'"
