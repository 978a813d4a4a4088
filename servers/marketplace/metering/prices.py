"""From units to a monthly statement. Pure: the price list is the operator's, the arithmetic is here.

The shared GPU's price is divided among the customers that were served in the month, to the cent: the shares add up to
the price. Against it stands what each would pay for a GPU of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from shared.metering.units import Units

PER: dict[str, int] = {"calls": 1_000, "tokens": 1_000_000, "pages": 1_000, "bytes": 10**9}
"""For how many of a unit its price is."""
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class PriceList:
    """Euros: for `PER` of each unit, for the GPU that all share, and for one of a customer's own, for a month."""

    units: Mapping[str, Decimal]
    shared_gpu: Decimal
    own_gpu: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """A unit, how many of it, its price and the amount. A unit without a price is in no statement."""

    unit: str
    quantity: int
    price: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month costs, in euros. `saving` is `own_gpus` − `gpu`; `customers`: who shares the GPU."""

    charges: tuple[Charge, ...]
    gpu: Decimal
    total: Decimal
    own_gpus: Decimal
    saving: Decimal
    saving_percent: Decimal
    customers: int


def charges(prices: PriceList, units: Units) -> tuple[Charge, ...]:
    """The amount of each unit that has a price, rounded half up to cents."""
    return tuple(
        Charge(unit, quantity, prices.units[unit], _cents(prices.units[unit] * quantity / PER[unit]))
        for unit in PER
        if unit in prices.units and (quantity := getattr(units, unit))
    )


def share(price: Decimal, customers: Sequence[str], customer: str) -> Decimal:
    """A customer's share of a price that all these share; nothing where it is not one of them."""
    if customer not in customers:
        return Decimal(0)
    whole, rest = divmod(int(_cents(price) / CENT), len(customers))
    return (whole + (sorted(customers).index(customer) < rest)) * CENT


def statement(prices: PriceList, units: Units, active: Sequence[str], customer: str | None) -> Statement:
    """The statement of a customer, or of all where none is named.

    Args:
        active: the customers that were served in the month.
    """
    found = charges(prices, units)
    counted = len(active) if customer is None else int(customer in active)
    whole = prices.shared_gpu if active else Decimal(0)
    gpu = _cents(whole) if customer is None else share(prices.shared_gpu, active, customer)
    own = _cents(prices.own_gpu * counted)
    percent = (own - gpu) * 100 / own if own else Decimal(0)
    total = gpu + sum((each.amount for each in found), Decimal(0))
    return Statement(found, gpu, total, own, own - gpu, percent.quantize(Decimal("0.1"), ROUND_HALF_UP), len(active))


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
