"""What a cell of a price column states: an amount, and for what quantity. Pure."""

from __future__ import annotations

from servers.cradle.processing.extract.column_names import is_price_alone
from servers.cradle.processing.extract.columns import Columns, Figure, Row, amount_of, shown
from servers.cradle.processing.extract.quantities import (
    Quantity,
    Writing,
    currency_of,
    is_amount_alone,
    is_package,
    priced_for,
    quantity_of,
)
from servers.cradle.processing.extract.validity import day_of
from servers.cradle.processing.extraction import Price


class Unclear(Exception):
    """It is open for what quantity a price is. Holds no content."""


def price_of(row: Row, columns: Columns, index: int) -> Price | None:
    """The price in a cell; None where it holds no amount.

    Raises:
        Unclear: cell, header or a column of its own name a quantity that can be read in two ways, or not all the same.
    """
    cell = row[index]
    if "%" in (text := shown(cell)):
        return None
    bare, stated = priced_for(text)
    amount = amount_of(bare if stated and not isinstance(cell, Figure) else cell, columns.decimal)
    if amount is None:
        return None
    quantity = _quantity(stated, row, columns, index)
    since, until = columns.first("valid_from", row), columns.first("valid_to", row)
    bound = columns.priced_from[index] or columns.least(row, index)
    return Price(
        amount=amount,
        currency=columns.first("currency", row) or _currency(text, columns, index),
        kind=columns.names[index],
        lower_bound=_read(bound, columns).number if bound else "",
        quantity=quantity.number,
        unit=quantity.unit or shown(columns.first("order_unit", row)),
        valid_from=day_of(since) if since else columns.days[index].start or columns.validity.start,
        valid_to=day_of(until) if until else columns.days[index].end or columns.validity.end,
    )


def _currency(cell: str, columns: Columns, index: int) -> str:
    """What cell or header says, else the list's title; '' where they may say one that is not known."""
    header = columns.headers[index]
    own = currency_of(f"{cell} {header}")
    return own or (columns.terms.currency if is_amount_alone(cell) and is_price_alone(header) else "")


def _quantity(stated: str, row: Row, columns: Columns, index: int) -> Quantity:
    """What cell, header and column say together, else the list's title; no number where none says anything."""
    said = (stated, columns.priced_for[index], columns.first("price_quantity", row))
    texts = [text for text in said if text] or [text for text in (columns.terms.quantity,) if text]
    found = [_unpacked(_read(text, columns), row, columns) for text in texts]
    if len({float(each.number) for each in found}) > 1:
        raise Unclear
    return Quantity(found[0].number if found else "", next((each.unit for each in found if each.unit), ""))


def _read(text: str, columns: Columns) -> Quantity:
    writing = Writing(".") if isinstance(text, Figure) else columns.writing
    quantity = quantity_of(shown(text), writing) or quantity_of(text, writing)
    if quantity is None:
        raise Unclear
    return quantity


def _unpacked(quantity: Quantity, row: Row, columns: Columns) -> Quantity:
    """A price of a package is one of what it holds, unless packages are what is ordered."""
    if not quantity.package:
        return quantity
    if is_package(unit := columns.first("order_unit", row)):
        return Quantity("1", unit)
    if quantity.number:
        return quantity
    held = columns.first("packing", row)
    content = _read(held, columns) if held else quantity
    return content if content.number else Quantity("1", quantity.unit)
