"""What the lines above a price list say of all its prices: their currency, and for what quantity they are. Pure.

`Alle Preise in EUR zzgl. MwSt.`, `Price list CHF 2026`, `Preise je 100 Stück`. A line counts where it names prices and
nothing that could be only a part of them; where the lines name two currencies or quantities, none is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from servers.cradle.processing.extract.quantities import currency_of, is_counted, priced_for

MAX_LINE = 300
UNCLEAR = "?"  # a quantity that is none
_CURRENCY = r"(?:EUR|Euro|CHF|USD|GBP)\b|[€$£]"
_PRICES = r"\b\w*(?:preis(?:e[ns]?)?|preisliste|tarife?|prices?|price\s?list)\b"
_FILLING = r"20[23]\d|netto|brutto|net|gross|sind|verstehen\ssich|gelten|are|zzgl\.?\sMwSt\.?|zuzüglich\sMwSt\.?"
_YEAR = r"20[23]\d\b"
_NAMED = re.compile(
    rf"{_PRICES}(?:[\s:(,–-]+(?:{_FILLING})(?!\w))*[\s:(,–-]*(?:\bin\s)?(?<!\w)(?P<behind>{_CURRENCY})"
    rf"(?!\s?(?!{_YEAR})[\d.,]*\d)|(?<!\w)(?P<before>{_CURRENCY})[\s-]?{_PRICES}"
    rf"|\b(?:Währung|currency)\s?:?\s(?P<told>{_CURRENCY})|^(?:(?:alle\s)?(?:Angaben|Beträge)\s)?in\s(?P<alone>{_CURRENCY})$",
    re.IGNORECASE,
)
_OTHERS = r"(?:PLN|CZK|DKK|SEK|NOK|HUF|RON|JPY|CNY|SFr|Franken|Kč|zł)(?![^\W_])"
_ANY = re.compile(rf"(?<![^\W_])(?:{_CURRENCY}|{_OTHERS})", re.IGNORECASE)
_TAX = re.compile(
    r"\b(?:zzgl\.?|zuzüglich|exkl\.?|excl\.?|inkl\.?|incl\.?|ohne|plus)\s(?:\w+\.?\s){0,3}?"
    r"(?:MwSt|USt|Mehrwertsteuer|Umsatzsteuer|VAT)\b\.?",
    re.IGNORECASE,
)
_THOUSAND = re.compile(r"^(\d{1,3})[.,](000)(?!\d)")  # nobody prices one piece as 1.000
_PART = re.compile(r"[;|()]|,(?!\d)|\s[–-]\s|[.!?]\s")
_PLAIN = re.compile(
    rf"(?:(?:alle|all|unsere|our|die)\s)*{_PRICES}(?:\s(?:{_FILLING}|in|{_CURRENCY})(?!\w))*", re.IGNORECASE
)


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


def terms_of(lines: Iterable[str]) -> Terms:
    """What lines above a list say together."""
    currencies: set[str] = set()
    named: set[str] = set()
    quantities: set[str] = set()
    for raw in lines:
        line = " ".join(raw.split())
        if len(line) > MAX_LINE:
            continue
        named |= {currency_of(sign) or sign for sign in _ANY.findall(line)}
        currencies |= {currency_of(next(filter(None, found.groups()))) for found in _NAMED.finditer(line)}
        parts = (_PLAIN.fullmatch(bare.strip()) and said for bare, said in map(priced_for, _parts(line)))
        quantities |= {_THOUSAND.sub(r"\1\2", said) for said in parts if said and is_counted(said)}
    return Terms(
        currencies.pop() if len(currencies) == 1 and len(named) == 1 else "",
        quantities.pop() if len(quantities) == 1 else "",
    )


def _parts(line: str) -> list[str]:
    return [part.strip(" .:") for part in _PART.split(_TAX.sub("", line))]
