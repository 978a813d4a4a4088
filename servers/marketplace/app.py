"""What the marketplace ("MCP Central") offers, and its process."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servers.marketplace import rest
from servers.marketplace.gateway.relay import Gateway
from servers.marketplace.services import Services, opened
from servers.marketplace.tools import accounts, catalogue, registry
from shared.auth import GivenKeys, TokenVerifier
from shared.postgres.urls import DatabaseUrls, database_urls
from shared.serving import Server, serve
from shared.settings import Settings

INSTRUCTIONS = """\
MCP Central of the 0711 platform: the catalogue of MCP servers, and the door to those that are installed.

- What there is: list_marketplace_mcps. What this customer has: list_installed_mcps.
- install_mcp makes a server callable at its `endpoint` with a token of this marketplace.
- whoami tells which account, customer and scopes this connection has.
"""


def build(settings: Settings, urls: DatabaseUrls | None = None) -> Server:
    """The server with everything that it offers.

    Args:
        urls: of the database `user_registry`; default: those of the home folder.
    """

    def services() -> Services:
        return server.services

    async def health() -> dict[str, Any]:
        return await services().health()

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await services().gateway(scope, receive, send)

    def jwks() -> dict[str, Any]:
        return services().keys.jwks()

    verifier = TokenVerifier.of(settings, "marketplace", GivenKeys(jwks))
    server = Server(
        "marketplace",
        settings,
        title="0711 MCP Central",
        instructions=INSTRUCTIONS,
        lifespan=lambda: opened(settings, urls or database_urls(settings, "user_registry"), verifier),
        health=health,
        verifier=verifier,
    )
    for offers in (catalogue, registry, accounts):
        offers.register(server, services)
    _add_routes(server, services)
    server.mount(Gateway.serves, gateway)
    return server


async def main(settings: Settings) -> None:
    """Serve until told to stop."""
    await serve([(build(settings).asgi(), settings.marketplace_port)], settings, "marketplace")


def _add_routes(server: Server, services: Any) -> None:
    async def token(request: Request) -> Response:
        return await services().oauth.token(request)

    async def login(request: Request) -> Response:
        return await services().oauth.login(request)

    async def jwks(request: Request) -> Response:
        return await services().oauth.jwks(request)

    async def metadata(request: Request) -> Response:
        return await services().oauth.metadata(request)

    async def servers(request: Request) -> Response:
        return await rest.list_servers(request, services())

    server.route("/oauth/token", token, ["POST"], public=True)
    server.route("/v1/login", login, ["POST"], public=True)
    server.route("/.well-known/jwks.json", jwks, public=True)
    server.route("/.well-known/oauth-authorization-server", metadata, public=True)
    server.route("/v0.1/servers", servers, scope="catalogue:read")
