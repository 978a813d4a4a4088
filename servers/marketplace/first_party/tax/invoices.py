"""Totals of an invoice, and the details that it must name. All amounts are exact decimals; cents are rounded half up.

Totals: EN 16931-1, rules BR-CO-10, BR-CO-14, BR-CO-15 and BR-CO-17: the lines are rounded, summed for each rate, and
the tax is taken from the sum of the rate. Mandatory details: § 14 Abs. 4 and § 14a UStG, § 33 UStDV. Not looked at:
agreed reductions (Nr. 7), the note on keeping the invoice (Nr. 9), small businesses (§ 19 UStG, § 34a UStDV), farmers'
flat rates (§ 24 UStG), margin schemes and the other cases of § 14a.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from servers.marketplace.first_party.tax.rates import percents_on
from servers.marketplace.first_party.tax.vat_ids import read_vat_id

CENT = Decimal("0.01")
SMALL_AMOUNTS = ((date(2017, 1, 1), Decimal(250)), (date(2007, 1, 1), Decimal(150)), (date.min, Decimal(100)))
"""§ 33 UStDV in its versions, the newest first; before 2002 it said 200 DM."""

Case = Literal["domestic", "reverse_charge", "intra_community"]
Detail = Literal[
    "supplier_name", "supplier_address", "recipient_name", "recipient_address", "supplier_tax_number",
    "supplier_vat_id", "issue_date", "invoice_number", "quantity_and_kind", "supply_date", "net_by_rate", "tax_rate",
    "tax_amount", "gross_amount", "exemption_note", "reverse_charge_note", "recipient_vat_id", "self_billing_note",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line: quantity × net price of one, taxed at a rate in percent."""

    quantity: Decimal
    unit_price: Decimal
    percent: Decimal


@dataclass(frozen=True, slots=True)
class RateTotal:
    """The net sum of a rate and the tax on it."""

    percent: Decimal
    net: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """An invoice's sums. `lines` are the lines' net amounts in their order."""

    lines: tuple[Decimal, ...]
    by_rate: tuple[RateTotal, ...]
    net: Decimal
    tax: Decimal
    gross: Decimal


@dataclass(frozen=True, slots=True)
class Facts:
    """What an invoice says. `details`: what stands on it; amounts and numbers are checked where they are given.

    Args:
        lines: how many lines it has; rounding each of them explains a difference of one cent a line.
    """

    details: Collection[Detail]
    case: Case = "domestic"
    self_billed: bool = False
    supply_date: date | None = None
    supplier_vat_id: str | None = None
    recipient_vat_id: str | None = None
    by_rate: Sequence[RateTotal] = ()
    gross: Decimal | None = None
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is missing or wrong, and the rule that wants it."""

    subject: str
    problem: Literal["missing", "wrong"]
    rule: str
    explanation: str


def cents(amount: Decimal) -> Decimal:
    """An amount rounded half up to cents."""
    return amount.quantize(CENT, ROUND_HALF_UP) + 0  # no negative zero


def totals(lines: Sequence[Line]) -> Totals:
    """The sums of an invoice with these lines."""
    nets = tuple(cents(line.quantity * line.unit_price) for line in lines)
    sums: dict[Decimal, Decimal] = {}
    for line, net in zip(lines, nets, strict=True):
        sums[line.percent] = sums.get(line.percent, Decimal(0)) + net
    by_rate = tuple(RateTotal(percent, net, tax_on(net, percent)) for percent, net in sorted(sums.items()))
    net, tax = cents(sum(nets, Decimal(0))), cents(sum((each.tax for each in by_rate), Decimal(0)))
    return Totals(nets, by_rate, net, tax, net + tax)


def tax_on(net: Decimal, percent: Decimal) -> Decimal:
    """The tax on a net amount (BR-CO-17)."""
    return cents(net * percent / 100)


def from_gross(gross: Decimal, percent: Decimal) -> RateTotal:
    """Net and tax of a gross amount: the tax is gross × rate / (100 + rate) (§ 10 Abs. 1, § 12 UStG), net the rest."""
    tax = cents(gross * percent / (100 + percent))
    return RateTotal(percent, cents(gross) - tax, tax)


def is_small(facts: Facts) -> bool:
    """Whether § 33 UStDV asks for fewer details: an amount (of a correction: without its sign) of at most 250 euros, or
    what the limit was on the day of supply, and no case that it excludes."""
    day = facts.supply_date or date.max
    limit = next(amount for since, amount in SMALL_AMOUNTS if since <= day)
    return facts.gross is not None and abs(facts.gross) <= limit and facts.case == "domestic"


def check(facts: Facts) -> list[Finding]:
    """What is missing or wrong, in the order of the law's numbers."""
    missing = _absent(facts, _SMALL) if is_small(facts) else _missing(facts)
    return [*missing, *_wrong_ids(facts), *_wrong_rates(facts), *_wrong_amounts(facts)]


