"""The catalogue in the form of the official MCP registry (`GET /v0.1/servers`, read only)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.catalogue.store import Entry
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import endpoint
from shared.auth import principal
from shared.errors import InvalidInput
from shared.serving import json_response

DEFAULT_LIMIT, MAX_LIMIT = 30, 100
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
META = "io.0711/catalogue"


async def list_servers(request: Request, services: Services) -> Response:
    """One page. Query: `limit` (1 to 100), `cursor`, `search`."""
    limit = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not limit.isdecimal() or not 1 <= int(limit[:4]) <= MAX_LIMIT:
        raise InvalidInput(f"`limit` is a number from 1 to {MAX_LIMIT}.", field="limit")
    entries, cursor = await services.catalogue.page(
        principal(), request.query_params.get("search", "")[:200], request.query_params.get("cursor"), int(limit)
    )
    metadata = {"count": len(entries)} | ({"nextCursor": cursor} if cursor else {})
    return json_response({"servers": [_server(entry, services) for entry in entries], "metadata": metadata})


def _server(entry: Entry, services: Services) -> dict[str, object]:
    return {
        "server": {
            "$schema": SCHEMA,
            "name": entry.server_name,
            "title": entry.title,
            "description": entry.description[:100],
            "version": entry.version,
            "remotes": [{"type": "streamable-http", "url": endpoint(services.settings, entry)}],
        },
        "_meta": {META: {"kind": entry.kind, "approval": entry.approval, "installed": entry.installed}},
    }
