"""Tools of the tax server. Every answer names the rule that it follows."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints

from servers.marketplace.first_party.tax import invoices, rates
from servers.marketplace.first_party.tax.vat_ids import VIES, read_vat_id
from shared.contracts.model import Contract
from shared.errors import InvalidInput
from shared.serving import Server

SCOPE = "tax:use"
EN_16931 = "EN 16931-1: BR-CO-10, BR-CO-14, BR-CO-15, BR-CO-17"
# Lines of 9 and sums of 18 digits before the point: every product stays within the 28 digits of exact decimals.
Amount = Annotated[
    str,
    StringConstraints(pattern=r"^-?[0-9]{1,9}(\.[0-9]{1,4})?$"),
    Field(description="Decimal as text, such as '19.90'."),
]
Sum = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,21}(\.[0-9]{1,2})?$")]
Percent = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}(\.[0-9]{1,2})?$"), Field(description="Such as '19'.")]
VatNumber = Annotated[str, Field(min_length=4, max_length=30, description="With its country, such as 'DE136695976'.")]
Day = Annotated[date, Field(description="The day of supply, as YYYY-MM-DD.")]


class VatIdChecked(Contract):
    """What the form of a VAT id shows. Whether it is registered, only VIES or the BZSt can say (§ 18e UStG)."""

    number: str = Field(description="Without separators.")
    country: str = Field(description="Its prefix; empty where no rule for it is built in.")
    well_formed: bool
    check_digit: str = Field(description="valid, invalid, or not checked: no rule for this country is built in.")
    acceptable: bool = Field(description="As a VAT id of the EU: nothing that can be checked here is wrong.")
    note: str | None = Field(default=None, description="What to know of a number that is none of the EU.")
    sources: list[str]


class VatRate(Contract):
    """A rate and the days for which it holds."""

    kind: rates.Kind
    percent: str
    since: date
    until: date | None = Field(description="Last day; null: until further notice.")
    source: str


class LineGiven(Contract):
    """One line of an invoice."""

    quantity: Amount
    unit_price: Amount
    percent: Percent


class RateSum(Contract):
    """Net sum and tax of one rate."""

    percent: Percent
    net: Sum
    tax: Sum


class InvoiceTotals(Contract):
    """Sums in cents, rounded half up. `lines` are the lines' net amounts."""

    lines: list[str]
    by_rate: list[RateSum]
    net: str
    tax: str
    gross: str
    source: str


class InvoiceFinding(Contract):
    """Something missing or wrong, and the rule."""

    subject: str
    problem: str
    rule: str
    explanation: str


class InvoiceChecked(Contract):
    """What is missing or wrong. `small_amount`: § 33 UStDV asks for fewer details. This is no legal advice."""

    complete: bool
    small_amount: bool
    findings: list[InvoiceFinding]
    sources: list[str]


