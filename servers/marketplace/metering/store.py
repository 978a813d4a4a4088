"""The usage of customers in Postgres."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from typing import Any

from servers.marketplace.catalogue.store import View, seen_by
from shared.metering.units import Key, Units
from shared.postgres.database import Database
from shared.postgres.queries import changed_rows, load_queries
from shared.telemetry import event

queries: Any = load_queries("servers.marketplace", "usage.sql")

BATCHES_KEPT_DAYS = 90
Used = tuple[str, str, str, Units, date | None]
"""Customer, server, tool, what of it was served, and the last day on which a call of it failed."""


class UsageStore:
    """Adds batches and reads months."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch_id: str, sums: Mapping[Key, Units], *, kept: bool = False) -> bool:
        """Add a batch, in one transaction. False where it was added before; nothing is changed then.

        Its name is forgotten after `BATCHES_KEPT_DAYS`, but where it is `kept`: it may come again at any time.

        Units of a customer that is erased are dropped: the row of each is locked, so that none comes after an erasure.
        """
        rows = sorted(sums.items())  # in one order, so that replicas never wait for each other in a circle
        amounts = list(zip(*(units.amounts for _, units in rows), strict=True)) or [()] * 5
        async with seen_by(self._database, View(everything=True)) as connection:
            if await queries.claim_batch(connection, batch_id=batch_id, kept=kept) is None:
                return False
            await queries.forget_batches(connection, older_than_days=BATCHES_KEPT_DAYS)
            status = await queries.add_usage(
                connection,
                customers=[key.customer for key, _ in rows],
                days=[key.day for key, _ in rows],
                servers=[key.server for key, _ in rows],
                tools=[key.tool for key, _ in rows],
                calls=amounts[0],
                tokens=amounts[1],
                pages=amounts[2],
                bytes=amounts[3],
                failures=amounts[4],
            )
            if dropped := len(rows) - changed_rows(status):
                event("usage_of_erased_customers_dropped", level=logging.WARNING, count=dropped)
        return True

    async def rows(
        self, view: View, days: tuple[date, date], start: int, limit: int, *, failed: bool = False
    ) -> list[Used]:
        """Sums by customer, server and tool, in this order, from the first day to before the second.

        Args:
            failed: only of days on which a call failed, what failed last and most often first.
        """
        query = queries.failed_of if failed else queries.usage_of
        async with seen_by(self._database, view) as connection:
            found = query(connection, since=days[0], until=days[1], start=start, limit=limit)
            return [
                (row["customer_id"], row["server_name"], row["tool"], _units(row), row["failed_on"])
                async for row in found
            ]

    async def total(self, view: View, days: tuple[date, date]) -> Units:
        """Everything that the view holds of these days."""
        async with seen_by(self._database, view) as connection:
            return _units(await queries.totals_of(connection, since=days[0], until=days[1]))

    async def active(self, days: tuple[date, date]) -> list[str]:
        """The customers that were served anything in these days, in order. The platform's own knowledge."""
        async with seen_by(self._database, View(everything=True)) as connection:
            found = queries.active_customers(connection, since=days[0], until=days[1])
            return [row["customer_id"] async for row in found]


def _units(row: Any) -> Units:
    return Units(row["calls"], row["tokens"], row["pages"], row["bytes"], row["failures"])
