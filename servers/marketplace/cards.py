"""What may be known without a token: cards of the servers that are for everybody, and the index of them.

Cards: MCP extension `io.modelcontextprotocol/server-card` (SEP-2127). Index: AI Catalog 1.0.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.catalogue.catalogue import unknown_server
from servers.marketplace.catalogue.store import Entry
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import endpoint
from shared.serving import json_response
from shared.settings import Settings

SCHEMA = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
CARD, INDEX = "application/mcp-server-card+json", "application/ai-catalog+json"
SUFFIX = "/server-card"
OPEN = {"access-control-allow-origin": "*", "cache-control": "public, max-age=300"}


async def index(request: Request, services: Services) -> Response:
    """`/.well-known/ai-catalog.json`: the servers that are for everybody, each with the address of its card."""
    settings = services.settings
    entries = [
        {
            "identifier": f"urn:mcp:server:{entry.server_name}",
            "displayName": entry.title,
            "description": entry.description,
            "version": entry.version,
            "type": CARD,
            "url": endpoint(settings, entry) + SUFFIX,
        }
        for entry in await services.catalogue.for_everybody()
    ]
    host = {"displayName": "0711 MCP Central", "identifier": settings.url("marketplace")}
    return json_response({"specVersion": "1.0", "host": host, "entries": entries}, headers=_headers(INDEX))


async def card(request: Request, services: Services) -> Response:
    """`<mcp-url>/server-card`: one of these servers."""
    address = services.settings.url("marketplace") + request.url.path.removesuffix(SUFFIX)
    for entry in await services.catalogue.for_everybody():
        if endpoint(services.settings, entry) == address:
            return json_response(_card(services.settings, entry), headers=_headers(CARD))
    raise unknown_server()


def serves(path: str) -> bool:
    """Whether a path is that of a card."""
    return path == "/mcp" + SUFFIX or (path.startswith("/servers/") and path.endswith("/mcp" + SUFFIX))


def _card(settings: Settings, entry: Entry) -> dict[str, object]:
    return {
        "$schema": SCHEMA,
        "name": entry.server_name,
        "title": entry.title[:100],
        "description": entry.description[:100],
        "version": entry.version,
        "remotes": [
            {
                "type": "streamable-http",
                "url": endpoint(settings, entry),
                "supportedProtocolVersions": ["2025-11-25", "2026-07-28"],
            }
        ],
    }


def _headers(media_type: str) -> dict[str, str]:
    return {**OPEN, "content-type": media_type}
