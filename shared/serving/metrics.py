"""`GET /metrics`: for a scraper on the same machine, where no proxy stands in between."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Forbidden, PlatformError
from shared.serving.application import HEALTHY, Health
from shared.serving.guard import LOOPBACK
from shared.serving.rest import Handler
from shared.telemetry import HOME_FREE, PART_HEALTHY, exposition

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
HEALTH_WITHIN_S = 5.0
"""Half of the time that Prometheus waits for a scrape."""
Measured = Callable[[], Awaitable[tuple[bytes, str]]]
"""Gives a process's metrics and their media type."""


def metrics_route(measured: Measured) -> Handler:
    """`GET /metrics`: all metrics of the process."""

    async def metrics(request: Request) -> Response:
        """Labels hold names of tools and parts and codes of errors, nothing of a customer.

        Raises:
            Forbidden: the request comes from another machine, or through a proxy.
        """
        check_near(request)
        body, media_type = await measured()
        return Response(body, media_type=media_type)

    return metrics


def check_near(request: Request) -> None:
    """Let a scraper on the same machine pass.

    Raises:
        Forbidden: the request comes from another machine, or through a proxy.
    """
    near = request.client is not None and request.client.host in LOOPBACK
    if not near or any(header in request.headers for header in FORWARDED):
        raise Forbidden("Metrics are for a scraper on the same machine.")


async def measured(server: str, home: Path, health: Health | None) -> tuple[bytes, str]:
    """The metrics of this process and their media type, with how `health` and the disk of the home folder are now."""
    for part, state in (await _parts(health)).items():
        PART_HEALTHY.labels(server, part).set(state in HEALTHY)
    with suppress(OSError):  # no such folder: an instance's
        HOME_FREE.labels(server).set(shutil.disk_usage(home).free)
    return exposition()


async def _parts(health: Health | None) -> dict[str, Any]:
    """The state of the server itself and of each of its dependencies."""
    told: dict[str, Any] = {"status": "healthy"}
    try:
        async with asyncio.timeout(HEALTH_WITHIN_S):
            told = await health() if health is not None else told
    except (TimeoutError, PlatformError):
        told = {"status": "unavailable"}
    return {"server": told["status"]} | told.get("dependencies", {})
