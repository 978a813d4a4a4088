"""Rows of a sheet or CSV file: where the headers are, and which rows are products (German and English headers)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from servers.cradle.processing.extract.column_names import MAX_HEADER, names_numbers, role_of
from servers.cradle.processing.extract.columns import Columns, Figure, Row, columns_of, label_of, shown, written
from servers.cradle.processing.extract.note_marks import without_notes
from servers.cradle.processing.extract.prices import Unclear, price_of
from servers.cradle.processing.extract.quantities import priced_for
from servers.cradle.processing.extract.second_header import with_second
from servers.cradle.processing.extract.terms import terms_of
from servers.cradle.processing.extract.text import row_text, table_block
from servers.cradle.processing.extract.validity import Validity, day_of, names_prices, states, validity_of
from servers.cradle.processing.extraction import (
    Block,
    Classification,
    Feature,
    Item,
    Localised,
    Price,
    Product,
    Reference,
)

SEARCHED = 25
SAMPLED = 200
BLOCK_ROWS = 200
_IDENTIFIERS = ("article", "gtin", "manufacturer_number")
_REFERENCES = ("followup", "accessories", "sparepart", "fits", "replaces")
_MEASURE = re.compile(r"[\d.,/x-]+[^\W\d_]{1,3}[²³]?")
_FIGURES = re.compile(r"[+-]?[\d.,'’ \u00a0\u202f]+%?")
_WORDS = re.compile(r"[^\W\d_]{4,}")
_TITLE = re.compile(r"[^\W\d_]{3,}[a-zäöüß]{2,} ")  # `Netzteile 24 V`
_SUMS = r"(?:(?:zwischen|gesamt|end|teil|netto|brutto|gruppen)-?)?summen?"
_CARRIED = r"übertrag\W*|sub-?total\W*"
_BESIDE_TAX = r"(?:(?:zzgl|inkl|zuzüglich)\b\.?\s?)?"
_RATE = r"[.:]?(?:[\s(]*\d{1,2}(?:[.,]\d)?)?[^\w-]*"
_SUM = re.compile(
    rf"{_SUMS}\b[^\d]*\d{{0,4}}\W*|(?:gesamt|end|netto|brutto|rechnungs)(?:betrag|preis|wert)\W*|{_CARRIED}"
    rf"|(?:grand\s)?total\W*|sum\W*|{_BESIDE_TAX}(?:mwst|ust|mehrwertsteuer|umsatzsteuer|vat)\b{_RATE}",
    re.IGNORECASE,
)
_CERTAIN = re.compile(  # whatever is beside it: no article has such a number
    rf"{_SUMS}(?:\s[^\W\d]+)*\W*|{_CARRIED}|{_BESIDE_TAX}(?:mwst|mehrwertsteuer|umsatzsteuer)\b(?!-){_RATE}",
    re.IGNORECASE,
)
_OF_A_SUM = re.compile(r"(?:(?:grand\s)?total|sum|vat|ust)(?:\s|$)", re.IGNORECASE)  # Total excl. VAT
_SAY_WHAT_IT_IS = ("name", "description", "type_name", "gtin", "manufacturer_number")
_DECIMAL = r"(?:(?<=[^\W\d]\d)|(?<=[/-]\d)|(?<=[^\W\d]\d\d)|(?<=[/-]\d\d)),(?=\d\d?[/-]\w)"  # RK-2,5-GR
_ONE_NUMBER = re.compile(rf"(?=.*\d)(?:[\w./+-]|{_DECIMAL}){{4,40}}")
_OF_ALL = re.compile(
    r"(?:(?:alle|sämtliche|unsere|die|all)\s)?(?:netto|brutto|listen)?(?:preise?|prices?)\b", re.IGNORECASE
)
_WHOLE_NUMBER = re.compile(r"(?=.*\d)[^\W\d_]+[\w.+-]{3,}")
_SEVERAL = re.compile(r"[;|\n]|,\s|,(?=[^\W\d_])|\s[+/]\s|\s(?:und|and|oder|or)\s")
_DAYS = ("valid_from", "valid_to")
_OF_A_PRICE = ("currency", "price_quantity", "lower_bound", *_DAYS)
_UNCLEAR = {"de": "Menge nicht eindeutig", "en": "quantity unclear"}
_UNCLEAR_DAYS = {"de": "Gültigkeit der Preise (nicht eindeutig)", "en": "Validity of prices (unclear)"}


def read_rows(rows: Iterable[Row], page: int = 0, name: str = "") -> Iterator[Item]:
    """Blocks and products of a table's rows, in order; each row is in exactly one of them."""
    stream = iter(rows)
    head = list(islice(stream, SEARCHED))
    position = header_position(head)
    if position is None:
        yield from _tables(chain(head, stream), None, page)
        return
    yield from _tables(head[:position], None, page)
    columns, first = _header_of(head, position)
    body = chain(head[first:], stream)
    if not columns.products:
        yield from _tables(body, columns.headers, page)
        return
    said = [name, *_said(head[:position])]
    columns.validity, columns.title = validity_of(said) or Validity(), terms_of(said)
    columns.terms = columns.title
    yield from _blocks(body, columns, page, name)


