"""The columns of a sheet or CSV file: what each is, and how the table writes numbers and names."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

from servers.cradle.processing.extract.column_names import NUMBERS, dated, folded, role_of, scaled, split_unit, stated
from servers.cradle.processing.extract.note_marks import with_cents
from servers.cradle.processing.extract.pair_lists import (
    RELATED,
    are_articles,
    names_behind,
    names_others,
    paired,
    says_numbers,
    without_others,
)
from servers.cradle.processing.extract.quantities import Writing, currency_of, is_amount_alone, number_of
from servers.cradle.processing.extract.terms import Terms
from servers.cradle.processing.extract.validity import Validity
from servers.cradle.processing.extraction import Localised
from servers.cradle.processing.language import guess, guess_of_names

Row = tuple[str, ...]

_NUMBER = re.compile(r"^[^\d+−–(-]{0,4}([+−–-]?)([\d.,'’ \u00a0\u202f]*\d)([−-]?)\s*[^\d]{0,4}$")
_MINUS = str.maketrans("−–", "--")
_DECIMALS = re.compile(  # 0,65 kg
    r"[+-]?(?:\d+(?=[.,](?:\d\d?|\d{4,})(?!\d))|0(?=[.,]\d{3}(?!\d)))([.,])\d+(?:\s?(?:[cdkm]?m[²³23]?|[kmµ]?[gAVW]|k?VA|t"
    r"|m?l|[kMG]?Hz|k?Nm?|m?bar|k?Wh|lm|m?s|°C|K|%|k?Ω))?"
)
_THOUSANDS, _THOUSANDS_BY_COMMA = re.compile(r"\d{1,3}(?:\.\d{3})*|\d+"), re.compile(r"\d{1,3}(?:,\d{3})*|\d+")
_COUNTS = re.compile(
    r"(?:(?:lager|mindest|melde|ist|soll|rest|frei(?:er)?\s?)?bestand|verfügbar|stückzahl|stück|anzahl|(?:min\.?\s)?stock|qty"
    r"|quantity|pieces|available|on hand)(?:\s?[\[(]?(?:Stück|Stk\.?|St\.?|pcs)[\])]?)?",
    re.IGNORECASE,
)
_ONE = re.compile(r"1(?:\s?(?:Stück|Stk|St|pcs?|pieces?)\.?)?", re.IGNORECASE)
_CENTS = re.compile(r"[.,]\d{1,4}$")
_WITH_CENTS = re.compile(r"\d[.,]\d{2}(?:\d\d)?\D*$")
_PIECES = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:[., ]\d{3})+|\d+)(?![\d.,])")
_NO_DIGITS = re.compile(r"\D")
_THREE_ZEROS = re.compile(r"0|\d+[.,]000")
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")
MAX_NAME = 120  # signs of a description that is all that names the articles
_NAMING = ("name", "description")
_REPEATED = ("price", "lower_bound", "group", "followup", "accessories", "sparepart", "fits", "replaces")


class Figure(str):
    """A cell that its file holds as a number, so that its point is a decimal point. `unit` is shown beside it."""

    __slots__ = ()
    unit = ""


@lru_cache(maxsize=1024)
def measured_in(unit: str) -> type[Figure]:
    """The numbers with this unit or currency beside them: a class of its own, as a field makes each number slower."""
    return type("Measured", (Figure,), {"__slots__": (), "unit": unit})


def shown(cell: str) -> str:
    """The cell as a person reads it."""
    return f"{cell} {cell.unit}" if isinstance(cell, Figure) and cell.unit else str(cell)


@dataclass(slots=True)
class Columns:
    """What each column of a table is: its header, its role in a product or None, a unit or currency in the header, and
    of a price the quantity, the least quantity and the days that its header names. `validity` is that of all prices of
    the table, `title` what else the list's title says of them and `terms` the last one above, `begun` whether there are
    products above, `language` that of the names, `paired` whether the article's column is one of `pair_lists`,
    `described` whether its name is in one of descriptions, `figures` the decimal sign of its other numbers, `?` where
    these do not show it; `numbers` are some of its article numbers and GTINs in their order, where a column says what
    these fit or the list is one of pairs, `written` how they are written."""

    headers: Row
    roles: list[str | None] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[tuple[Localised, ...]] = field(default_factory=list)
    priced_for: list[str] = field(default_factory=list)
    priced_from: list[str] = field(default_factory=list)
    days: list[Validity] = field(default_factory=list)
    decimal: str = "."
    figures: str = "?"
    language: str = ""
    writing: Writing = field(default_factory=Writing)
    validity: Validity = field(default_factory=Validity)
    title: Terms = field(default_factory=Terms)
    terms: Terms = field(default_factory=Terms)
    begun: bool = False
    paired: bool = False
    described: bool = False
    numbers: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)

    def first(self, role: str, row: Row) -> str:
        """The first cell of the row that has the role and is not empty."""
        return next((row[i] for i, known in enumerate(self.roles) if known == role and i < len(row) and row[i]), "")

    def least(self, row: Row, price: int) -> str:
        """The cell that tells from which quantity on a price holds: of the nearest such column before it, else of one
        behind all prices, which is for each of them."""
        bounds = [at for at, role in enumerate(self.roles[: len(row)]) if role == "lower_bound"]
        before = [at for at in bounds if at < price]
        behind = [at for at in bounds if "price" not in self.roles[at:]]
        return next((row[at] for at in (*before[-1:], *behind)), "")

    def may_name(self, number: str) -> bool:
        """Whether a number may be an article's: it is written as one of these, and is no beginning of one, which a
        series has."""
        at = bisect_left(self.numbers, number)
        next_one = self.numbers[at] if at < len(self.numbers) else ""
        return next_one == number or (not next_one.startswith(number) and written(number) in self.written)

    @property
    def products(self) -> bool:
        """Whether rows of this table are products: an article number or GTIN, and something said about it."""
        known = {role for role in self.roles if role}
        return bool(known & {"article", "gtin"}) and len([header for header in self.headers if header]) >= 2

    def learn(self, sample: list[Row], before: Columns | None) -> None:
        """Finds out how the table writes numbers, from its headers' language and some of its rows; where these do not
        show it, as the table `before` it."""
        if "fits" in self.roles or self.paired:
            self.numbers = sorted({number for row in sample for role in NUMBERS if (number := self.first(role, row))})
            self.written = set(map(written, self.numbers))
        self._learn_of_others(sample)
        at = self.roles.index("name") if self.described else 0
        if self.described and any(len(row[at]) > MAX_NAME for row in sample if at < len(row)):
            self.roles[at] = "description"
        for at in scaled(self.headers, [None if role == "lower_bound" else role for role in self.roles]):
            if not all(row[at][0].isdigit() for row in sample if at < len(row) and row[at]):
                self.roles[at] = None  # Menge: Karton
        self._learn_scale(sample)
        self._learn_of_prices(sample, before)
        signs = {
            found[1]
            for row in sample
            for role, cell in zip(self.roles, row, strict=False)
            if role is None and not isinstance(cell, Figure) and (found := _DECIMALS.fullmatch(cell))
        }
        known = self.writing.sign or (signs.pop() if len(signs) == 1 else "" if signs else self._of_counts(sample))
        self.figures = known or (before.figures if before is not None else "?")
        said = (cell for row in sample for role, cell in zip(self.roles, row, strict=False) if role in _NAMING)
        self.language = guess_of_names(" ".join(said), self.writing.language)

    def _learn_of_others(self, sample: list[Row]) -> None:
        """Finds out whether names are of other articles, and whether pairs that do not say so are of articles."""
        words = _words(self.headers)
        if self.paired and not says_numbers(words, self.roles):
            others = [cell for row in sample for role, cell in zip(self.roles, row, strict=False) if role in RELATED]
            if not are_articles(others, self.may_name):
                self.roles, self.paired = [None if role == "article" else role for role in self.roles], False
        elif not self.paired and (places := names_behind(words, self.roles)) is not None:
            article, other, name = places
            rows = [(row[article], row[other], row[name]) for row in sample if len(row) > max(places) and row[other]]
            if names_others(rows):
                _assign(self, without_others(self.roles))

    def _of_counts(self, sample: list[Row]) -> str:
        """The decimal sign of a table that shows it by pieces alone: `1.200` of them are no fraction in German; where
        each is `12.000`, they may be written with three decimals."""
        grouped = {"de": (_THOUSANDS, ","), "en": (_THOUSANDS_BY_COMMA, ".")}.get(self.writing.language)
        for at, header in enumerate(self.headers if grouped else ()):
            cells = [row[at] for row in sample if at < len(row) and row[at]] if _COUNTS.fullmatch(header) else []
            alike = all(map(str.isdigit, cells)) or all(map(_THREE_ZEROS.fullmatch, cells))
            if grouped and all(map(grouped[0].fullmatch, cells)) and not alike:
                return grouped[1]
        return ""

    def _learn_scale(self, sample: list[Row]) -> None:
        """Finds the prices of a scale whose headers say the quantity alone, `ab 10 Stk` beside `1 Stk`: each of their
        cells is an amount of money."""
        bounds: dict[int, str] = {}
        bare = False
        for at, header in enumerate(self.headers):
            cells = [row[at] for row in sample if at < len(row) and row[at]]
            if self.roles[at] is None and cells and all(self._may_be_money(cell, header) for cell in cells):
                name, quantity, bound = stated(header)
                said = header if _ONE.fullmatch(header) else bound if not (name or quantity) else ""
                bounds |= {at: said} if said else {}
                bare |= bool(said) and not all(currency_of(f"{shown(cell)} {header}") for cell in cells)
        if all(map(_ONE.fullmatch, bounds.values())) or (bare and not _is_scale(bounds, sample)):
            return
        for at, bound in bounds.items():
            self.roles[at], self.priced_from[at] = "price", bound

    def _may_be_money(self, cell: str, header: str) -> bool:
        """Whether a cell is an amount with its currency, or with that of the title of a list without other prices."""
        text = shown(cell)
        titled = self.terms.currency and "price" not in self.roles and is_amount_alone(text)
        told = currency_of(f"{text} {header}") or titled
        return bool(told and "%" not in text and amount_of(cell, ","))

    def _learn_of_prices(self, sample: list[Row], before: Columns | None) -> None:
        language = guess(" ".join(self.headers))
        prices = [
            cell
            for row in sample
            for role, cell in zip(self.roles, row, strict=False)
            if role == "price" and not isinstance(cell, Figure)
        ]
        comma = any(re.search(r",(?:\d{1,2}|\d{4})\D*$|(?:^|\D)0?,\d{3}\D*$|\.\d{3},", cell) for cell in prices)
        point = any(re.search(r"\d\.\d{1,2}\D*$", cell) for cell in prices)
        if not comma and not point and before is not None and before.writing.sign:
            self.writing = Writing(before.writing.sign, language or before.writing.language)
            self.decimal = before.decimal
            return
        # `1,250` alone is a thousand in English, and beside `99.00`.
        comma = comma or (not point and language != "en" and any(re.search(r",\d{3}\D*$", cell) for cell in prices))
        self.writing = Writing("," if comma else "." if point else "", language)
        grouped = language == "de" and not point and any(re.search(r"\d\.\d{3}\b", cell) for cell in prices)
        self.decimal = "," if comma or grouped else "."


def _is_scale(bounds: dict[int, str], sample: list[Row]) -> bool:
    """Whether amounts without a currency are a scale's prices and no rebates, weights or pieces: they have cents and
    fall with the quantity. `bounds`: the least quantities by column."""
    pieces = {at: found[0] for at, bound in bounds.items() if (found := _PIECES.search(bound))}
    ordered = sorted(pieces, key=lambda at: int(_NO_DIGITS.sub("", pieces[at])))
    rows = [[row[at] for at in ordered if at < len(row) and row[at]] for row in sample]
    cents = all(_WITH_CENTS.search(cell) for row in rows for cell in row if not isinstance(cell, Figure))
    scales = [[float(amount_of(cell, ",") or 0) for cell in row] for row in rows]
    falls = any(
        scale[0] > scale[-1] and any(map(_CENTS.search, row)) for scale, row in zip(scales, rows, strict=True) if scale
    )
    never_rise = all(sorted(scale, reverse=True) == scale for scale in scales)
    return len(pieces) == len(bounds) and cents and never_rise and falls


def written(number: str) -> str:
    """How a number is written, whatever it is: KL-4711 and AB-100 as letters, a hyphen and digits."""
    return _DIGITS.sub("0", _LETTERS.sub("A", number))


def columns_of(headers: Row) -> Columns:
    """The roles of all columns under this header; a name that stands twice counts once, the rest are properties."""
    columns, known = Columns(headers), set(map(role_of, headers))
    naming = next((role for role in ("name", "type_name", "description") if role in known), None)
    for header in headers:
        name, unit = split_unit(header)
        role = role_of(header)
        role = "name" if role and role == naming else role
        bare, quantity, bound = stated(header) if role == "price" else (name, "", "")
        columns.roles.append(None if role in columns.roles and role not in _REPEATED else role)
        columns.names.append((bare or name) if quantity or bound else name)
        columns.labels.append((Localised(columns.names[-1] or _unnamed(len(columns.names))),))
        columns.units.append(unit)
        columns.priced_for.append(quantity)
        columns.priced_from.append(bound)
        columns.days.append((dated(header) if role == "price" else None) or Validity())
    for at in scaled(headers, columns.roles):
        columns.roles[at] = "lower_bound"
    columns.described = naming == "description"
    _pair(columns)
    return columns


def _pair(columns: Columns) -> None:
    """Finds the article's column of a list that only says what goes with it."""
    if set(NUMBERS) & set(columns.roles):
        return
    if (found := paired(_words(columns.headers), columns.roles)) is not None:
        columns.paired = True
        _assign(columns, found)


