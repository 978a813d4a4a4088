"""The two servers that the orchestrator calls, and each call as a typed function: one MCP request, one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ConfigDict

from shared.contracts.model import Contract
from shared.ids import Digest

Answer = TypeVar("Answer", bound=Contract)
OnProgress = Callable[[float, float | None, str | None], None]


class Caller(Protocol):
    """What is used of `shared.client.Upstream`."""

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        result: type[Answer],
        customer: str | None = None,
        on_progress: Any = None,
        deadline_s: float | None = None,
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Cradle and the marketplace as MCP servers. Both are closed by whoever opened them."""

    cradle: Caller
    marketplace: Caller


class SourcesPrepared(Contract):
    """Cradle has put a customer's list of sources into the customer's bucket."""

    model_config = ConfigDict(extra="ignore")

    sources_digest: Digest


class CleanedUp(Contract):
    """Cradle has removed what a job left in the scratch folder."""

    model_config = ConfigDict(extra="ignore")

    removed: int = 0
