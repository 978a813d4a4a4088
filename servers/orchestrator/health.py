"""Whether the parts of the platform answer, each asked with a short deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from servers.orchestrator.answers import PartStatus, PlatformStatus
from servers.orchestrator.store import JobStore
from shared.errors import PlatformError
from shared.settings import ServerName, Settings

if TYPE_CHECKING:
    import httpx2

DEADLINE_S = 2.0
OTHERS: tuple[ServerName, ...] = ("marketplace", "cradle")


class Health:
    """Asks the other servers and the database.

    Args:
        working: whether this process carries out jobs; None where it only takes orders.
    """

    def __init__(self, settings: Settings, store: JobStore, working: Callable[[], bool] | None = None) -> None:
        self._settings = settings
        self._store = store
        self._working = working
        self._client: httpx2.AsyncClient | None = None

    async def platform(self) -> PlatformStatus:
        """Every part's state."""
        parts = await asyncio.gather(self._postgres(), *(self._server(name) for name in OTHERS))
        if self._working is not None:
            working = self._working()
            parts.append(PartStatus(name="jobs", healthy=working, detail="" if working else "starting"))
        return PlatformStatus(healthy=all(part.healthy for part in parts), parts=parts)

    async def own(self) -> dict[str, object]:
        """What `/health` answers: this server is healthy while its database answers; the rest is told."""
        status = await self.platform()
        parts = {part.name: "healthy" if part.healthy else part.detail or "unavailable" for part in status.parts}
        return {
            "status": "healthy" if parts["postgres"] == "healthy" else "unavailable",
            "service": "orchestrator",
            "dependencies": parts,
        }

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _postgres(self) -> PartStatus:
        try:
            async with asyncio.timeout(DEADLINE_S):
                healthy = await self._store.healthy()
        except (TimeoutError, PlatformError):
            healthy = False
        return PartStatus(name="postgres", healthy=healthy, detail="" if healthy else "does not answer")

    async def _server(self, name: ServerName) -> PartStatus:
        import httpx2

        if self._client is None:
            secure = any(self._settings.url(each).startswith("https:") for each in OTHERS)
            self._client = httpx2.AsyncClient(timeout=DEADLINE_S, trust_env=False, verify=secure)
        try:
            response = await self._client.get(f"{self._settings.url(name)}/health")
        except (httpx2.HTTPError, OSError):
            return PartStatus(name=name, healthy=False, detail="does not answer")
        healthy = response.status_code == 200
        return PartStatus(name=name, healthy=healthy, detail="" if healthy else f"answers {response.status_code}")
