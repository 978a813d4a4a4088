"""How stored things look in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from servers.marketplace.catalogue.catalogue import view_of
from servers.marketplace.catalogue.store import Entry, View
from servers.marketplace.gateway.door import PREFIX, SUFFIX
from servers.marketplace.services import Services
from shared.auth import principal, require_customer
from shared.contracts.catalogue import CatalogueEntry, CatalogueTool
from shared.ids import CustomerId
from shared.settings import Settings

CustomerArgument = Annotated[CustomerId, Field(description="Its id such as mueller-elektro, not its name.")]


def endpoint(settings: Settings, entry: Entry) -> str:
    """Where a caller reaches an entry: through the gateway, or the marketplace itself at its own address."""
    own = settings.resource("marketplace")
    if entry.url == own:
        return own
    return settings.url("marketplace") + PREFIX + entry.server_name + SUFFIX


async def entry_views(held: Services, entries: Sequence[Entry]) -> list[CatalogueEntry]:
    """Entries as this caller sees them, each with the tools that were approved, or that it was registered with."""
    pins = await held.tools.pins(view_of(principal()), [entry.server_name for entry in entries])
    return [_view(held.settings, entry, pins[entry.server_name] or entry.tools) for entry in entries]


def _view(settings: Settings, entry: Entry, tools: Sequence[CatalogueTool]) -> CatalogueEntry:
    return CatalogueEntry(
        server_name=entry.server_name,
        title=entry.title,
        description=entry.description,
        version=entry.version,
        kind=entry.kind,
        customer_id=entry.customer,
        approval=entry.approval,
        tools=list(tools),
        endpoint=endpoint(settings, entry),
        package=entry.package.name if entry.package else None,
        reachable=entry.url is not None,
        installed=entry.installed,
        tier=entry.listing.tier,
        direction=entry.listing.direction,
        needs_licence=entry.listing.needs_licence,
        licensed=entry.listing.licensed,
        rating=rating_of(entry),
        ratings=entry.listing.ratings,
    )


def own_view() -> View:
    """What the caller's customer sees, or everything for the operator.

    Raises:
        Forbidden: the caller is neither.
    """
    view = view_of(principal())
    return view if view.everything else View(require_customer())


def rating_of(entry: Entry) -> float | None:
    """The mean of an entry's ratings; None where it has none."""
    return round(entry.listing.stars / entry.listing.ratings, 2) if entry.listing.ratings else None