def register(server: Server) -> None:
    """Offer the tools."""

    async def check_vat_id(vat_id: VatNumber) -> VatIdChecked:
        """Check the form of a VAT id of the EU, and the check digit of German and Croatian ones and of a Swiss UID.

        Use it before an id goes onto an invoice. It cannot say whether the id is registered: ask VIES for that.
        """
        found = read_vat_id(vat_id)
        return VatIdChecked(
            number=found.number if found.prefix else "",
            country=found.prefix,
            well_formed=found.well_formed,
            check_digit=found.check_digit,
            acceptable=found.acceptable,
            note=found.note,
            sources=found.sources,
        )

    async def get_vat_rate(day: Day, kind: rates.Kind = "standard") -> VatRate:
        """Find the German VAT rate of a day of supply, 1968 until now, with the reduction of the second half of 2020.

        Use it to know which rate an invoice must name. It does not decide which goods the reduced rate is for.
        """
        rate = rates.rate_on(day, kind)
        if rate is None:
            raise InvalidInput(
                f"There was no {kind} rate on that day: choose a later day or another kind.", field="day"
            )
        return VatRate(
            kind=kind, percent=str(rate.percent), since=rate.since, until=rates.last_day(rate, kind), source=rate.source
        )

    async def calculate_invoice(
        lines: Annotated[list[LineGiven], Field(min_length=1, max_length=500)],
    ) -> InvoiceTotals:
        """Compute an invoice's sums from its lines, exactly: each line in cents, the tax on the sum of each rate.

        Use it to write an invoice or to see why one's sums differ; for a gross amount use split_gross_amount.
        """
        found = invoices.totals(
            [invoices.Line(Decimal(line.quantity), Decimal(line.unit_price), Decimal(line.percent)) for line in lines]
        )
        return InvoiceTotals(
            lines=[str(each) for each in found.lines],
            by_rate=[_sum(each) for each in found.by_rate],
            net=str(found.net),
            tax=str(found.tax),
            gross=str(found.gross),
            source=EN_16931,
        )

    async def split_gross_amount(gross: Amount, percent: Percent) -> RateSum:
        """Split a gross amount into net and tax, in cents. Use it for receipts, which name the gross amount only.

        The tax is gross × rate / (100 + rate), rounded half up (§ 10 Abs. 1, § 12 UStG).
        """
        return _sum(invoices.from_gross(Decimal(gross), Decimal(percent)))

    async def check_invoice(
        details: Annotated[list[invoices.Detail], Field(max_length=40, description="What stands on the invoice.")],
        case: Annotated[invoices.Case, Field(description="What kind of supply it is.")] = "domestic",
        self_billed: Annotated[bool, Field(description="The recipient issued it.")] = False,
        supply_date: Day | None = None,
        supplier_vat_id: VatNumber | None = None,
        recipient_vat_id: VatNumber | None = None,
        by_rate: Annotated[list[RateSum], Field(max_length=10, description="Net and tax of each rate.")] = [],  # noqa: B006
        gross: Sum | None = None,
        line_count: Annotated[int, Field(ge=1, le=500, description="Lines; each may be rounded.")] = 1,
    ) -> InvoiceChecked:
        """Find what a German invoice lacks (§ 14 Abs. 4, § 14a UStG, § 33 UStDV) and wrong ids, rates and sums.

        Use it with what you read on the invoice; names and addresses need not be sent, only that they are there.
        It does not look at agreed reductions, the note on keeping it, small businesses (§ 19 UStG), farmers' flat rates
        (§ 24 UStG), margin schemes.
        """
        facts = invoices.Facts(
            details=frozenset(details),
            case=case,
            self_billed=self_billed,
            supply_date=supply_date,
            supplier_vat_id=supplier_vat_id,
            recipient_vat_id=recipient_vat_id,
            by_rate=[
                invoices.RateTotal(Decimal(each.percent), Decimal(each.net), Decimal(each.tax)) for each in by_rate
            ],
            gross=None if gross is None else Decimal(gross),
            lines=line_count,
        )
        found = invoices.check(facts)
        return InvoiceChecked(
            complete=not found,
            small_amount=invoices.is_small(facts),
            findings=[
                InvoiceFinding(subject=each.subject, problem=each.problem, rule=each.rule, explanation=each.explanation)
                for each in found
            ],
            sources=["§ 14 Abs. 4, § 14a UStG", "§ 33 UStDV", EN_16931, *([VIES] if supplier_vat_id else [])],
        )

    titles = {
        check_vat_id: "Check a VAT id",
        get_vat_rate: "Find a VAT rate",
        calculate_invoice: "Compute an invoice's sums",
        split_gross_amount: "Split a gross amount",
        check_invoice: "Check an invoice",
    }
    for tool, title in titles.items():
        server.tool(tool, scope=SCOPE, title=title, read_only=True, idempotent=True)


def _sum(total: invoices.RateTotal) -> RateSum:
    return RateSum(percent=f"{total.percent.normalize():f}", net=str(total.net), tax=str(total.tax))
