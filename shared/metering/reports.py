"""What a server served on behalf of cradle, or cradle itself, told to the marketplace, which keeps all usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.client import Upstream
from shared.contracts.usage import UsageLine, UsageRecorded
from shared.metering.units import Key, Units

DEADLINE_S = 10.0


class UsageReports:
    """Tells batches of the spool. The marketplace counts each once, however often it is told."""

    def __init__(self, marketplace: Upstream) -> None:
        self._marketplace = marketplace

    async def add(self, batch_id: str, sums: Mapping[Key, Units]) -> bool:
        """Tell a batch. False where it was counted before."""
        arguments = {"batch_id": batch_id, "lines": [line_of(key, units) for key, units in sums.items()]}
        told = await self._marketplace.call("record_usage", arguments, UsageRecorded, deadline_s=DEADLINE_S)
        return told.added


def line_of(key: Key, units: Units) -> dict[str, Any]:
    """A `UsageLine` as JSON. It has no failures: those that the gateway sees are counted there."""
    line = UsageLine(
        customer_id=key.customer, day=key.day, tool=key.tool, calls=units.calls, tokens=units.tokens,
        pages=units.pages, bytes=units.bytes,
    )  # fmt: skip
    return line.model_dump(mode="json")
