"""`platform_status`: which parts of the platform answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servers.orchestrator.answers import PlatformStatus
from servers.orchestrator.services import Services


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers `platform_status` on the server."""

    async def platform_status() -> PlatformStatus:
        """Show which parts of the platform answer just now: database, marketplace, cradle, job worker.

        Use it when a call failed as unavailable, or before a long job.
        """
        return await services().health.platform()

    server.tool(
        platform_status, scope="status", title="Platform status", read_only=True, idempotent=True, open_world=False
    )
