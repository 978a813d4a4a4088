"""Notes of cells as a block beside their sheet, one line each: `C2: Gilt ab Mai`. The same for every format. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extraction import Block


def place(row: int, column: int) -> str:
    """What a sheet calls a cell, whose row and column count from 0: `C2`."""
    letters, column = "", column + 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row + 1}"


def notes(said: Iterable[tuple[str, str]], page: int) -> Iterator[Block]:
    """One block with the notes, given as what the sheet calls the cell and the note's text; none where none says
    anything."""
    if lines := [f"{cell}: {text}" for cell, note in said if (text := squeezed(note))]:
        yield Block("paragraph", "\n".join(lines), page=page)
