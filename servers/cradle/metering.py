"""What customers are served at cradle's own ports. What comes by the gateway or the orchestrator is counted there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shared.auth import principal
from shared.client import Upstream
from shared.client.credentials import FileTokens
from shared.metering.meter import Meter
from shared.metering.reports import UsageReports
from shared.metering.spool import Spool
from shared.metering.units import CRADLE, GATEWAY, Units
from shared.settings import Settings

Served = Callable[[str, Units], None]
"""Counts what a tool is about to hand over.

Raises:
    StorageFull: it cannot be counted and must not be handed over.
"""


@asynccontextmanager
async def metered(settings: Settings) -> AsyncIterator[Meter]:
    """A meter that tells the marketplace from time to time; while that is away, the spool keeps it."""
    marketplace = Upstream(settings.resource("marketplace"), FileTokens(settings, "cradle"), name="marketplace")
    meter = Meter(Spool(settings.home / "metering-cradle"), UsageReports(marketplace))
    try:
        async with meter.in_background():
            yield meter
    finally:
        await marketplace.aclose()


def count(meter: Meter, tool: str, units: Units) -> None:
    """As `Served`, where nobody else has counted the call."""
    caller = principal()
    if caller.role != "service" and caller.client_id != GATEWAY:
        meter.served(caller.customer, CRADLE, tool, units)
