"""The two servers that the orchestrator calls, one MCP request for one answer, and answers that only it reads."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict

from servers.orchestrator.credentials import FileTokens
from shared.client import Upstream
from shared.contracts.model import Contract
from shared.ids import Digest
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


class SourcesPrepared(Contract):
    """Cradle has put a customer's list of sources into the customer's bucket."""

    model_config = ConfigDict(extra="ignore")

    sources_digest: Digest


class CleanedUp(Contract):
    """Cradle has removed what a job left in the scratch folder."""

    model_config = ConfigDict(extra="ignore")

    removed: int = 0
