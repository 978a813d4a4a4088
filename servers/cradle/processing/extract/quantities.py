"""Numbers and quantities as people write them: `1.000`, `je 100 Stk`, `per 1,000 pcs`, `VPE 50`. Pure.

What a text leaves open stays open: `1.000` alone is one or a thousand, and no number is given for it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

_FIGURES = r"\d[\d.,'’ \u00a0\u202f]*"
_SPACES = re.compile(r"['’ \u00a0\u202f]")
_SPACED = re.compile(r"\d{1,3}(?:['’ \u00a0\u202f]\d{3})+(?:[.,]\d+)?")
_PACKAGE = r"VPE|VE|Verpackungseinheit|Packung|package|pack"
_QUANTITY = re.compile(
    rf"(?:(?:per|pro|je|für|for|à)\s+|/\s*)?(?:(?P<package>{_PACKAGE})\b[\s.:=(]*(?:(?:à|zu|von|mit|of)\s+)?)?"
    rf"(?P<number>{_FIGURES})?(?P<unit>C62|[^\W\d_][^\d()]{{0,18}}[23]?)?\)?",
    re.IGNORECASE,
)
_PER = re.compile(r"(?<!\w)(?:per|pro|je|für|for|à)(?!\w)|/", re.IGNORECASE)
_FROM = re.compile(r"(?<!\w)(?:ab|from)(?!\w)|≥|>=", re.IGNORECASE)
_MONEY = re.compile(r"\b(?:in\s+)?(?:EUR|Euro|CHF|USD|GBP)\b|[€$£]|\b(?:netto|brutto|net|gross)\b", re.IGNORECASE)
_DATE = re.compile(r"\d{1,2}\.\d{1,2}\.(?:\d{2,4})?|20[23]\d")
_ROUND = re.compile(r"10*|1[.,]000")  # what may stand behind a slash without a unit: else it is another price
_SIGNS = re.compile(r"[.,]")
_MARKS = re.compile(r"€|\$|£|[^\W\d_]+")
_UNKNOWN = re.compile(r"(?:kr|rs|fr)\.?", re.IGNORECASE)  # of which country is open
_NOTHING = re.compile(r"[\[(]\s*[\])]")
_CURRENCIES = {
    "€": "EUR", "eur": "EUR", "euro": "EUR", "chf": "CHF", "$": "USD", "usd": "USD", "gbp": "GBP", "£": "GBP",
    "sfr": "CHF", "pln": "PLN", "zł": "PLN", "czk": "CZK", "kč": "CZK", "sek": "SEK",
    "nok": "NOK", "dkk": "DKK", "huf": "HUF",
}  # fmt: skip
_IN_WORDS = {"hundert": "100", "hundred": "100", "tausend": "1000", "thousand": "1000"}
_COUNTED_IN = (
    "stück stk st stck stueck pcs pce pc piece pieces each ea c62 m mtr meter metre lfm km cm mm m² m2 qm m³ m3 l ltr "
    "liter litre ml kg kgm g t tonne paar pair set satz garnitur rolle roll rol ring rg karton kt ktn carton box kiste "
    "packung pack pak paket pkg vpe ve verpackungseinheit palette pal pallet bund beutel bag sack flasche bottle dose "
    "eimer gebinde blatt bogen tafel platte stange trommel"
)
_PACKED_IN = "vpe ve verpackungseinheit packung package pack pak paket pkg pk karton kt ktn carton box"
_UNITS, _PACKAGES = frozenset(_COUNTED_IN.split()), frozenset(_PACKED_IN.split())


class Writing(NamedTuple):
    """How a table writes numbers: the decimal sign that its prices show and its headers' language, '' for unknown."""

    sign: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """So many of a unit. `number` has a decimal point, `unit` is as written. `package`: what one package holds, whose
    number is '' where the text leaves it to the package."""

    number: str
    unit: str = ""
    package: bool = False


def number_of(figures: str, writing: Writing) -> str | None:
    """Digits with separators as a number with a decimal point; None where they are one in two ways, or in none."""
    if _SPACES.search(figures) and not _SPACED.fullmatch(figures):
        return None
    plain = _SPACES.sub("", figures)
    signs = _SIGNS.findall(plain)
    if not signs:
        return plain
    decimal = _decimal(plain, signs, writing)
    if decimal is None:
        return None
    grouping = "." if decimal == "," else ","
    whole, _, _ = plain.partition(decimal)
    grouped = re.fullmatch(rf"\d{{1,3}}(\{grouping}\d{{3}})+|\d*", whole)
    digits = plain.replace(grouping, "").replace(decimal, ".")
    return digits if grouped and re.fullmatch(r"\d*(\.\d+)?", digits) else None


