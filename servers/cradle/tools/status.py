"""`cradle_status`, and what `GET /health` answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servers.cradle.services import Services
from shared.contracts.model import Contract
from shared.serving import Server


class CradleStatus(Contract):
    """The state of cradle's parts."""

    status: str
    embedding: dict[str, Any]
    vision: dict[str, Any]
    installations: str


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tool on the server."""

    async def cradle_status() -> CradleStatus:
        """Say which model is loaded, how full the queues are and whether the database answers. Use it to find out why
        a call is slow or refused.
        """
        return CradleStatus.model_validate(await health(services()))

    server.tool(cradle_status, scope="status", title="Cradle's state", read_only=True, idempotent=True)


async def health(held: Services) -> dict[str, Any]:
    """Healthy means: it can take work. A model that still loads is no fault: calls wait for it."""
    database = await held.database.healthy()
    embedding = held.embedding.health()
    broken = not database or embedding.get("status") == "failed"
    return {
        "status": "unhealthy" if broken else "healthy",
        "embedding": embedding,
        "vision": held.vision.health(),
        "installations": "healthy" if database else "unavailable",
    }
