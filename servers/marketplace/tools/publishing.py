"""Tools for the way of a server into the catalogue: proposing one, reviewing it, rating it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints

from servers.marketplace.catalogue.lifecycle import check_step
from servers.marketplace.catalogue.store import Entry
from servers.marketplace.runners.package import Package
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import entry_views
from servers.marketplace.unseen import without_unseen
from shared.auth import principal, require_customer
from shared.contracts.catalogue import Approval, CatalogueEntry, Direction, ServerArgument, ServerIdentifier, Tier
from shared.contracts.model import Contract
from shared.errors import InvalidInput
from shared.ids import Digest
from shared.serving import Server

IMPORT_DEADLINE_S = 300.0
Line = StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")


class RegistryImported(Contract):
    """What came of a mirroring: servers that are proposals now, and those that were left out, by reason."""

    proposed: int
    unchanged: int
    suspended: int = Field(description="Deleted there, so no longer callable here.")
    skipped: dict[str, int]
    next_cursor: str | None = Field(description="Call again with it; none: the registry has ended.")


class Rated(Contract):
    """A rating that counts."""

    server_name: ServerIdentifier
    stars: int


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def shown(server_name: str) -> CatalogueEntry:
        entry = await services().catalogue.find(principal(), "entry.see", server_name)
        return (await entry_views(services(), [entry]))[0]

    async def submit_mcp(
        server_name: ServerArgument,
        title: Annotated[str, Line],
        description: Annotated[str, StringConstraints(min_length=1, max_length=2000)],
        version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")],
        url: Annotated[str | None, Field(max_length=500, description="Its MCP endpoint, over https.")] = None,
        package: Annotated[
            Package | None, Field(description="Or the package, as in server.json, that the platform runs over stdio.")
        ] = None,
    ) -> CatalogueEntry:
        """Propose an MCP server for the catalogue: it is listed for others once the operator has approved it.

        Use it again with a new version; that one is reviewed anew. A customer's own server stays visible to this
        customer only. Names are those of your own domain, such as com.example/orders. Nothing of a package runs before
        the operator takes it into review, and only with the operator's own command or as a closed container.
        """
        if (url is None) == (package is None):
            raise InvalidInput("Give the server's `url`, or its `package`: one of both.", field="url")
        title, description = without_unseen(title), without_unseen(description)
        if not (title.strip() and description.strip()):
            raise InvalidInput("Title and description are texts that a person sees.", field="title")
        proposed = Entry(
            server_name, title, description, version, "external", None, url, "submitted", (), package=package
        )
        await services().catalogue.submit(principal(), proposed)
        return await shown(server_name)

    async def review_mcp(
        server_name: ServerArgument,
        state: Annotated[Approval, Field(description="The next state: submitted → review → approved.")],
        reviewed: Annotated[Digest | None, Field(description="For `approved`: `reviewed` of check_mcp.")] = None,
        tier: Annotated[Tier | None, Field(description="The smallest tier that gets it; none: as it is.")] = None,
        needs_licence: Annotated[bool | None, Field(description="None: as it is.")] = None,
        direction: Annotated[Direction | None, Field(description="None: as it is.")] = None,
    ) -> CatalogueEntry:
        """Move a proposed server to its next state, and set who gets it.

        Use it with `review`, then look at what check_mcp shows, then with `approved` and the digest of what you saw.
        `suspended` ends every call at once. The same state again changes only tier, licence and direction.
        """
        entry = await services().catalogue.find(principal(), "entry.review", server_name)
        if state != entry.approval:
            check_step(entry.approval, state)  # before the tools are approved
        if state == "approved" and entry.approval != "approved":
            if reviewed is None:
                raise InvalidInput("Give `reviewed` of check_mcp, so that what you saw is approved.", field="reviewed")
            await services().tools.approve(entry, reviewed, principal().subject)
        now = entry.listing
        listing = replace(
            now,
            tier=tier or now.tier,
            needs_licence=now.needs_licence if needs_licence is None else needs_licence,
            direction=direction or now.direction,
        )
        await services().catalogue.review(principal(), entry, state, listing)
        return await shown(server_name)

    async def rate_mcp(server_name: ServerArgument, stars: Annotated[int, Field(ge=1, le=5)]) -> Rated:
        """Rate a server that is installed for this caller's customer, from 1 to 5; a new rating replaces the old one.

        Use it when the customer has worked with the server.
        """
        await services().catalogue.rate(principal(), require_customer(), server_name, stars)
        return Rated(server_name=server_name, stars=stars)

    async def import_registry(
        url: Annotated[str, Field(max_length=400, description="Such as https://registry.example.com, without /v0.1.")],
        cursor: Annotated[str | None, Field(max_length=1000)] = None,
        updated_since: Annotated[
            str | None, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,15}(Z|[+-][0-9]{2}:[0-9]{2}))?$")
        ] = None,
    ) -> RegistryImported:
        """Take over the servers of another MCP registry as proposals, up to a thousand a call.

        Use it to fill the catalogue or, with `updated_since`, to keep it up to date. Nothing that comes this way is
        visible or callable before review_mcp has approved it.
        """
        services().catalogue.check_reviewer(principal())
        done = await services().mirror.load(url, cursor, updated_since)
        return RegistryImported(
            proposed=done.proposed,
            unchanged=done.unchanged,
            suspended=done.suspended,
            skipped=dict(done.skipped),
            next_cursor=done.next_cursor,
        )

    server.tool(
        import_registry, scope="registry:write", title="Mirror a registry", idempotent=True, open_world=True,
        deadline_s=IMPORT_DEADLINE_S,
    )  # fmt: skip
    server.tool(submit_mcp, scope="catalogue:install", title="Propose a server", idempotent=True)
    server.tool(review_mcp, scope="registry:write", title="Review a server", idempotent=True)
    server.tool(rate_mcp, scope="catalogue:install", title="Rate a server", idempotent=True)
