"""The two servers that the orchestrator calls, one MCP request for one answer."""

from __future__ import annotations

from dataclasses import dataclass

from shared.client import Upstream
from shared.client.credentials import FileTokens
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Cradle and the marketplace as MCP servers."""

    cradle: Upstream
    marketplace: Upstream

    @classmethod
    def of(cls, settings: Settings) -> Upstreams:
        """The platform's own ones, called with this service's credential. Connects to nothing yet."""
        tokens = FileTokens(settings, "orchestrator")
        return cls(
            cradle=Upstream(settings.resource("cradle"), tokens, name="cradle"),
            marketplace=Upstream(settings.resource("marketplace"), tokens, name="marketplace"),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.cradle.aclose()
        await self.marketplace.aclose()
