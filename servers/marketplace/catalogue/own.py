"""The entries that are there from the start: the platform's own servers."""

from __future__ import annotations

from servers.marketplace.catalogue.store import Entry
from shared.settings import ServerName, Settings

VERSION = "0.1.0"
PREFIX = "io.0711/"

_DESCRIPTIONS: dict[ServerName, tuple[str, str]] = {
    "orchestrator": (
        "0711 Orchestrator",
        "Onboards customers, processes new documents, builds and verifies customer images. Start here.",
    ),
    "cradle": (
        "0711 Cradle",
        "Embeddings, OCR and vision, document processing, installation parameters and images on shared hardware.",
    ),
    "marketplace": (
        "0711 MCP Central",
        "Users, tokens, the catalogue of MCP servers, installing and calling them.",
    ),
}


def own_entries(settings: Settings) -> list[Entry]:
    """The platform's servers at their configured addresses. Their tools are filled in when they register them."""
    return [
        Entry(PREFIX + name, title, text, VERSION, "platform", None, settings.resource(name), "approved", ())
        for name, (title, text) in _DESCRIPTIONS.items()
    ]


def own_server(settings: Settings, resource: str) -> ServerName | None:
    """The platform's server whose endpoint is this address."""
    for name in _DESCRIPTIONS:
        if settings.resource(name) == resource:
            return name
    return None