def quantity_of(text: str, writing: Writing) -> Quantity | None:
    """The quantity that a text states; None where it states none, or leaves open which.

    A unit alone is one of it.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    unit = (match["unit"] or "").partition("/")[0].strip(" .:")
    if match["number"] is None:
        return _uncounted(unit, match["package"])
    number = number_of(match["number"].strip(" \u00a0\u202f"), writing)
    if number is None or float(number) <= 0 or _MONEY.fullmatch(unit):
        return None
    return Quantity(number, unit, match["package"] is not None)


def priced_for(text: str) -> tuple[str, str]:
    """A price or its header without the quantity that it names, and that quantity or '': `Preis`, `1.000 Stück`."""
    return _parted(_NOTHING.sub("", _MONEY.sub("", text)), _PER)


def priced_from(header: str) -> tuple[str, str]:
    """A price's header without the least quantity that it names, and that quantity: `Preis`, `100 Stk`."""
    return _parted(header, _FROM)


def currency_of(text: str) -> str:
    """The code of the first currency that a text names, '' for none."""
    return next(iter(currencies_of(text)), "")


def currencies_of(text: str) -> list[str]:
    """The codes of all currencies that a text names, in its order."""
    return [_CURRENCIES[mark] for mark in _MARKS.findall(text.lower()) if mark in _CURRENCIES]


def is_amount_alone(cell: str) -> bool:
    """Whether a cell is an amount and its quantity, with no word or sign left that may be a currency: no `12 kr`."""
    return not any(sign.isalpha() or _is_sign(sign) for sign in priced_for(cell)[0])


def is_currency(text: str) -> bool:
    """Whether a text beside a number is a currency, of a known code or not: `CHF`, `kr`, `¥`."""
    return bool(currency_of(text) or _UNKNOWN.fullmatch(text)) or any(map(_is_sign, text))


def _is_sign(sign: str) -> bool:
    return unicodedata.category(sign) == "Sc"


def is_counted(text: str) -> bool:
    """Whether a text is a number, of units that goods are counted or measured in, of no package: `100 Stück`, `m`."""
    stated = _QUANTITY.fullmatch(text.strip())
    unit = (stated["unit"] or "").strip(" .").lower() if stated else ""
    return bool(stated and not stated["package"] and (unit in _UNITS or unit in _IN_WORDS or not unit))


def is_package(unit: str) -> bool:
    """Whether a unit is a package, so that a number of pieces is not one of units."""
    return unit.strip(" .").lower() in _PACKAGES


def _decimal(plain: str, signs: list[str], writing: Writing) -> str | None:
    """The decimal sign of a number; where it has none, the sign that does not group it."""
    other = {".": ",", ",": "."}
    last = signs[-1]
    if len(set(signs)) == 2:
        return last
    if len(signs) > 1:
        return other[last]
    head, _, tail = plain.partition(last)
    if len(tail) != 3 or len(head) > 3 or head.startswith("0") or not head:
        return last
    native = {"de": ",", "en": "."}.get(writing.language, "")
    if writing.sign:
        contrary = writing.sign == last == other.get(native)
        return None if contrary else writing.sign
    return native if native == other[last] else None


def _uncounted(unit: str, package: str | None) -> Quantity | None:
    folded = unit.lower()
    if package is not None and not unit:
        return Quantity("", package, package=True)
    if folded in _IN_WORDS:
        return Quantity(_IN_WORDS[folded])
    return Quantity("1", unit) if folded in _UNITS and package is None else None


def _parted(text: str, mark: re.Pattern[str]) -> tuple[str, str]:
    for match in mark.finditer(text):
        rest = text[match.end() :].strip(" )]")
        if _states_quantity(rest, slash=match[0] == "/"):
            return text[: match.start()].strip(" [(-–:,"), rest
    return text, ""


def _states_quantity(text: str, slash: bool) -> bool:
    stated = _QUANTITY.fullmatch(text)
    if stated is None or _DATE.fullmatch(text):
        return False
    number, unit = (stated["number"] or "").strip(), (stated["unit"] or "").strip(" .").lower()
    if number and not unit and not stated["package"]:
        return not slash or _ROUND.fullmatch(number) is not None
    return bool(number or stated["package"]) or unit in _UNITS or unit in _IN_WORDS
