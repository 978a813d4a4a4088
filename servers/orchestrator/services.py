"""What the orchestrator's tools call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from servers.orchestrator.health import Health
from servers.orchestrator.orders import Orders
from servers.orchestrator.store import JobStore
from servers.orchestrator.upstreams import Upstreams
from shared.audit import AuditLog
from shared.contracts.model import Contract
from shared.metering.meter import Meter
from shared.settings import Settings

Answer = TypeVar("Answer", bound=Contract)


@dataclass(frozen=True, slots=True)
class Services:
    """The orchestrator's services."""

    settings: Settings
    store: JobStore
    upstreams: Upstreams
    orders: Orders
    health: Health
    meter: Meter
    audit: AuditLog

    async def cradle(self, tool: str, answer: type[Answer], customer: str | None, **arguments: object) -> Answer:
        """One call of cradle that a tool's caller waits for."""
        return await self.upstreams.cradle.call(
            tool, arguments, answer, customer=customer, deadline_s=self.settings.call_deadline_s
        )