def _header_of(head: list[Row], position: int) -> tuple[Columns, int]:
    """The columns under the header, which may have a second row, and where the rows below it begin."""
    columns, first = columns_of(tuple(map(shown, head[position]))), position + 1
    if columns.products and first + 1 < len(head) and number_in(head[first + 1], columns):
        numbers = [at for at, role in enumerate(columns.roles) if role in ("article", "gtin")]
        if (whole := with_second(head[position], head[first], head[first + 1 :], numbers)) is not None:
            return columns_of(whole), first + 1
    return columns, first


def products_below(rows: Sequence[Row], said: Iterable[str], page: int, name: str = "") -> Iterator[Item]:
    """Blocks and products of rows of which the first is the header. `said`: lines that may say how long prices hold,
    their currency and what quantity they are for."""
    columns, said = columns_of(rows[0]), list(said)
    columns.validity, columns.title = validity_of(said) or Validity(), terms_of(said)
    columns.terms = columns.title
    yield from _blocks(iter(rows[1:]), columns, page, name)


def header_position(rows: list[Row]) -> int | None:
    """Where the header is among the first rows: the first that products follow, else the one with most known names,
    else the first that is all words."""
    scored = [(len([1 for cell in row if role_of(cell)]), -index) for index, row in enumerate(rows)]
    if (first := _first_of_products(rows, [known for known, _ in scored])) is not None:
        return first
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


def _first_of_products(rows: list[Row], known: list[int]) -> int | None:
    """The first header of products, with an article number or GTIN below it; of several one after the other, that
    with most known names."""
    run: list[int] = []
    for index, row in enumerate(rows):
        if is_header(row):
            run = [*run, index] if run and run[-1] == index - 1 else [index]
        elif run and any(map(str.isdigit, number_in(row, columns_of(rows[run[-1]])))):
            return max(run, key=lambda each: (known[each], -each))
    return None


def is_header(row: Row) -> bool:
    """Whether a row is nothing but words, and two of them or more name columns, an article number or GTIN among them.

    A price list may have a header for each family of products.
    """
    if not any(map(names_numbers, row)) or any(isinstance(cell, Figure) or _numeric(cell) for cell in row):
        return False
    return names_columns(row)


def names_columns(row: Sequence[str]) -> bool:
    """Whether two cells of a row or more are known names of columns."""
    return len(_roles(row)) >= 2


def _numeric(cell: str) -> bool:
    return _FIGURES.fullmatch(cell) is not None


class _Block:
    """The rows up to the next header, which is kept."""

    def __init__(self, rows: Iterator[Row], header: Row) -> None:
        self._rows = rows
        self._known = len(_roles(header))
        self.header: Row = ()

    def __iter__(self) -> Iterator[Row]:
        first = True
        for row in self._rows:
            if is_header(row) and not (first and len(_roles(row)) <= self._known):  # else the same in another language
                self.header = row
                return
            first = first and not any(row)
            yield row


def _roles(row: Sequence[str]) -> set[str]:
    return {role for cell in row if 0 < len(cell) <= MAX_HEADER and (role := role_of(cell))}


def _blocks(rows: Iterator[Row], columns: Columns, page: int, name: str) -> Iterator[Item]:
    """Products and tables, each row under the header above it."""
    before = None
    while True:
        block = _Block(rows, columns.headers)
        stream = iter(block)
        sample = list(islice(stream, SAMPLED))
        columns.learn(sample, before)
        yield from _products(chain(sample, stream), columns, page, name)
        if not block.header:
            return
        before, columns = columns, columns_of(tuple(map(shown, block.header)))
        columns.validity, columns.begun = before.validity, before.begun
        columns.title, columns.terms = before.title, before.terms


