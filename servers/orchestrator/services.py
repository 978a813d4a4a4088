"""What the orchestrator's tools call."""

from __future__ import annotations

from dataclasses import dataclass

from servers.orchestrator.health import Health
from servers.orchestrator.orders import Orders
from servers.orchestrator.store import JobStore
from servers.orchestrator.upstreams import Upstreams
from shared.audit import AuditLog
from shared.metering.meter import Meter
from shared.settings import Settings


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
