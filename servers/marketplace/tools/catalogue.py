"""Tools for finding and installing servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from servers.marketplace.catalogue.catalogue import cursor_after, view_of
from servers.marketplace.catalogue.store import Entry, Wanted, words_of
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import endpoint, entry_views
from shared.answers import fitting
from shared.auth import principal, require_customer
from shared.contracts.catalogue import (
    CatalogueEntry,
    CataloguePage,
    ServerArgument,
    ServerInstalled,
    ServerUninstalled,
    ToolIdentifier,
)
from shared.contracts.model import Contract
from shared.errors import DeadlineExceeded, InvalidInput, Overloaded, Unavailable
from shared.serving import Server

Query = Annotated[str, Field(max_length=200, description="Words in the name, title, description or a tool's name.")]
ToolName = Annotated[ToolIdentifier | None, Field(description="Exactly as the server names it.")]
Cursor = Annotated[str | None, Field(max_length=400, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Field(ge=1, le=100)]
NO_WORD = "No server has such words or such a tool: search_mcps finds servers by what they are for."


class ServerFound(Contract):
    """A server, and how alike its description and the question are (cosine); none where words were compared."""

    entry: CatalogueEntry
    similarity: float | None


class ServersFound(Contract):
    """Servers, the most alike first."""

    servers: list[ServerFound]
    note: str


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def page(wanted: Wanted, cursor: str | None, limit: int) -> CataloguePage:
        entries, following = await services().catalogue.page(principal(), wanted, cursor, limit)
        views = await entry_views(services(), entries)
        shown = fitting(views)
        if len(shown) < len(views):
            following = cursor_after(shown[-1].server_name)
        note = NO_WORD if (wanted.words or wanted.tool) and not (shown or cursor or following) else ""
        return CataloguePage(entries=shown, next_cursor=following, note=note)

    async def list_marketplace_mcps(
        query: Query = "", tool_name: ToolName = None, cursor: Cursor = None, limit: Limit = 50
    ) -> CataloguePage:
        """List the MCP servers that this caller can see, by name. Use it to find a server before install_mcp.

        With `query`, those whose name, title, description or tools hold words that begin so; with `tool_name`,
        those that have a tool of exactly this name.
        """
        words = words_of(query)
        if query.strip() and (tool_name is not None or not words):
            raise InvalidInput("Search with words or with a tool's name, not with both or signs alone.", field="query")
        return await page(Wanted(words=words, tool=tool_name or ""), cursor, limit)

    async def search_mcps(
        question: Annotated[
            str, Field(min_length=1, max_length=500, description="What a server should be able to do.")
        ],
        limit: Annotated[int, Field(ge=1, le=25)] = 5,
    ) -> ServersFound:
        """Find servers by what they are for, in your own words. Use it where list_marketplace_mcps finds no word.

        Where the embedding service does not answer, words alone are compared, and the note says so.
        """
        caller = principal()
        try:
            ranked = await services().meaning.ranked(view_of(caller), question)
        except (Unavailable, Overloaded, DeadlineExceeded):
            entries, _ = await services().catalogue.page(caller, Wanted(words=words_of(question)), None, limit)
            return await found(entries, {}, "The embedding service does not answer: only words were compared.")
        scores = dict(zip(ranked.names, ranked.scores, strict=True))
        entries = await services().catalogue.seen(caller, ranked.names, limit)
        return await found(
            entries, scores, "More servers wait to be read: ask again in a moment." if ranked.unread else ""
        )

    async def found(entries: Sequence[Entry], scores: Mapping[str, float], note: str) -> ServersFound:
        views = await entry_views(services(), entries)
        fit = fitting(views)
        if len(fit) < len(views):
            note = f"{note} The first {len(fit)} fill an answer: ask more exactly for others.".lstrip()
        shown = [ServerFound(entry=view, similarity=_rounded(scores.get(view.server_name))) for view in fit]
        return ServersFound(servers=shown, note=note)

    async def list_installed_mcps(cursor: Cursor = None, limit: Limit = 50) -> CataloguePage:
        """List the MCP servers that are installed for this caller's customer. Use it to find the `endpoint` of each."""
        require_customer()
        return await page(Wanted(installed_only=True), cursor, limit)

    async def install_mcp(server_name: ServerArgument) -> ServerInstalled:
        """Install a server of the catalogue for this caller's customer, so its users can call it. Safe to repeat.

        Use it after list_marketplace_mcps.
        """
        customer = require_customer()
        entry, fresh = await services().catalogue.install(principal(), customer, server_name)
        return ServerInstalled(
            customer_id=customer,
            server_name=entry.server_name,
            endpoint=endpoint(services().settings, entry),
            already_there=not fresh,
        )

    async def uninstall_mcp(server_name: ServerArgument) -> ServerUninstalled:
        """Take a server away from this caller's customer; its users can no longer call it. The entry stays listed.

        Use it when the customer no longer wants a server; install_mcp brings it back.
        """
        customer = require_customer()
        was = await services().catalogue.uninstall(principal(), customer, server_name)
        return ServerUninstalled(customer_id=customer, server_name=server_name, was_installed=was)

    read, write = "catalogue:read", "catalogue:install"
    server.tool(list_marketplace_mcps, scope=read, title="List servers", read_only=True, idempotent=True)
    server.tool(search_mcps, scope=read, title="Search servers by meaning", read_only=True, idempotent=True)
    server.tool(list_installed_mcps, scope=read, title="List installed servers", read_only=True, idempotent=True)
    server.tool(install_mcp, scope=write, title="Install a server", idempotent=True)
    server.tool(uninstall_mcp, scope=write, title="Uninstall a server", destructive=True, idempotent=True)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