def _said(rows: list[Row]) -> Iterator[str]:
    """The texts of rows that may say from when prices hold: a cell that does by itself, else the whole row."""
    for row in rows:
        cells = [shown(cell) for cell in row if cell]
        yield from [cell for cell in cells if states(cell)] or [" ".join(cells)]


def number_in(row: Row, columns: Columns) -> str:
    """A product's article number or GTIN; '' for a row that has none, is a title, a sum or a header once more."""
    number = _identifier(columns.first("article", row) or columns.first("gtin", row))
    if columns.paired:
        return number if _ONE_NUMBER.fullmatch(number) else ""
    said = number and not is_title(number, row) and not names_numbers(number) and not _is_sum(number, row, columns)
    return number if said else ""


def _is_sum(number: str, row: Row, columns: Columns) -> bool:
    """Whether a row is a sum or a tax of those above: called so, and nothing beside it says what article it is. Where
    a list has no names, `VAT 10` is a number."""
    if not _SUM.fullmatch(number) or ("name" not in columns.roles and any(map(str.isdigit, number))):
        return False
    if _CERTAIN.fullmatch(number):
        return not columns.first("gtin", row)
    return all(map(_says_no_article, (columns.first(role, row) for role in _SAY_WHAT_IT_IS)))


def _says_no_article(cell: str) -> bool:
    return not cell or bool(_SUM.fullmatch(cell) or _OF_A_SUM.match(cell)) or (cell[-1] == "%" and _numeric(cell))


def _identifier(cell: str) -> str:
    """A number without that of a note; a figure stays one."""
    return cell if isinstance(cell, Figure) else without_notes(cell)


def _is_noted(role: str, cell: str) -> bool:
    """Whether a cell of a price or an identifier has a note's number, with which it stays a property too."""
    return (role == "price" or role in _IDENTIFIERS) and _identifier(cell) != cell


def is_title(number: str, row: Row) -> bool:
    """Whether a row is a family's title or a note: words in the column of article numbers and nothing beside them."""
    if isinstance(number, Figure) or len([1 for cell in row if cell]) > 1:
        return False
    words = _WORDS.findall(number)
    return len(words) >= 2 or (bool(words) and not any(map(str.isdigit, number))) or _TITLE.search(number) is not None


def _products(rows: Iterable[Row], columns: Columns, page: int, name: str) -> Iterator[Item]:
    others: list[Row] = []
    for row in rows:
        if not any(row):
            continue
        number = number_in(row, columns)
        if not number:
            others.append(row)
            if len(others) < BLOCK_ROWS:
                continue
        if others:
            yield from _others(others, columns, page)
            others = []
        if number:
            columns.begun = True
            yield _product(row, number, columns, page, name)
    yield from _others(others, columns, page)


def _others(rows: list[Row], columns: Columns, page: int) -> Iterator[Block]:
    """Rows that are no products: titles alone as a paragraph, else a table. What they say of prices holds below."""
    said = list(_said(rows))
    validity = validity_of(said)
    if validity is not None and (not validity.unclear or names_prices(validity.unclear)):
        columns.validity = validity
    titles = all(len([1 for cell in row if cell]) == 1 and _heads(row, columns) for row in rows)
    columns.terms = terms_of(said, between=True).before(
        columns.terms.beyond(columns.title) if titles else columns.terms
    )
    if not columns.begun and any(map(_OF_ALL.match, said)):
        columns.title = columns.terms
    yield from _tables(rows, None if titles else columns.headers, page)


def _heads(row: Row, columns: Columns) -> bool:
    return bool(columns.first("article", row) or columns.first("gtin", row))


