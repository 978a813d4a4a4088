"""First-party servers inside the marketplace's process: each has its own endpoint, audience and token check, as any
upstream has, so that pins, licences, metering and audit treat it like every other server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from servers.marketplace.catalogue.own import FIRST_PARTY, first_party_address
from servers.marketplace.first_party.tax.tools import register as tax
from shared.auth import GivenKeys, StandingCallers, TokenVerifier
from shared.serving import Server
from shared.settings import Settings

_TOOLS: dict[str, Callable[[Server], None]] = {"tax": tax}


class FirstParty:
    """An ASGI application for the endpoints of all first-party servers.

    Args:
        keys: the marketplace's public keys.
    """

    def __init__(self, settings: Settings, keys: GivenKeys) -> None:
        self._applications = {
            urlsplit(first_party_address(settings, name)).path: _server(settings, name, keys).asgi()
            for name in FIRST_PARTY
        }

    def serves(self, path: str) -> bool:
        """Whether a path is an endpoint of these."""
        return path in self._applications

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They answer inside the block."""
        async with AsyncExitStack() as stack:
            for application in self._applications.values():
                await stack.enter_async_context(application.lifespan())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        application = self._applications[scope["path"]]
        await application({**scope, "path": "/mcp", "raw_path": b"/mcp"}, receive, send)


def _server(settings: Settings, name: str, keys: GivenKeys) -> Server:
    title, text = FIRST_PARTY[name]
    address = first_party_address(settings, name)
    issuer = settings.url("marketplace")
    verifier = StandingCallers(TokenVerifier(address, issuer, keys), issuer)
    server = Server(
        "marketplace", settings, title=title, instructions=text, verifier=verifier, resource_url=address,
        max_body_bytes=2**20,
    )  # fmt: skip
    _TOOLS[name](server)
    return server
