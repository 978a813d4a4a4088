"""Rates of German VAT by the date of supply (§ 27 Abs. 1 UStG: the law in force when the supply is made decides).

Source: § 12 UStG in its versions; 1 July to 31 December 2020: § 28 Abs. 1 and 2 UStG (Zweites Corona-Steuerhilfegesetz,
29 June 2020, BGBl. I p. 1512). Which goods the reduced rate is for (§ 12 Abs. 2, Anlage 2) is not decided here. Not in
here: the flat rates of farmers and foresters (§ 24 UStG).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

Kind = Literal["standard", "reduced", "photovoltaic"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in percent, from the day `since` until the next one of its kind."""

    since: date
    percent: Decimal
    source: str


def _rates(paragraph: str, *steps: tuple[int, int, int, str]) -> tuple[Rate, ...]:
    return tuple(Rate(date(year, month, day), Decimal(percent), paragraph) for year, month, day, percent in steps)


RATES: dict[Kind, tuple[Rate, ...]] = {
    "standard": (
        *_rates(
            "§ 12 Abs. 1 UStG",
            (1968, 1, 1, "10"), (1968, 7, 1, "11"), (1978, 1, 1, "12"), (1979, 7, 1, "13"), (1983, 7, 1, "14"),
            (1993, 1, 1, "15"), (1998, 4, 1, "16"), (2007, 1, 1, "19"),
        ),
        *_rates("§ 28 Abs. 1 UStG", (2020, 7, 1, "16")),
        *_rates("§ 12 Abs. 1 UStG", (2021, 1, 1, "19")),
    ),
    "reduced": (
        *_rates(
            "§ 12 Abs. 2 UStG",
            (1968, 1, 1, "5"), (1968, 7, 1, "5.5"), (1978, 1, 1, "6"), (1979, 7, 1, "6.5"), (1983, 7, 1, "7"),
        ),
        *_rates("§ 28 Abs. 2 UStG", (2020, 7, 1, "5")),
        *_rates("§ 12 Abs. 2 UStG", (2021, 1, 1, "7")),
    ),
    "photovoltaic": _rates("§ 12 Abs. 3 UStG", (2023, 1, 1, "0")),
}  # fmt: skip


def rate_on(day: date, kind: Kind) -> Rate | None:
    """The rate of a kind on a day; None where the law knows none."""
    return next((rate for rate in reversed(RATES[kind]) if rate.since <= day), None)


def last_day(rate: Rate, kind: Kind) -> date | None:
    """The last day of a rate; None: it is in force until further notice."""
    later = next((each for each in RATES[kind] if each.since > rate.since), None)
    return date.fromordinal(later.since.toordinal() - 1) if later else None


def percents_on(day: date) -> frozenset[Decimal]:
    """Every rate of § 12 UStG on a day of supply; the flat rates of farmers (§ 24 UStG) are not among them."""
    found = (rate_on(day, kind) for kind in RATES)
    return frozenset(rate.percent for rate in found if rate is not None)
