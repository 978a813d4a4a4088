"""From when to when the prices of a list hold, as its title or first lines say it. Pure.

`Preisliste gültig ab 01.01.2026`, `Preise gültig vom 1. März bis 31.12.2026`, `valid from 1 January 2026`. A day has
its month and year; a month stands for its first day as a beginning and its last as an end. What can be read in two ways
(`01/02/2026`, two statements that differ, an end before its beginning, a statement of something else than prices) gives
no day, and the list says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

MAX_LINE = 300
_MONTHS = (
    "januar january jan jänner|februar february feb|märz march mrz mar|april apr|mai may|juni june jun|juli july jul|"
    "august aug|september sept sep|oktober october okt oct|november nov|dezember december dez dec"
)
_MONTH_OF = {name: at + 1 for at, names in enumerate(_MONTHS.split("|")) for name in names.split()}
_NAMED = rf"(?:{'|'.join(sorted(_MONTH_OF, key=len, reverse=True))})\b\.?"
DATE = (
    r"(?:\d{4}-\d{1,2}-\d{1,2}(?:T00:00:00)?|\d{1,2}\.\s?\d{1,2}\.(?:\s?(?:\d{4}|\d{2})\b)?|\d{1,2}/\d{1,2}/\d{4}"
    rf"|\d{{1,2}}(?:\.|st|nd|rd|th)?\s?{_NAMED}(?:\s?\d{{4}}\b)?|{_NAMED}\s\d{{1,2}},\s?\d{{4}}\b|{_NAMED}\s?\d{{4}}\b"
    r"|\d{1,2}[/.]\d{4}\b)"
)
_START = r"(?:ab|vom|von|seit|from|as of|effective)(?:\s(?:dem|the))?"
_END = r"(?:bis|until|till|to|through|[-–—])(?:\s(?:zum|einschl(?:ießlich|\.)|and including|inkl\.))*"
_SAID = r"(?:gültig(?:keit|keitszeitraum)?|gueltig(?:keit)?|valid(?:ity)?|effective)"
_STATEMENT = re.compile(
    rf"(?<!\w){_SAID}\b\s?:?\s?(?:(?:{_START}\s?:?\s?)?(?P<start>{DATE})(?:\s?{_END}\s?(?P<end>{DATE}))?"
    rf"|{_END}\s?:?\s?(?P<only_end>{DATE}))|(?<!\w)ab\s(?P<turned>{DATE})\s{_SAID}\b",
    re.IGNORECASE,
)
_NAMES_IT = re.compile(rf"(?<!\w){_SAID}\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_CLAUSE_END = re.compile(
    r"[;|]|(?<=\w\w\w)(?<!zzgl)(?<!inkl)(?<!exkl)(?<!incl)(?<!excl)(?<!mwst)[.!?]\s", re.IGNORECASE
)
_OF_PRICES = re.compile(r"preis|price|tarif|konditionen|conditions|angebot|offer|quotation", re.IGNORECASE)
_NEITHER = re.compile(r"un(?:gültig|gueltig)|nicht\s(?:mehr\s)?gültig|no longer valid|invalid", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last day as ISO 8601, '' where unbounded. `unclear` is the line that leaves it open, '' for none."""

    start: str = ""
    end: str = ""
    unclear: str = ""


def validity_of(lines: Iterable[str]) -> Validity | None:
    """What the lines above a price list say together; None where they say nothing of it.

    What is said of something that is not named as prices (`AGB gültig ab …`) leaves it open only where nothing else is
    said.
    """
    found: list[Validity] = []
    others: list[str] = []
    for raw in lines:
        line = " ".join(raw.split())
        if len(line) > MAX_LINE or not states(line) or _NEITHER.search(line):
            continue
        if (said := _stated(line)) is not None:
            found.append(said)
        else:
            others.append(line)
    if not found and others:
        return Validity(unclear=others[0])
    return _together(found)


def states(text: str) -> bool:
    """Whether a text says from when or to when something is valid."""
    return _NAMES_IT.search(text) is not None and _DIGIT.search(text) is not None


def names_prices(text: str) -> bool:
    """Whether a text speaks of prices."""
    return _OF_PRICES.search(text) is not None


def day_of(cell: str) -> str:
    """The day that a cell holds, as ISO 8601; '' where it holds none or one of two."""
    text = " ".join(cell.split())
    try:
        return _day(text).isoformat() if re.fullmatch(DATE, text, re.IGNORECASE) else ""
    except ValueError:
        return ""


def _together(found: list[Validity]) -> Validity | None:
    if not found:
        return None
    if unclear := next((each for each in found if each.unclear), None):
        return unclear
    starts, ends = {each.start for each in found if each.start}, {each.end for each in found if each.end}
    start, end = next(iter(starts), ""), next(iter(ends), "")
    if len(starts) > 1 or len(ends) > 1 or (start and end and end < start):
        return Validity(unclear="; ".join(" – ".join(filter(None, (each.start, each.end))) for each in found))
    return Validity(start, end)


def _stated(line: str) -> Validity | None:
    """What a line states of prices; None where it speaks of something else, or of no one knows what."""
    statements = list(_STATEMENT.finditer(line))
    before = _CLAUSE_END.split(line[: statements[0].start()])[-1].strip() if statements else ""
    if before and not names_prices(before):
        return None
    if len(statements) != 1:
        return Validity(unclear=line) if names_prices(line) else None
    (said,) = statements
    try:
        return _days(said["start"] or said["turned"] or "", said["end"] or said["only_end"] or "")
    except ValueError:
        return Validity(unclear=line)


def _days(first: str, last: str) -> Validity:
    """Raises ValueError where one of them is no day, or they are the wrong way round."""
    end = _day(last, last=True) if last else None
    start = _day(first, year=end.year if end else 0) if first else None
    if start and end and end < start:
        raise ValueError
    return Validity(start.isoformat() if start else "", end.isoformat() if end else "")


def _day(text: str, year: int = 0, *, last: bool = False) -> date:
    """A day; `year` is that of a text which names none.

    Raises:
        ValueError: it is none, or one of two.
    """
    text = text.lower().removesuffix("t00:00:00")
    month = next((number for word in re.findall(r"[^\W\d_]+", text) if (number := _MONTH_OF.get(word))), 0)
    numbers = [int(each) for each in re.findall(r"\d+", text)]
    if re.match(r"\d{4}-", text):
        return date(*numbers)
    if "/" in text and len(numbers) == 3:
        if numbers[0] != numbers[1] and max(numbers[:2]) <= 12:
            raise ValueError
        numbers = [max(numbers[:2]), min(numbers[:2]), numbers[2]] if numbers[1] > 12 else numbers
    if month:
        days = [each for each in numbers if each < 100]
        numbers = [*days, month, *(each for each in numbers if each >= 100)]
    elif len(numbers) == 2 and numbers[1] > 99:
        return _of_month(numbers[1], numbers[0], last=last)
    if month and len(numbers) == 2 and numbers[1] > 99:
        return _of_month(numbers[1], month, last=last)
    if len(numbers) == 2:
        numbers.append(year)
    day, month, said = numbers
    return date(said + 2000 if 0 < said < 100 else said, month, day)


def _of_month(year: int, month: int, *, last: bool) -> date:
    first = date(year, month, 1)
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1) if last else first
