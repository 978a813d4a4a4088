"""What the lines above a price list say of all its prices: their currency, and for what quantity they are. Pure.

`Alle Preise in EUR zzgl. MwSt.`, `Price list CHF 2026`, `Preise je 100 Stück`. A line counts where it names prices and
nothing that could be only a part of them; where the lines name two currencies or quantities, none is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from servers.cradle.processing.extract.quantities import currency_of, is_counted, priced_for

MAX_LINE = 300
UNCLEAR = "?"  # a quantity that is none
_SIGN = r"(?:EUR|Euro|CHF|USD|GBP)\b|[€$£]"
_CURRENCY = r"(?:EUR|Euro|CHF|USD|GBP)(?!-?\w|\sPal)|[€$£]"  # no Euro-Paletten
# A closed list: Kupferpreise and Frachtpreise are of something else.
_KIND = r"(?:brutto|netto)?(?:listen|verkaufs|einkaufs|händler|staffel|stück|einzel)?"
_SORT = r"(?:(?:list|net|gross|unit)\s)?"
_ONE = rf"(?:{_KIND}preis|UVP|{_SORT}price)\b(?!-)"
_ALL = rf"(?:{_KIND}preisen?|{_SORT}prices)\b(?!-)"
_LIST = rf"(?:{_KIND}preisliste|{_SORT}price\s?list)\b(?!-)"
_LEAD = r"\b(?:alle|sämtliche|unsere|die|(?:aktuelle|angegebene|genannte)n?|all|our|the)\s"
_FIRM = r"\b(?:GmbH|AG|KG|SE|Ltd\.?|Inc\.?)\s"
_PRICES = rf"(?:(?<![\w-]){_LIST}|(?:^|[^\w\s]\s|[(:,;|\d]\s?|{_LEAD}|{_FIRM}){_ALL}|^{_ONE})"
_FILLING = r"20[23]\d|netto|brutto|net|gross|sind|verstehen\ssich|gelten|are|zzgl\.?\sMwSt\.?|zuzüglich\sMwSt\.?"
_YEAR = r"20[23]\d\b"
_GOES_ON = (  # else it is a sentence about something: in USD auf Anfrage, in USD gestiegen
    r"(?!\s(?!(?:je|pro|per|zzgl|zuzüglich|ink|exk|inc|exc|plus|ohne|netto|brutto|net|gross|gelten|gültig|valid|ab\b|from|ex\b"
    r"|frei\b|each))(?-i:[a-zäöüß]))"
)
_NAMED = re.compile(
    rf"(?:{_PRICES}(?:[\s:(,–-]+(?:{_FILLING})(?!\w))*[\s:(,–-]*(?:\bin\s)?(?<!\w)(?P<behind>{_CURRENCY})"
    rf"(?!\s?(?!{_YEAR})[\d.,]*\d)|(?<!\w)(?P<before>{_SIGN})[\s-]?(?:{_LIST}|{_ALL})"
    rf"|\b(?:Währung|currency)\s?:?\s(?P<told>{_CURRENCY})"
    rf"|^(?:(?:alle\s)?(?:Angaben|Beträge)\s)?in\s(?P<alone>{_CURRENCY})$){_GOES_ON}",
    re.IGNORECASE,
)
_OTHERS = r"(?:PLN|CZK|DKK|SEK|NOK|HUF|RON|JPY|CNY|SFr|Franken|Kč|zł)(?![^\W_])"
_ANY = re.compile(rf"(?<![^\W_])(?:{_SIGN}|{_OTHERS})", re.IGNORECASE)
TAX = re.compile(
    r"\b(?:zzgl\.?|zuzüglich|exkl\.?|excl\.?|inkl\.?|incl\.?|ohne|plus)\s(?:\w+\.?\s){0,3}?"
    r"(?:MwSt|USt|Mehrwertsteuer|Umsatzsteuer|VAT)\b\.?",
    re.IGNORECASE,
)
_THOUSAND = re.compile(r"^(\d{1,3})[.,](000)(?!\d)")  # nobody prices one piece as 1.000
_PART = re.compile(r"[;|()]|,(?!\d)|\s[–-]\s|[.!?]\s")
_PART_OR_FAMILY = re.compile(rf"{_PART.pattern}|:\s")
_BEHIND = rf"(?:\s(?:{_FILLING}|in|{_CURRENCY})(?!\w))*"
_PLAIN = re.compile(rf"(?:{_LEAD})*(?:{_LIST}|{_ALL}){_BEHIND}", re.IGNORECASE)
_PLAIN_FIRST = re.compile(rf"(?:{_LEAD})*(?:{_LIST}|{_ALL}|{_ONE}){_BEHIND}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Terms:
    """A code of ISO 4217, and a quantity as it is written (`100 Stück`); '' where the lines say none."""

    currency: str = ""
    quantity: str = ""

    def before(self, other: Terms) -> Terms:
        """These, and of the others what these do not say."""
        return Terms(self.currency or other.currency, self.quantity or other.quantity)

    def beyond(self, title: Terms) -> Terms:
        """What is certain below a further title that says nothing: what a family said otherwise than the list's own
        title may have been of that family alone."""
        return Terms(
            self.currency if self.currency == title.currency else "",
            self.quantity if self.quantity == title.quantity else UNCLEAR,
        )


def terms_of(lines: Iterable[str], *, between: bool = False) -> Terms:
    """What lines above a list say together; of those `between` its articles only what says it of prices and nothing
    else but a family's name before it, `Export: Preise in USD`."""
    currencies: set[str] = set()
    named: set[str] = set()
    quantities: set[str] = set()
    for raw in lines:
        line = " ".join(raw.split())
        if len(line) > MAX_LINE:
            continue
        named |= {currency_of(sign) or sign for sign in _ANY.findall(line)}
        if between and not _is_of_prices_alone(line):
            continue
        currencies |= {currency_of(next(filter(None, found.groups()))) for found in _NAMED.finditer(line)}
        quantities |= {_THOUSAND.sub(r"\1\2", said) for said in _quantities(line) if is_counted(said)}
    return Terms(
        currencies.pop() if len(currencies) == 1 and len(named) == 1 else "",
        quantities.pop() if len(quantities) == 1 else "",
    )


def _quantities(line: str) -> Iterator[str]:
    """The quantities of a line's parts that name prices, and of those right behind: `Preise in EUR, je 100`."""
    plain = False
    for at, part in enumerate(_parts(line, _PART)):
        bare, said = priced_for(part)
        plain = (_PLAIN if at else _PLAIN_FIRST).fullmatch(bare.strip()) is not None or (plain and not bare)
        if plain and said:
            yield said


def _is_of_prices_alone(line: str) -> bool:
    first, *others = [priced_for(part)[0].strip() for part in _parts(line, _PART_OR_FAMILY)]
    named = [bare for bare in (others if others and not _PLAIN.fullmatch(first) else (first, *others)) if bare]
    return bool(named) and all(map(_PLAIN.fullmatch, named))


def _parts(line: str, mark: re.Pattern[str]) -> list[str]:
    return [part.strip(" .:") for part in mark.split(TAX.sub("", line))]
