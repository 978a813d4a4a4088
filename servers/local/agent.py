"""The operator as an MCP client: what the demo and the command line use to call the platform from outside."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from servers.local.platform import operator_file
from shared.contracts.model import Contract
from shared.errors import Unavailable
from shared.settings import Settings

Answer = TypeVar("Answer", bound=Contract)


class Agent:
    """Calls the orchestrator over HTTP with the operator's local credential."""

    def __init__(self, settings: Settings) -> None:
        from shared.client import TokenSource, Upstream

        path = operator_file(settings.home)
        if not path.exists():
            raise Unavailable("There is no operator credential in this home folder yet. Start the platform: 0711 up")
        credential = orjson.loads(path.read_bytes())
        tokens = TokenSource(settings, credential["client_id"], credential["client_secret"])
        self._upstream = Upstream(settings.resource("orchestrator"), tokens)

    async def __aenter__(self) -> Self:
        await self._upstream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstream.__aexit__(kind, error, trace)

    async def orchestrator(self, tool: str, arguments: dict[str, Any], result: type[Answer]) -> Answer:
        """The answer of one of the orchestrator's tools."""
        return await self._upstream.call(tool, arguments, result)
