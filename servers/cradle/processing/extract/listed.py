"""Tables of documents (PDF, Word, slides, HTML): which of them list articles, so that their rows are products. Pure.

A sheet is a list; a table in running text may be anything, and on a page its cells are only what stands apart. So all
of it has to fit: a header of names with one of article numbers or GTINs, one number in each row, rows of one width, and
nothing of an order, where quantities and sums are one customer's. A data sheet may stand on its side: names in the
first column, then a column for each article. Any other table stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from servers.cradle.processing.extract.column_names import names_numbers, role_of
from servers.cradle.processing.extract.columns import Row, amount_of, columns_of
from servers.cradle.processing.extract.note_marks import without_notes
from servers.cradle.processing.extract.product_table import (
    is_header,
    is_title,
    names_columns,
    number_in,
    products_below,
)
from servers.cradle.processing.extraction import Block, Item

READERS = frozenset({
    "doc", "docx", "html", "mail", "markdown", "opendocument", "outlook", "pdf", "ppt", "pptx", "rtf",
    "tnef",
})  # fmt: skip
ABOVE = 25
MAX_SAID = 300
MIN_NAMED = 3  # lines of a data sheet on its side
_NUMBER = re.compile(r"(?=.*\d)(?=.{2,80}$)\w(?:[\w/+-]|[.,](?=\w)| (?=\w))*(?<=\w)")  # whole: none ends in a hyphen
_WORDS = re.compile(r"[^\W\d_]{5,}|[a-zäöüß]{4,}")
_ORDERED = re.compile(
    r"(?:bestell|liefer|ist-?|soll-?)?menge|anzahl|stückzahl|(?:gesamt|zeilen|netto|brutto)?(?:summe|betrag)|gesamt(?:preis)?"
    r"|auftrags?.*|rechnung.*|lieferschein.*|kunden?.*|serien-?(?:nummer|nr\.?)|charge.*|prüf(?:er|datum|ung)|datum|qty"
    r"|quantity|(?:line |sub)?total|amount|order(?: date|ed)?|invoice.*|customer.*|serial.*|batch.*|date|inspector",
    re.IGNORECASE,
)
_HEADS = re.compile(  # `Merkmal | Wert`, which say nothing
    r"|merkmale?|eigenschaft(?:en)?|kennwerte?|parameter|technische daten|angaben?|propert(?:y|ies)|features?"
    r"|characteristics?|specifications?|technical data|werte?|values?|daten|data",
    re.IGNORECASE,
)


def with_products(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with its products in the place of each table that lists articles."""
    said: list[str] = []
    above = _NO_LIST
    for item in items:
        if not isinstance(item, Block) or item.source:
            yield item
        elif item.kind == "table" and (found := _listed(item, above)) is not None:
            rest, rows = found
            above = _List(rows[0] if names_columns(rows[0]) else (), item.page)
            yield from [Block("paragraph", rest, page=item.page)] if rest else ()
            yield from products_below(rows, said, item.page)
        else:
            above = _NO_LIST if item.kind == "table" else above
            if item.kind in ("heading", "paragraph") and len(said) < ABOVE and len(item.text) <= MAX_SAID:
                said.append(item.text)
            yield item


class _List(NamedTuple):
    """The header of the last list, () where it is none to go on with, and the page on which its last rows stand."""

    header: Row
    page: int


_NO_LIST = _List((), 0)


def _listed(table: Block, above: _List) -> tuple[str, list[Row]] | None:
    """The rows of a list of articles, its header first, and before them what the table begins with of a row that the
    page's end above has cut. None: the table may be something else."""
    rows = listing(table) or _going_on(table, above)
    if above.header and table.page == above.page + 1 and len(table.rows[0]) == len(above.header):
        rest, whole = _without_cut_row(list(table.rows), above.header)
        cut = replace(table, rows=tuple(whole))
        if rest and (below := listing(cut) or _going_on(cut, above)) is not None:
            return rest, below
    return None if rows is None else ("", rows)


