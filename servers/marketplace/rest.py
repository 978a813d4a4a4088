"""The catalogue in the form of the official MCP registry (`/v0.1`, read only; server.json of 2025-12-11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.catalogue.catalogue import view_of
from servers.marketplace.catalogue.store import EVER, Entry, Version, Wanted, words_of
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import endpoint, rating_of
from shared.auth import principal
from shared.contracts.catalogue import CatalogueTool
from shared.errors import InvalidInput, NotFound
from shared.serving import json_response

DEFAULT_LIMIT, MAX_LIMIT = 30, 100
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
META, OFFICIAL = "io.0711/catalogue", "io.modelcontextprotocol.registry/official"
LATEST = "latest"


async def list_servers(request: Request, services: Services) -> Response:
    """One page of newest versions. Query: `limit` (1 to 100), `cursor`, `search`, `updated_since`, `version=latest`."""
    query = request.query_params
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 4) or not 1 <= int(limit) <= MAX_LIMIT:
        raise InvalidInput(f"`limit` is a number from 1 to {MAX_LIMIT}.", field="limit")
    if query.get("version", LATEST) != LATEST:
        raise InvalidInput("A list holds the newest versions: `version` is `latest` or left out.", field="version")
    search = query.get("search", "")[:200]
    since, words = _instant(query.get("updated_since")), words_of(search)
    if search.strip() and (not words or since != EVER):
        raise InvalidInput("`search` holds words, and stands without `updated_since`.", field="search")
    wanted = Wanted(words=words, since=since)
    entries, cursor = await services.catalogue.page(principal(), wanted, query.get("cursor"), int(limit))
    metadata = {"count": len(entries)} | ({"nextCursor": cursor} if cursor else {})
    return json_response({"servers": await _newest(entries, services), "metadata": metadata})


async def list_versions(request: Request, services: Services) -> Response:
    """Every version of a server, the newest first."""
    entry = await services.catalogue.find(principal(), "entry.see", request.path_params["name"])
    found = [_server(entry, version, services, ()) for version in await services.catalogue.versions(principal(), entry)]
    return json_response({"servers": found, "metadata": {"count": len(found)}})


async def show_version(request: Request, services: Services) -> Response:
    """One version of a server; `latest` is the newest."""
    entry = await services.catalogue.find(principal(), "entry.see", request.path_params["name"])
    wanted = request.path_params["version"]
    if wanted in {LATEST, entry.version}:
        return json_response((await _newest([entry], services))[0])
    for version in await services.catalogue.versions(principal(), entry):
        if version.version == wanted:
            return json_response(_server(entry, version, services, ()))
    raise NotFound("This server has no such version: ask for its versions.", field="version")


async def _newest(entries: Sequence[Entry], services: Services) -> list[dict[str, object]]:
    pins = await services.tools.pins(view_of(principal()), [entry.server_name for entry in entries])
    return [
        _server(
            entry,
            Version(entry.version, entry.title, entry.description, entry.listing.updated_at),
            services,
            pins[entry.server_name] or entry.tools,
        )
        for entry in entries
    ]


def _server(entry: Entry, version: Version, services: Services, tools: Sequence[CatalogueTool]) -> dict[str, object]:
    newest, listing = version.version == entry.version, entry.listing
    own: dict[str, object] = {
        "kind": entry.kind,
        "approval": entry.approval,
        "installed": entry.installed,
        "direction": listing.direction,
        "tier": listing.tier,
        "needsLicence": listing.needs_licence,
        "rating": rating_of(entry),
        "ratings": listing.ratings,
        "tools": [tool.model_dump() for tool in tools],
    }
    return {
        "server": {
            "$schema": SCHEMA,
            "name": entry.server_name,
            "title": version.title[:100],
            "description": version.description[:100],
            "version": version.version,
            **({"remotes": [{"type": "streamable-http", "url": endpoint(services.settings, entry)}]} if newest else {}),
        },
        "_meta": {
            OFFICIAL: {
                "status": "active" if entry.approval == "approved" else "deprecated",
                "publishedAt": version.published_at.isoformat(),
                "updatedAt": listing.updated_at.isoformat(),
                "isLatest": newest,
            },
            META: own,
        },
    }


def _instant(text: str | None) -> datetime:
    if text is None:
        return EVER
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("`updated_since` looks like 2026-11-26T00:00:00Z.", field="updated_since") from None
