"""Tools for finding and installing servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.marketplace.catalogue.store import Wanted, words_of
from servers.marketplace.services import Services
from servers.marketplace.tools.shapes import endpoint, entry_view
from shared.auth import principal, require_customer
from shared.contracts.catalogue import (
    CataloguePage,
    ServerIdentifier,
    ServerInstalled,
    ServerUninstalled,
    ToolIdentifier,
)
from shared.errors import InvalidInput
from shared.serving import Server

Query = Annotated[str, Field(max_length=200, description="Words in the name, title, description or a tool's name.")]
ToolName = Annotated[ToolIdentifier | None, Field(description="Exactly as the server names it.")]
Cursor = Annotated[str | None, Field(max_length=400, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Field(ge=1, le=100)]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def page(wanted: Wanted, cursor: str | None, limit: int) -> CataloguePage:
        entries, following = await services().catalogue.page(principal(), wanted, cursor, limit)
        shown = [entry_view(services().settings, entry) for entry in entries]
        return CataloguePage(entries=shown, next_cursor=following)

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

    async def list_installed_mcps(cursor: Cursor = None, limit: Limit = 50) -> CataloguePage:
        """List the MCP servers that are installed for this caller's customer. Use it to find the `endpoint` of each."""
        require_customer()
        return await page(Wanted(installed_only=True), cursor, limit)

    async def install_mcp(server_name: ServerIdentifier) -> ServerInstalled:
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

    async def uninstall_mcp(server_name: ServerIdentifier) -> ServerUninstalled:
        """Take a server away from this caller's customer; its users can no longer call it. The entry stays listed.

        Use it when the customer no longer wants a server; install_mcp brings it back.
        """
        customer = require_customer()
        was = await services().catalogue.uninstall(principal(), customer, server_name)
        return ServerUninstalled(customer_id=customer, server_name=server_name, was_installed=was)

    read, write = "catalogue:read", "catalogue:install"
    server.tool(list_marketplace_mcps, scope=read, title="List servers", read_only=True, idempotent=True)
    server.tool(list_installed_mcps, scope=read, title="List installed servers", read_only=True, idempotent=True)
    server.tool(install_mcp, scope=write, title="Install a server", idempotent=True)
    server.tool(uninstall_mcp, scope=write, title="Uninstall a server", destructive=True, idempotent=True)