def _without_cut_row(rows: list[Row], header: Row) -> tuple[str, list[Row]]:
    """What goes on from the page above, '' where nothing does, and the rows without it. It stands in a row without a
    number, or, of one cell, behind the name of its column, as the second line of a longer name would."""
    longer = [(cell, name) for cell, name in zip(rows[0], header, strict=True) if cell != name]
    if len(longer) == 1:
        cell, name = longer[0]
        if cell.startswith(f"{name} ") and role_of(name) and role_of(cell) != role_of(name):
            return cell.removeprefix(name).strip(), [header, *rows[1:]]
    first = 0 if longer else 1
    place = next((at for at, name in enumerate(header) if names_numbers(name)), 0)
    if len(rows) <= first or rows[first][place] or not any(rows[first]):
        return "", rows
    return " ".join(filter(None, rows[first])), rows[:first] + rows[first + 1 :]


def _going_on(table: Block, above: _List) -> list[Row] | None:
    """The rows of a table without a header that goes on with the list above it, on the same page or the next, below
    that list's header: as wide, with a number in each row and amounts where that has prices. Else None."""
    rows = [above.header, *(row for row in table.rows if any(row))]
    near = above.header and above.page <= table.page <= above.page + 1
    if not near or len(rows) < 2 or {len(row) for row in rows} != {len(above.header)} or not _lists(rows):
        return None
    prices = [at for at, name in enumerate(above.header) if role_of(name) == "price"]
    return rows if prices and all(any(amount_of(row[at], ",") for row in rows[1:]) for at in prices) else None


def listing(table: Block) -> list[Row] | None:
    """The header of a list of articles and the rows below it; None where the table may be something else."""
    rows = [row for row in table.rows if any(row)]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        return None
    return rows if (is_header(rows[0]) and _lists(rows)) or _pairs(rows) else turned(rows)


def _pairs(rows: list[Row]) -> bool:
    """Whether each row says what goes with an article, as `Artikel | Nachfolger` heads it."""
    columns = columns_of(rows[0])
    columns.learn(rows[1:], None)
    return columns.paired and all(map(_is_one_name, rows[0])) and all(number_in(row, columns) for row in rows[1:])


def _lists(rows: list[Row]) -> bool:
    """Whether each row but headers is of one article."""
    header = rows[0]
    place = next(at for at, name in enumerate(header) if names_numbers(name))
    below = [row for row in rows if not (is_header(row) or _is_title(row))]
    whole = all(_is_number(row[place]) and sum(map(bool, row)) > 1 for row in below)
    return bool(below) and whole and all(map(_is_one_name, header))


def _is_title(row: Row) -> bool:
    """Whether a row is a family's title: words in its first cell and nothing beside them."""
    return bool(row[0]) and is_title(row[0], row)


def _is_one_name(header: str) -> bool:
    """Whether a header names a column of a list, and not two that a page's reader took for one (`Bezeichnung EAN`)."""
    words = header.split()
    halves = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    joined = role_of(header) is None and any(role_of(left) and role_of(right) for left, right in halves)
    return bool(header) and not joined and not _of_an_order(header)


def turned(rows: list[Row]) -> list[Row] | None:
    """The columns of a data sheet as rows, its first column being the header; None where it is no data sheet."""
    head, *below = rows
    if len(head) == 3 and role_of(head[2]) == "order_unit" and all(map(_says_nothing, head[:2])):
        rows = [_with_unit(row) for row in below]
    elif all(map(_says_nothing, head)) or (not head[0] and head[1:] in [row[1:] for row in below]):
        rows = below
    names = [row[0] for row in rows]
    numbers = [row[1:] for row in rows if role_of(row[0]) == "article" and names_numbers(row[0])]
    named = all(names) and len(set(names)) == len(names) >= MIN_NAMED and not any(map(_of_an_order, names))
    if not named or len(numbers) != 1 or not numbers[0] or not all(map(_is_number, numbers[0])):
        return None
    return list(zip(*rows, strict=True))


def _says_nothing(cell: str) -> bool:
    return _HEADS.fullmatch(cell.strip()) is not None


def _with_unit(row: Row) -> Row:
    name, value, unit = row
    return (f"{name} [{unit}]" if unit else name), value


def _of_an_order(name: str) -> bool:
    return _ORDERED.fullmatch(name.strip(" .:")) is not None


def _is_number(cell: str) -> bool:
    cell = without_notes(cell)
    return _NUMBER.fullmatch(cell) is not None and (" " not in cell or _WORDS.search(cell) is None)
