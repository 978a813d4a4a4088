"""Rows of a sheet or CSV file: where the header is, and which rows are products (German and English headers)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from servers.cradle.processing.extract.text import row_text, table_block
from servers.cradle.processing.extraction import Block, Classification, Feature, Item, Localised, Price, Product

Row = tuple[str, ...]
SEARCHED = 25
SAMPLED = 200
BLOCK_ROWS = 200

_FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_UNIT = re.compile(r"^(?P<name>.+?)\s*[\[(](?:in\s+)?(?P<unit>[^\])]{1,12})[\])]$")
_NUMBER = re.compile(r"^[^\d+-]{0,4}([+-]?[\d.,' ]*\d)\s*[^\d]{0,4}$")
_CURRENCIES = {
    "€": "EUR",
    "eur": "EUR",
    "euro": "EUR",
    "chf": "CHF",
    "$": "USD",
    "usd": "USD",
    "gbp": "GBP",
    "£": "GBP",
}

_COLUMNS: dict[str, list[str]] = {
    "article": [
        "artikelnummer",
        "artikelnr",
        "artnr",
        "artikelno",
        "artikelid",
        "bestellnummer",
        "bestellnr",
        "bestnr",
        "materialnummer",
        "materialnr",
        "produktnummer",
        "produktnr",
        "sachnummer",
        "typnummer",
        "supplieraid",
        "supplierpid",
        "articlenumber",
        "articleno",
        "articlenr",
        "itemnumber",
        "itemno",
        "partnumber",
        "partno",
        "productnumber",
        "productno",
        "productid",
        "ordernumber",
        "orderno",
        "sku",
        "ordercode",
        "bestellcode",
    ],
    "gtin": [
        "ean",
        "gtin",
        "eancode",
        "eannummer",
        "eannr",
        "gtincode",
        "ean13",
        "gtin13",
        "barcode",
        "upc",
        "eangtin",
        "gtinean",
    ],
    "name": [
        "bezeichnung",
        "artikelbezeichnung",
        "produktbezeichnung",
        "produktname",
        "artikelname",
        "kurztext",
        "kurzbezeichnung",
        "kurzbeschreibung",
        "benennung",
        "name",
        "productname",
        "articlename",
        "itemname",
        "title",
        "titel",
        "description",
        "shortdescription",
        "descriptionshort",
    ],
    "description": [
        "langtext",
        "langbeschreibung",
        "beschreibung",
        "artikelbeschreibung",
        "produktbeschreibung",
        "longdescription",
        "descriptionlong",
        "longtext",
        "details",
    ],
    "manufacturer": ["hersteller", "herstellername", "marke", "manufacturer", "manufacturername", "brand"],
    "manufacturer_number": [
        "herstellernummer",
        "herstellernr",
        "herstellerartikelnummer",
        "herstellerartikelnr",
        "herstellerteilenummer",
        "mpn",
        "manufacturernumber",
        "manufacturerpartnumber",
        "manufacturerpartno",
        "manufacturerpid",
        "manufactureraid",
    ],
    "type_name": ["typ", "type", "typbezeichnung", "modell", "model"],
    "price": [
        "preis",
        "listenpreis",
        "bruttopreis",
        "nettopreis",
        "bruttolistenpreis",
        "verkaufspreis",
        "vkpreis",
        "uvp",
        "stueckpreis",
        "einzelpreis",
        "price",
        "listprice",
        "grossprice",
        "netprice",
        "unitprice",
        "rrp",
    ],
    "currency": ["waehrung", "currency", "whg"],
    "order_unit": ["einheit", "mengeneinheit", "bestelleinheit", "me", "unit", "orderunit", "uom"],
    "price_quantity": ["preiseinheit", "pe", "preismenge", "priceunit", "pricequantity", "preisbasis"],
    "lower_bound": [
        "mindestmenge",
        "staffelmenge",
        "abmenge",
        "lowerbound",
        "minquantity",
        "moq",
        "mindestbestellmenge",
    ],
    "group": [
        "warengruppe",
        "produktgruppe",
        "artikelgruppe",
        "kategorie",
        "category",
        "productgroup",
        "productcategory",
        "group",
        "gruppe",
    ],
}
_ROLE_OF = {word: role for role, words in _COLUMNS.items() for word in words}


@dataclass(slots=True)
class Columns:
    """What each column of a table is: its header, its role in a product or None, a unit or currency in the header."""

    headers: Row
    roles: list[str | None] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    decimal: str = "."

    def first(self, role: str, row: Row) -> str:
        """The first cell of the row that has the role and is not empty."""
        return next((row[i] for i, known in enumerate(self.roles) if known == role and i < len(row) and row[i]), "")

    @property
    def products(self) -> bool:
        """Whether rows of this table are products: an article number or GTIN, and something said about it."""
        known = {role for role in self.roles if role}
        return bool(known & {"article", "gtin"}) and len([header for header in self.headers if header]) >= 2


def read_rows(rows: Iterable[Row], page: int = 0, name: str = "") -> Iterator[Item]:
    """Blocks and products of a table's rows, in order; each row is in exactly one of them."""
    stream = iter(rows)
    head = list(islice(stream, SEARCHED))
    position = header_position(head)
    if position is None:
        yield from _tables(chain(head, stream), None, page)
        return
    yield from _tables(head[:position], None, page)
    columns = columns_of(head[position])
    body = chain(head[position + 1 :], stream)
    if not columns.products:
        yield from _tables(body, columns.headers, page)
        return
    sample = list(islice(body, SAMPLED))
    columns.decimal = decimal_sign(columns, sample)
    yield from _products(chain(sample, body), columns, page, name)