def _words(headers: Row) -> list[str]:
    return [folded(split_unit(header)[0]) for header in headers]


def _assign(columns: Columns, found: list[str | None]) -> None:
    """Gives the columns other roles. What was a price stays under its whole header, with the quantity it is for."""
    for at, role in enumerate(found):
        if columns.roles[at] == "price" and role is None:
            columns.labels[at] = (Localised(columns.headers[at]),)
    columns.roles = found
    columns.described = columns.described and "name" in found


def _unnamed(number: int) -> str:
    return f"Spalte {number}"


def label_of(columns: Columns, index: int) -> tuple[Localised, ...]:
    """What a column's cells are called as properties; one without a header by its number."""
    return columns.labels[index] if index < len(columns.labels) else (Localised(_unnamed(index + 1)),)


def amount_of(cell: str, decimal: str) -> str | None:
    """A price as digits with a decimal point, None where the cell holds no number. SAP writes a minus behind it;
    behind a number without decimals it may be the dash for none. Of one in brackets, an accountant's minus or an
    aside, the cell leaves open which it is."""
    text = with_cents(cell.strip())
    match = _NUMBER.match(text) if text else None
    if match is None:
        return None
    number = number_of(match[2], Writing("." if isinstance(cell, Figure) else decimal))
    if match[3] and (match[1] or not _CENTS.search(match[2])):
        return None
    return None if number is None else (match[1] or match[3]).translate(_MINUS) + number
