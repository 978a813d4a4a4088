"""Tools for tiers and licences: what a customer gets, and until when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from servers.marketplace.licences.store import Licence
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import CustomerArgument, own_view
from shared.auth import principal
from shared.contracts.catalogue import ServerArgument, ServerIdentifier, Tier
from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.serving import Server

LicenceId = Annotated[str, Field(pattern=r"^lic_[a-z2-7]{26}$")]


class TierSet(Contract):
    """A customer's tier."""

    customer_id: CustomerId
    tier: Tier
    already_there: bool


class LicenceShown(Contract):
    """A licence of one customer for one server."""

    licence_id: LicenceId
    customer_id: CustomerId
    server_name: ServerIdentifier
    expires_at: datetime
    valid: bool = Field(description="Neither expired nor revoked.")


class LicenceList(Contract):
    """Licences; `next_cursor` asks for the next page."""

    licences: list[LicenceShown]
    next_cursor: LicenceId | None


class LicenceRevoked(Contract):
    """A licence that no longer counts."""

    licence_id: LicenceId


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def set_customer_tier(customer_id: CustomerArgument, tier: Tier) -> TierSet:
        """Set which tier a customer has: it sees, installs and calls what this tier and the smaller ones hold.

        Use it when a customer buys more or less; what its tier no longer holds cannot be called within seconds.
        """
        changed = await services().catalogue.set_tier(principal(), customer_id, tier)
        return TierSet(customer_id=customer_id, tier=tier, already_there=not changed)

    async def issue_licence(
        customer_id: CustomerArgument, server_name: ServerArgument, days: Annotated[int, Field(ge=1, le=3660)] = 365
    ) -> LicenceShown:
        """Give a customer a signed licence for a server that needs one.

        Use it before the customer installs the server, and again before a licence ends.
        """
        await services().catalogue.check_customer(principal(), customer_id)
        entry = await services().catalogue.find(principal(), "entry.review", server_name)
        ends = datetime.now(UTC) + timedelta(days=days)
        issued = await services().licences.issue(customer_id, entry.server_name, ends, principal().subject)
        return _shown(issued)

    async def revoke_licence(licence_id: LicenceId) -> LicenceRevoked:
        """End a licence for good; calls that need it end within seconds. Use it when it was given by mistake."""
        caller = principal()
        services().catalogue.check_reviewer(caller)
        await services().licences.revoke(licence_id, caller.customer, caller.subject)
        return LicenceRevoked(licence_id=licence_id)

    async def list_licences(
        cursor: Annotated[LicenceId | None, Field(description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 50,
    ) -> LicenceList:
        """List the licences of this caller's customer, or of all for the operator. Use it to see when one ends."""
        found = await services().licences.page(own_view(), cursor or "", limit + 1)
        following = found[limit - 1].licence_id if len(found) > limit else None
        return LicenceList(licences=[_shown(each) for each in found[:limit]], next_cursor=following)

    write, read = "registry:write", "catalogue:read"
    server.tool(set_customer_tier, scope=write, title="Set a customer's tier", idempotent=True)
    server.tool(issue_licence, scope=write, title="Issue a licence")
    server.tool(revoke_licence, scope=write, title="Revoke a licence", destructive=True)
    server.tool(list_licences, scope=read, title="List licences", read_only=True, idempotent=True)


def _shown(licence: Licence) -> LicenceShown:
    return LicenceShown(
        licence_id=licence.licence_id,
        customer_id=licence.customer,
        server_name=licence.server_name,
        expires_at=licence.expires_at,
        valid=not licence.revoked and licence.expires_at > datetime.now(UTC),
    )