def header_position(rows: list[Row]) -> int | None:
    """Where the header is among the first rows: the one with most known names, else the first that is all words."""
    scored = [(len([1 for cell in row if role_of(cell)]), -index) for index, row in enumerate(rows)]
    if scored:
        known, index = max(scored)
        if known >= 2:
            return -index
    for index, row in enumerate(rows[:-1]):
        filled = [cell for cell in row if cell]
        if (
            len(filled) >= 2
            and len(filled) == len([c for c in rows[index + 1] if c])
            and not any(map(_numeric, filled))
        ):
            return index
    return None


def role_of(header: str) -> str | None:
    """The role that a column's header names, None where it is any other property."""
    name, _ = _split_unit(header)
    return _role(name) or _role(header)


def columns_of(headers: Row) -> Columns:
    """The roles of all columns under this header; a name that stands twice counts once, the rest are properties."""
    columns = Columns(headers)
    for header in headers:
        name, unit = _split_unit(header)
        role = role_of(header)
        if role == "type_name" and "name" not in {role_of(other) for other in headers}:
            role = "name"
        columns.roles.append(None if role in columns.roles and role not in ("price", "group") else role)
        columns.names.append(name)
        columns.units.append(unit)
    return columns


def decimal_sign(columns: Columns, sample: list[Row]) -> str:
    """The decimal sign of the price columns: a comma where any price of the sample ends like `,5` or `,50`."""
    for row in sample:
        for role, cell in zip(columns.roles, row, strict=False):
            if role == "price" and re.search(r",\d{1,4}\D*$", cell) and not re.search(r",\d{3}\.\d", cell):
                return ","
    return "."


def amount_of(cell: str, decimal: str) -> str | None:
    """A price as digits with a decimal point, None where the cell holds no number."""
    match = _NUMBER.match(cell.strip())
    if match is None:
        return None
    digits = match.group(1).replace(" ", "").replace("'", "")
    grouping = "." if decimal == "," else ","
    digits = digits.replace(grouping, "").replace(decimal, ".")
    return digits if re.fullmatch(r"[+-]?\d+(\.\d+)?", digits) else None


def _role(header: str) -> str | None:
    folded = re.sub(r"[^a-z0-9]", "", header.lower().translate(_FOLD))
    if role := _ROLE_OF.get(folded):
        return role
    shorter = re.sub(r"(ineuro|ineur|euro|eur|chf|usd|netto|brutto|de|deu|en|eng)$", "", folded)
    return _ROLE_OF.get(shorter) if shorter and shorter != folded else None


