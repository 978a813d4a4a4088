"""Whether the parts of the platform answer, each asked with a short deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson

from servers.orchestrator.answers import PartStatus, PlatformStatus
from servers.orchestrator.store import JobStore
from servers.orchestrator.workflows.worker import State
from shared.errors import PlatformError
from shared.settings import ServerName, Settings

if TYPE_CHECKING:
    import httpx2

DEADLINE_S = 2.0
OTHERS: tuple[ServerName, ...] = ("marketplace", "cradle")


class Health:
    """Asks the other servers and the database.

    Args:
        working: what the worker of this process says of itself; None where it only takes orders and another process
            carries them out.
    """

    def __init__(self, settings: Settings, store: JobStore, working: Callable[[], State] | None = None) -> None:
        self._settings = settings
        self._store = store
        self._working = working
        self._client: httpx2.AsyncClient | None = None

    async def platform(self) -> PlatformStatus:
        """Every part's state."""
        parts = await self._parts(self._jobs())
        return PlatformStatus(healthy=all(part.healthy for part in parts), parts=parts)

    async def own(self) -> dict[str, object]:
        """What `/health` answers: this server is healthy while its database answers; the rest is told."""
        found = await self._parts(*([self._jobs()] if self._working is not None else []))
        parts = {part.name: "healthy" if part.healthy else part.detail or "unavailable" for part in found}
        return {
            "status": "healthy" if parts["postgres"] == "healthy" else "unavailable",
            "service": "orchestrator",
            "dependencies": parts,
        }

    async def _parts(self, *more: Awaitable[PartStatus]) -> list[PartStatus]:
        return await asyncio.gather(self._postgres(), *(self._server(name) for name in OTHERS), *more)

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
            https = any(self._settings.url(each).startswith("https:") for each in OTHERS)
            secure = ssl.create_default_context() if https else False  # this machine's authorities, as other clients
            self._client = httpx2.AsyncClient(timeout=DEADLINE_S, trust_env=False, verify=secure)
        try:
            response = await self._client.get(f"{self._settings.url(name)}/health")
        except (httpx2.HTTPError, OSError):
            return PartStatus(name=name, healthy=False, detail="does not answer")
        if response.status_code != 200:
            return PartStatus(name=name, healthy=False, detail=f"answers {response.status_code}")
        try:
            told = orjson.loads(response.content)
            return PartStatus(name=name, healthy=True, detail=_models(told) if name == "cradle" else "")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return PartStatus(name=name, healthy=False, detail="another program answers at its address")

    async def _jobs(self) -> PartStatus:
        """Whether jobs are carried out: by this process, or else by the orchestrator that runs as a service."""
        if self._working is not None:
            state = self._working()
            detail = {"working": "", "standby": "another process carries them out", "starting": "starting"}[state]
            return PartStatus(name="jobs", healthy=state != "starting", detail=detail)
        worker = await self._server("orchestrator")
        detail = "" if worker.healthy else "no worker answers, so jobs stay queued: start the platform with 0711 up"
        return PartStatus(name="jobs", healthy=worker.healthy, detail=detail)


def _models(told: dict[str, Any]) -> str:
    """Which models cradle's `/health` says it serves."""
    embedding, vision = told["embedding"], told["vision"]
    ready = "model" in embedding
    model = f": {embedding['model']} ({embedding['dimension']} dimensions, {embedding['backend']})" if ready else ""
    return f"embeddings {embedding['status']}{model}; vision: {', '.join(vision['providers'])}"