def _product(row: Row, number: str, columns: Columns, page: int, table: str) -> Product:
    prices, features = _prices(row, columns)
    groups, references = [], list[Reference]()
    named = {"article": str(number)}
    for index, cell in enumerate(row):
        role = columns.roles[index] if index < len(columns.roles) else None
        if not cell or role == "price" or role in _OF_A_PRICE:
            continue
        if role == "group":
            groups.append(Classification(columns.headers[index], shown(cell)))
        elif role in _REFERENCES and (others := _article_numbers(cell, role, columns)):
            references += [Reference(role, other) for other in others]
        elif role in (None, "packing", *_REFERENCES):
            features.append(_feature(cell, columns, index))
        else:
            named.setdefault(role, str(_identifier(cell)) if role in _IDENTIFIERS else shown(cell))
            features += [_feature(cell, columns, index)] if _is_noted(role, cell) else []
    features.sort(key=lambda feature: int(feature.order))
    return Product(
        article_number=named["article"],
        names=_localised(named.get("name", "")),
        descriptions=_localised(named.get("description", "")),
        gtin=named.get("gtin", ""),
        manufacturer=named.get("manufacturer", ""),
        manufacturer_number=named.get("manufacturer_number", ""),
        type_name=named.get("type_name", ""),
        order_unit=named.get("order_unit", ""),
        classifications=tuple(groups),
        features=tuple(features),
        prices=tuple(prices),
        references=tuple(references),
        properties=(("table", table),) if table else (),
        page=page,
        language=columns.language,
    )


def _article_numbers(cell: str, role: str, columns: Columns) -> list[str]:
    """The article numbers that a cell lists; none where it says anything else, such as what size or which series an
    article fits."""
    found = [without_notes(part.strip()) for part in _SEVERAL.split(_apart(str(cell)))]
    if role == "fits" and any(_MEASURE.fullmatch(each) or not columns.may_name(each) for each in found):
        return []
    return found if all(_ONE_NUMBER.fullmatch(each) and not day_of(each) for each in found) else []


def _apart(cell: str) -> str:
    """A cell with blanks around the slashes between numbers that are written alike: ET-1001/ET-1002 are two."""
    parts = [part.strip() for part in cell.split("/")]
    alike = len({written(part) for part in parts}) == 1 and all(map(_WHOLE_NUMBER.fullmatch, parts))
    return " / ".join(parts) if alike else cell


def _prices(row: Row, columns: Columns) -> tuple[list[Price], list[Feature]]:
    """The row's prices; and as properties, so that nothing is lost, price cells that hold no amount or leave open for
    what quantity it is, and what would have been said of a price where not every one could be told."""
    prices, features, unclear = [], [], False
    for index, role in enumerate(columns.roles[: len(row)]):
        if role != "price" or not row[index]:
            continue
        try:
            price = price_of(row, columns, index)
        except Unclear:
            unclear = True
            features.append(_unclear(row[index], columns, index))
        else:
            prices += [price] if price else []
            noted = _is_noted(role, priced_for(shown(row[index]))[0])
            features += [_feature(row[index], columns, index)] if noted or not price else []
    features += [
        _feature(row[index], columns, index)
        for index, role in enumerate(columns.roles[: len(row)])
        if row[index]
        and ((role in _OF_A_PRICE and (unclear or not prices)) or (role in _DAYS and not day_of(row[index])))
    ]
    if prices and columns.validity.unclear:
        name = _UNCLEAR_DAYS.get(columns.writing.language, _UNCLEAR_DAYS["de"])
        features.append(Feature(names=(Localised(name),), values=(Localised(columns.validity.unclear),), order="0"))
    return prices, features


def _unclear(cell: str, columns: Columns, index: int) -> Feature:
    """A price as written, under its whole header, that may be the only one to name the quantity."""
    note = _UNCLEAR.get(columns.writing.language, _UNCLEAR["de"])
    name = f"{columns.headers[index]} ({note})"
    return Feature(names=(Localised(name),), values=(Localised(shown(cell)),), order=str(index + 1))


def _feature(cell: str, columns: Columns, index: int) -> Feature:
    unit = columns.units[index] if index < len(columns.units) else ""
    unit, decimal = (cell.unit or unit, ".") if isinstance(cell, Figure) else (unit, columns.figures)
    return Feature(
        names=label_of(columns, index), values=(Localised(str(cell)),), unit=unit, order=str(index + 1), decimal=decimal
    )


def _localised(text: str) -> tuple[Localised, ...]:
    return (Localised(text),) if text else ()


def _tables(rows: Iterable[Row], headers: Row | None, page: int) -> Iterator[Block]:
    stream = (row for row in rows if any(row))
    while held := list(islice(stream, BLOCK_ROWS)):
        if headers is None and all(len([cell for cell in row if cell]) == 1 for row in held):
            yield Block(
                "paragraph", "\n".join(row_text([shown(cell) for cell in row if cell]) for row in held), page=page
            )
            continue
        header = [list(headers)] if headers is not None else []
        yield table_block(header + [list(map(shown, row)) for row in held], len(header), page=page)
