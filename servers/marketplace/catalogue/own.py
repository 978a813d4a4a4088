"""The entries that are there from the start: the platform's own servers, and the business servers that it offers."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path

from servers.marketplace.catalogue.store import Entry
from shared.ids import canonical_digest, hash_file
from shared.settings import ServerName, Settings
from shared.version import VERSION

FIRST_PARTY = {
    "tax": (
        "0711 Tax",
        "German VAT (Umsatzsteuer, Mehrwertsteuer) by published rules: checks VAT ids (USt-IdNr.), finds rates by date "
        "(Steuersatz), computes totals, checks invoices (Rechnungen).",
    ),
}
"""Name → title and description of the servers that run inside the marketplace, each at an address of its own."""

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
    platform = [(name, settings.resource(name), told) for name, told in _DESCRIPTIONS.items()]
    business = [(name, first_party_address(settings, name), told) for name, told in FIRST_PARTY.items()]
    return [
        Entry(PREFIX + name, title, text, release(), "platform", None, address, "approved", ())
        for name, address, (title, text) in platform + business
    ]


@cache
def release() -> str:
    """The number of the release and of which code it is, `0.1.0+` and 12 digits. A definition of a tool may change with
    the code, or with the libraries that write it, while the number stays; another version is pinned anew."""
    root = Path(__file__).parents[3]
    paths = sorted(path for package in ("servers", "shared") for path in (root / package).rglob("*.py"))
    code = {path.relative_to(root).as_posix(): hash_file(path) for path in paths}
    code |= {name: metadata.version(name) for name in ("mcp", "pydantic")}
    return f"{VERSION}+{canonical_digest(code).removeprefix('sha256:')[:12]}"


def first_party_address(settings: Settings, name: str) -> str:
    """The endpoint of a first-party server."""
    return f"{settings.url('marketplace')}/first-party/{name}/mcp"


def kind_of_server(settings: Settings, resource: str) -> str:
    """Which scopes the server at this address knows: a key of `policy.SCOPES_OF_SERVER`."""
    business = (name for name in FIRST_PARTY if first_party_address(settings, name) == resource)
    return own_server(settings, resource) or next(business, "instance")


def own_server(settings: Settings, resource: str) -> ServerName | None:
    """The platform's server whose endpoint is this address."""
    for name in _DESCRIPTIONS:
        if settings.resource(name) == resource:
            return name
    return None