def _split_unit(header: str) -> tuple[str, str]:
    match = _UNIT.match(header.strip())
    return (match.group("name"), match.group("unit")) if match else (header.strip(), "")


def _numeric(cell: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[\d.,' ]+%?", cell))


def _products(rows: Iterable[Row], columns: Columns, page: int, name: str) -> Iterator[Item]:
    others: list[Row] = []
    for row in rows:
        if not any(row):
            continue
        number = columns.first("article", row) or columns.first("gtin", row)
        if not number:
            others.append(row)
            if len(others) < BLOCK_ROWS:
                continue
        if others:
            yield from _tables(others, columns.headers, page)
            others = []
        if number:
            yield _product(row, number, columns, page, name)
    yield from _tables(others, columns.headers, page)


def _product(row: Row, number: str, columns: Columns, page: int, table: str) -> Product:
    prices, groups, features = [], [], []
    named = {"article": number}
    for index, cell in enumerate(row):
        role = columns.roles[index] if index < len(columns.roles) else None
        if not cell:
            continue
        if role == "price" and (amount := amount_of(cell, columns.decimal)) is not None:
            prices.append(_price(amount, cell, row, columns, index))
        elif role == "group":
            groups.append(Classification(columns.headers[index], cell))
        elif role in (None, "price"):
            features.append(_feature(cell, columns, index))
        elif role not in ("currency", "price_quantity", "lower_bound") or "price" not in columns.roles:
            named.setdefault(role, cell)
    unpriced = _unpriced(row, columns) if not prices else []
    return Product(
        article_number=number,
        names=_localised(named.get("name", "")),
        descriptions=_localised(named.get("description", "")),
        gtin=named.get("gtin", ""),
        manufacturer=named.get("manufacturer", ""),
        manufacturer_number=named.get("manufacturer_number", ""),
        type_name=named.get("type_name", ""),
        order_unit=named.get("order_unit", ""),
        classifications=tuple(groups),
        features=tuple(features + unpriced),
        prices=tuple(prices),
        properties=(("table", table),) if table else (),
        page=page,
    )


def _price(amount: str, cell: str, row: Row, columns: Columns, index: int) -> Price:
    marks = re.findall(r"€|\$|£|[a-z]+", f"{cell} {columns.headers[index]}".lower())
    currency = next((_CURRENCIES[mark] for mark in marks if mark in _CURRENCIES), "")
    return Price(
        amount=amount,
        currency=columns.first("currency", row) or currency,
        kind=columns.names[index],
        lower_bound=columns.first("lower_bound", row),
        quantity=columns.first("price_quantity", row),
        unit=columns.first("order_unit", row),
    )


def _feature(cell: str, columns: Columns, index: int) -> Feature:
    known = index < len(columns.headers)
    name = (columns.names[index] if known else "") or f"Spalte {index + 1}"
    unit = columns.units[index] if known else ""
    return Feature(names=(Localised(name),), values=(Localised(cell),), unit=unit, order=str(index + 1))


def _unpriced(row: Row, columns: Columns) -> list[Feature]:
    """What would have been said of a price, where the row has none: kept as properties so that nothing is lost."""
    kept = ("currency", "price_quantity", "lower_bound")
    return [
        _feature(cell, columns, index)
        for index, cell in enumerate(row[: len(columns.roles)])
        if cell and columns.roles[index] in kept and "price" in columns.roles
    ]


def _localised(text: str) -> tuple[Localised, ...]:
    return (Localised(text),) if text else ()


def _tables(rows: Iterable[Row], headers: Row | None, page: int) -> Iterator[Block]:
    stream = (row for row in rows if any(row))
    while held := list(islice(stream, BLOCK_ROWS)):
        if headers is None and all(len([cell for cell in row if cell]) == 1 for row in held):
            yield Block("paragraph", "\n".join(row_text([cell for cell in row if cell]) for row in held), page=page)
            continue
        header = [list(headers)] if headers is not None else []
        yield table_block(header + [list(row) for row in held], len(header), page=page)