_ALWAYS: tuple[tuple[tuple[Detail, ...], str, str], ...] = (
    (("supplier_name",), "§ 14 Abs. 4 Nr. 1 UStG", "The supplier's full name."),
    (("supplier_address",), "§ 14 Abs. 4 Nr. 1 UStG", "The supplier's full address."),
    (("recipient_name",), "§ 14 Abs. 4 Nr. 1 UStG", "The recipient's full name."),
    (("recipient_address",), "§ 14 Abs. 4 Nr. 1 UStG", "The recipient's full address."),
    (("supplier_tax_number", "supplier_vat_id"), "§ 14 Abs. 4 Nr. 2 UStG", "The supplier's tax number or VAT id."),
    (("issue_date",), "§ 14 Abs. 4 Nr. 3 UStG", "The date of issue."),
    (("invoice_number",), "§ 14 Abs. 4 Nr. 4 UStG", "A number that is given once."),
    (
        ("quantity_and_kind",),
        "§ 14 Abs. 4 Nr. 5 UStG",
        "Quantity and kind of the goods, or extent and kind of service.",
    ),
    (("supply_date",), "§ 14 Abs. 4 Nr. 6 UStG", "The time of supply, or of a payment in advance."),
    (("net_by_rate",), "§ 14 Abs. 4 Nr. 7 UStG", "The net amount of each rate and of what is exempt."),
)
_SMALL: tuple[tuple[tuple[Detail, ...], str, str], ...] = (
    (("supplier_name",), "§ 33 Satz 1 Nr. 1 UStDV", "The supplier's full name."),
    (("supplier_address",), "§ 33 Satz 1 Nr. 1 UStDV", "The supplier's full address."),
    (("issue_date",), "§ 33 Satz 1 Nr. 2 UStDV", "The date of issue."),
    (
        ("quantity_and_kind",),
        "§ 33 Satz 1 Nr. 3 UStDV",
        "Quantity and kind of the goods, or extent and kind of service.",
    ),
    (("gross_amount",), "§ 33 Satz 1 Nr. 4 UStDV", "Net and tax in one sum."),
    (("tax_rate", "exemption_note"), "§ 33 Satz 1 Nr. 4 UStDV", "The rate, or a note that the supply is exempt."),
)
_OF_CASE: dict[Case, tuple[tuple[tuple[Detail, ...], str, str], ...]] = {
    "domestic": (
        (("tax_rate", "exemption_note"), "§ 14 Abs. 4 Nr. 8 UStG", "The rate, or a note that the supply is exempt."),
        (("tax_amount", "exemption_note"), "§ 14 Abs. 4 Nr. 8 UStG", "The tax amount, or a note that it is exempt."),
    ),
    "reverse_charge": (
        (("reverse_charge_note",), "§ 14a Abs. 5 UStG", "The words “Steuerschuldnerschaft des Leistungsempfängers”."),
    ),
    "intra_community": (
        (("exemption_note",), "§ 14 Abs. 4 Nr. 8 UStG", "A note that the supply is exempt (§ 4 Nr. 1 Buchst. b UStG)."),
        (("supplier_vat_id",), "§ 14a Abs. 3 UStG", "The supplier's VAT id."),
        (("recipient_vat_id",), "§ 14a Abs. 3 UStG", "The recipient's VAT id."),
    ),
}


def _missing(facts: Facts) -> list[Finding]:
    wanted = [*_ALWAYS, *_OF_CASE[facts.case]]
    if facts.self_billed:
        wanted.append((("self_billing_note",), "§ 14 Abs. 4 Nr. 10 UStG", "The word “Gutschrift”."))
    return _absent(facts, wanted)


def _absent(facts: Facts, wanted: Sequence[tuple[tuple[Detail, ...], str, str]]) -> list[Finding]:
    return [
        Finding(" or ".join(either), "missing", rule, explanation)
        for either, rule, explanation in wanted
        if not set(either) & set(facts.details)
    ]


def _wrong_ids(facts: Facts) -> list[Finding]:
    given = (
        ("supplier_vat_id", "§ 14 Abs. 4 Nr. 2 UStG", facts.supplier_vat_id),
        ("recipient_vat_id", "§ 14a Abs. 3 UStG", facts.recipient_vat_id),
    )
    return [
        Finding(
            subject, "wrong", rule, "Its form or its check digit is not that of a VAT id of the EU: see check_vat_id."
        )
        for subject, rule, number in given
        if number is not None and not read_vat_id(number).acceptable
    ]


def _wrong_rates(facts: Facts) -> list[Finding]:
    if facts.case != "domestic":
        return [
            Finding("tax_amount", "wrong", "§ 14c Abs. 1 UStG", "This invoice names no tax: what it names is owed.")
            for each in facts.by_rate
            if each.tax != 0
        ][:1]
    if facts.supply_date is None:
        return []
    known = percents_on(facts.supply_date) | {Decimal(0)}  # exempt supplies stand there with zero
    return [
        Finding(
            "tax_rate", "wrong", "§ 12, § 27 Abs. 1 UStG",
            f"§ 12 UStG had no rate of {each.percent} % on that day; flat rates of farmers (§ 24) are not looked at.",
        )
        for each in facts.by_rate
        if each.percent not in known
    ]  # fmt: skip


def _wrong_amounts(facts: Facts) -> list[Finding]:
    allowed = CENT * facts.lines
    found = [
        Finding(
            "tax_amount", "wrong", "§ 14 Abs. 4 Nr. 8 UStG; EN 16931-1 BR-CO-17",
            f"The tax at {each.percent} % should be {tax_on(each.net, each.percent)}.",
        )
        for each in facts.by_rate
        if facts.case == "domestic" and abs(each.tax - tax_on(each.net, each.percent)) > allowed
    ]  # fmt: skip
    named = sum((each.net + each.tax for each in facts.by_rate), Decimal(0))
    if facts.gross is not None and facts.by_rate and cents(facts.gross) != named:
        found.append(Finding("gross_amount", "wrong", "EN 16931-1 BR-CO-15", f"Net and tax add up to {named}."))
    return found
