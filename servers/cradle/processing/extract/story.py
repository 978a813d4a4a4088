"""What DOC, DOCX and RTF share: paragraphs, list entries, cells and rows, told one by one, become blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from servers.cradle.processing.extract.encoding import clean, squeezed
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block, Item

MAX_COLUMNS = 63  # Word's own
NEAR = 113  # twips, 2 mm: borders that were dragged by hand stand for one column

_Row = tuple[list[str], Sequence[int]]


class Story:
    """One run of text (the body, a note, a header). Its blocks are appended to `into` as soon as they are whole."""

    def __init__(self, into: list[Item]) -> None:
        self._into = into
        self._listed: list[str] = []
        self._cell: list[str] = []
        self._cells: list[str] = []
        self._rows: list[_Row] = []
        self._header_rows = 0

    def paragraph(self, text: str, level: int = 0, *, listed: bool = False) -> None:
        """A paragraph outside of tables. `level` 1 to 9 is a heading; one of a list joins the list before it."""
        self._end_table()
        text = clean(text)
        if not text.strip():
            return
        if listed and not level:
            self._listed.append("- " + squeezed(text))
            return
        self._end_list()
        self._into.append(Block("heading", squeezed(text), level) if level else Block("paragraph", text.strip("\n")))

    def cell_paragraph(self, text: str) -> None:
        """A paragraph of a cell that is not the cell's last one; also a cell of a table inside a cell."""
        self._end_list()
        if text := squeezed(text):
            self._cell.append(text)

    def cell(self, text: str) -> None:
        """The last paragraph of a cell."""
        self.cell_paragraph(text)
        self._cells.append(" ".join(self._cell))
        self._cell = []

    def row(self, edges: Sequence[int], *, header: bool) -> None:
        """The end of a row. `edges` are the right edges of its cells in twips, as far as they are told."""
        if any(self._cells):
            if header and self._header_rows == len(self._rows):
                self._header_rows += 1
            self._rows.append((self._cells, edges))
        self._cells = []

    def close(self) -> None:
        """The end of the story."""
        self._end_table()
        self._end_list()

    def _end_list(self) -> None:
        if self._listed:
            self._into.append(Block("list", "\n".join(self._listed)))
            self._listed = []

    def _end_table(self) -> None:
        """The table as a block; cells after its last row, whose end is missing, are paragraphs."""
        if self._rows:
            header_rows = self._header_rows or (1 if len(self._rows) > 1 else 0)
            self._into.append(table_block(_aligned(self._rows), header_rows))
            self._rows, self._header_rows = [], 0
        if self._cells or self._cell:
            self._into.extend(Block("paragraph", text) for text in (*self._cells, *self._cell) if text)
            self._cells, self._cell = [], []


def _aligned(rows: list[_Row]) -> list[list[str]]:
    """The rows with empty cells where a cell covers several columns, as the edges of all rows tell.

    Rows that tell more or fewer edges than they have cells stay as they are.
    """
    columns: list[int] = []
    for edge in sorted({edge for cells, edges in rows if len(cells) == len(edges) for edge in edges}):
        if not columns or edge - columns[-1] > NEAR:
            columns.append(edge)
    if len(columns) > MAX_COLUMNS:
        return [cells for cells, _ in rows]
    return [_spread(cells, edges, columns) if len(cells) == len(edges) else cells for cells, edges in rows]


def _spread(cells: list[str], edges: Sequence[int], columns: list[int]) -> list[str]:
    spread: list[str] = []
    for text, edge in zip(cells, edges, strict=True):
        spread.append(text)
        spread.extend([""] * (bisect_right(columns, edge) - len(spread)))
    return spread
