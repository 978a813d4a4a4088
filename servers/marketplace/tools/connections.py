"""Tools for connections: a customer's own credential for a server of someone else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from servers.marketplace.catalogue.address import check_address
from servers.marketplace.runners.command import variable_for
from servers.marketplace.services import Services
from shared.auth import principal, require_customer
from shared.contracts.catalogue import Direction, ServerArgument, ServerIdentifier
from shared.contracts.model import Contract
from shared.errors import Conflict, InvalidInput
from shared.serving import Server

HeaderName = Annotated[
    str,
    Field(
        pattern=r"^(authorization|x-[a-z0-9-]{1,60}|[A-Z][A-Z0-9_]{0,63})$",
        description="The header that the server wants it in, or the variable that a package reads; none: the usual.",
    ),
]
Credential = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,3998}[\x21-\x7e])?$"),
    Field(description="The header's whole value, such as 'Bearer …'. It is sealed and never shown again."),
]


class Connected(Contract):
    """A connection that works. The credential is not shown again."""

    server_name: ServerIdentifier
    direction: Direction
    tools: int = Field(description="How many tools the server showed with this credential.")


class Disconnected(Contract):
    """A server without a connection."""

    server_name: ServerIdentifier
    was_connected: bool


class ConnectionListed(Contract):
    """A connection, without its credential."""

    server_name: ServerIdentifier
    direction: Direction
    header: str
    tested_at: datetime


class ConnectionList(Contract):
    """Connections in the order of their servers' names."""

    connections: list[ConnectionListed]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def connect_mcp(
        server_name: ServerArgument,
        credential: Credential,
        direction: Annotated[
            Direction | None,
            Field(description="input: only tools that say they only read (readOnlyHint). Null: as the entry's."),
        ] = None,
        header: HeaderName | None = None,
    ) -> Connected:
        """Connect this caller's customer to a server of someone else's with the customer's own credential.

        Use it for an external server that wants a key. The server is asked for its tools with it first: where that
        fails, nothing is saved. Calls then carry this credential instead of the platform's token, to the address where
        it was tested. One of the operator without a customer is for check_mcp and the checks alone.
        """
        customer, caller = _owner(), principal()
        action = "entry.review" if customer is None else "entry.install"
        entry = await services().catalogue.find(caller, action, server_name)
        if entry.kind != "external":
            raise Conflict("The platform's own servers and instances need no credential.", field="server_name")
        if entry.package is None:
            url, name = check_address(entry.url or "", inside=entry.operated), header or "authorization"
        else:
            url, name = entry.url or "", variable_for(services().settings, entry.package, header)
        if entry.package is None and name.isupper():
            raise InvalidInput("This server is called at its address: name a header.", field="header")
        way = _direction(entry.listing.direction, direction)
        told = (name, credential)
        found = await services().checks.with_header(entry, told)
        await services().connections.save(customer, entry.server_name, url, way, told, caller.subject)
        return Connected(server_name=entry.server_name, direction=way, tools=found)

    async def disconnect_mcp(server_name: ServerArgument) -> Disconnected:
        """Forget this customer's credential for a server. Use it when the credential is no longer to be used."""
        was = await services().connections.remove(_owner(), server_name, principal().subject)
        if not was:  # whoever is connected may leave, whatever has become of the entry
            await services().catalogue.find(principal(), "entry.see", server_name)
        return Disconnected(server_name=server_name, was_connected=was)

    async def list_connections() -> ConnectionList:
        """List this customer's connections, without credentials. Use it to see what is connected."""
        found = await services().connections.listed(_owner())
        return ConnectionList(
            connections=[
                ConnectionListed(
                    server_name=each.server_name, direction=each.direction, header=each.header, tested_at=each.tested_at
                )
                for each in found
            ]
        )

    read, write = "catalogue:read", "catalogue:install"
    server.tool(connect_mcp, scope=write, title="Connect a server", idempotent=True, open_world=True)
    server.tool(disconnect_mcp, scope=write, title="Disconnect a server", destructive=True, idempotent=True)
    server.tool(list_connections, scope=read, title="List connections", read_only=True, idempotent=True)


def _owner() -> str | None:
    """The customer that the caller acts for; None for the operator, who acts for none."""
    caller = principal()
    return None if caller.customer is None and caller.role == "platform_admin" else require_customer()


def _direction(of_entry: Direction, asked: Direction | None) -> Direction:
    """Which way data goes by a connection: the entry's, or less.

    Raises:
        InvalidInput: the entry is for another one.
    """
    if asked is None or of_entry in {"both", asked}:
        return asked or of_entry
    raise InvalidInput(f"The catalogue has this server for {of_entry} alone: leave direction out.", field="direction")
