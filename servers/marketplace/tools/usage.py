"""Tools about usage: what was served, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import Field

from servers.marketplace.metering import prices
from servers.marketplace.metering.units import month_days
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import own_view
from shared.auth import principal
from shared.contracts.model import Contract
from shared.contracts.usage import BatchId, UsageLine, UsageRecorded
from shared.errors import InvalidInput
from shared.ids import CustomerId
from shared.metering.units import CRADLE, Key, Units
from shared.serving import Server

SCOPE = "usage:read"
RECORD = "usage:write"
Month = Annotated[str | None, Field(pattern=r"^20[0-9]{2}-[0-9]{2}$", description="Such as 2026-11; none: this one.")]
Euros = Annotated[str, Field(description="Euros, exact, as text.")]


class UnitsServed(Contract):
    """Calls, tokens and pages computed, bytes of answers. A call that failed by the server's fault costs nothing."""

    calls: int
    tokens: int
    pages: int
    bytes: int
    failures: int


class UsageRow(Contract):
    """What one tool served to one customer."""

    customer_id: CustomerId
    server_name: str
    tool: str
    units: UnitsServed
    failed_on: date | None = Field(description="The last day (UTC) on which a call failed by the server's fault.")


class Usage(Contract):
    """A month's units; ask again with start=next_start for more rows. `total` is of all rows. Days are those of UTC."""

    month: str
    rows: list[UsageRow]
    total: UnitsServed
    next_start: int | None


class ChargeShown(Contract):
    """A unit that has a price. The price is for `per` of it."""

    unit: str
    quantity: int
    per: int
    price: Euros
    amount: Euros


class MonthlyStatement(Contract):
    """What a month costs. Units without a price in the operator's price list cost nothing.

    `gpu`: the share of the GPU that all customers share. `own_gpus`: what a GPU for each customer would cost.
    """

    month: str
    customer_id: CustomerId | None = Field(description="None: all customers together.")
    charges: list[ChargeShown]
    gpu: Euros
    total: Euros
    own_gpus: Euros
    saving: Euros
    saving_percent: str
    customers: int = Field(description="Customers that were served in the month and share the GPU.")


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def get_usage(
        month: Month = None,
        start: Annotated[int, Field(ge=0, le=10**6)] = 0,
        limit: Annotated[int, Field(ge=1, le=500)] = 100,
        failed: Annotated[
            bool, Field(description="Only days on which calls failed; what failed last and most often comes first.")
        ] = False,
    ) -> Usage:
        """Show what was served in a month: calls, tokens, pages and bytes for each server and tool.

        Use it to see where usage comes from, or with `failed` which installed servers do not answer; get_statement
        tells what it costs.
        """
        view, named = own_view(), month or _this_month()
        days = month_days(named)
        await services().meter.flush()
        rows = await services().usage.rows(view, days, start, limit + 1, failed=failed)
        total = await services().usage.total(view, days)
        shown = [
            UsageRow(customer_id=customer, server_name=name, tool=tool, units=_units(units), failed_on=failed_on)
            for customer, name, tool, units, failed_on in rows[:limit]
        ]
        following = start + limit if len(rows) > limit else None
        return Usage(month=named, rows=shown, total=_units(total), next_start=following)

    async def get_statement(month: Month = None) -> MonthlyStatement:
        """Show what a month costs by the operator's price list, and the saving against a GPU for each customer.

        Use it for invoices and for the case for sharing; get_usage shows the units behind it.
        """
        view, named = own_view(), month or _this_month()
        days = month_days(named)
        await services().meter.flush()
        settings = services().settings
        listed = prices.PriceList({**settings.usage_prices}, settings.shared_gpu_month, settings.own_gpu_month)
        total = await services().usage.total(view, days)
        found = prices.statement(listed, total, await services().usage.active(days), view.customer)
        return MonthlyStatement(
            month=named,
            customer_id=view.customer,
            charges=[
                ChargeShown(
                    unit=each.unit, quantity=each.quantity, per=prices.PER[each.unit], price=str(each.price),
                    amount=str(each.amount),
                )
                for each in found.charges
            ],
            gpu=str(found.gpu),
            total=str(found.total),
            own_gpus=str(found.own_gpus),
            saving=str(found.saving),
            saving_percent=str(found.saving_percent),
            customers=found.customers,
        )  # fmt: skip

    async def record_usage(
        batch_id: BatchId,
        lines: Annotated[list[UsageLine], Field(max_length=10_000)],
        kept: Annotated[bool, Field(description="The batch may come again at any time: keep its name.")] = False,
    ) -> UsageRecorded:
        """Count what cradle served by way of another server of the platform. Use it with the batch's own name: however
        often the same batch comes, it counts once.
        """
        acting_for = principal().customer
        if acting_for is not None and any(line.customer_id != acting_for for line in lines):
            raise InvalidInput("A token for one customer records the usage of this customer alone.", field="lines")
        sums: dict[Key, Units] = {}
        for line in lines:
            key = Key(line.customer_id, line.day, CRADLE, line.tool)
            sums[key] = sums.get(key, Units()) + Units(line.calls, line.tokens, line.pages, line.bytes)
        return UsageRecorded(added=await services().usage.add(batch_id, sums, kept=kept))

    server.tool(record_usage, scope=RECORD, title="Record usage", idempotent=True, counts=True)
    server.tool(get_usage, scope=SCOPE, title="Show usage", read_only=True, idempotent=True)
    server.tool(get_statement, scope=SCOPE, title="Show a month's statement", read_only=True, idempotent=True)


def _this_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


def _units(units: Units) -> UnitsServed:
    return UnitsServed(**asdict(units))
