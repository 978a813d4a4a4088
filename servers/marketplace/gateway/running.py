"""Calls of servers that the marketplace runs itself: what the door answers for them (and for a server whose era its
caller does not speak), and one call of a child.

To the relay a child looks like any upstream: an answer that arrives in events. Only `tools/call` goes to it; its tools
are listed from the snapshot, and it is what was approved: the definitions that it shows at its start are compared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from mcp_types.jsonrpc import METHOD_NOT_FOUND
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from servers.marketplace.gateway.eras import LEGACY, MODERN, legacy_value, modern_value
from servers.marketplace.gateway.exchange import Arriving, Exchange
from servers.marketplace.gateway.listing import SERVER_INFO, TTL_MS
from servers.marketplace.gateway.message import Message, ProtocolError, event_of
from servers.marketplace.gateway.route import Route
from servers.marketplace.runners.child import Call, Child
from servers.marketplace.runners.pool import Runners, Wanted
from shared.errors import Unavailable
from shared.ids import digest
from shared.version import VERSION

CAPABILITIES = {"tools": {}}


@asynccontextmanager
async def child_answer(runners: Runners, exchange: Exchange) -> AsyncIterator[Arriving]:
    """The answer of a running server to one call of a tool.

    Raises:
        Overloaded: too many servers run.
        Unavailable: it does not start, or the tool is not what was approved.
    """
    route, message, tool = exchange.route, exchange.message, exchange.tool or ""
    assert route.package is not None  # noqa: S101
    asks = exchange.can_be_asked and route.era == "legacy"
    caller = f"{exchange.owner[0]} {exchange.session}" if asks else None
    wanted = Wanted(route.server_name, route.url, route.package, route.grant.customer, route.credential, caller)
    async with runners.lent(wanted) as child:
        _check_tool(child, route, tool)
        modern = child.era == "modern"
        value = modern_value(message, tool, asks=exchange.can_be_asked) if modern else legacy_value(message, tool)
        async with child.call(value) as call:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            yield Arriving(200, True, headers, None, _events(call), modern, call.answer)


async def _events(call: Call) -> AsyncIterator[bytes]:
    async for value in call.messages():
        yield event_of(orjson.dumps(value))


def own_answer(route: Route, message: Message, capabilities: dict[str, Any]) -> dict[str, Any]:
    """The result of a request that the door itself answers for a server.

    Raises:
        ProtocolError: it is of a method that such a server is not asked for.
    """
    if message.method == "initialize":
        asked = message.params.get("protocolVersion")
        version = asked if asked in HANDSHAKE_PROTOCOL_VERSIONS else LEGACY
        info = {"name": route.server_name, "version": VERSION}
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
    if message.method == "ping" and not message.modern:
        return {}
    if message.method == "server/discover":
        return {
            "supportedVersions": [MODERN],
            "capabilities": capabilities,
            "resultType": "complete",
            "ttlMs": TTL_MS,
            "cacheScope": "private",
            "_meta": SERVER_INFO,
        }
    raise ProtocolError(
        METHOD_NOT_FOUND, f"Here this server offers: {', '.join(capabilities)}; nothing else.",
        message.request_id, 404 if message.modern else 200,
    )  # fmt: skip


def _check_tool(child: Child, route: Route, tool: str) -> None:
    """A process that shows another definition than the approved one is not called."""
    pinned = digest(route.tools[tool].encode())
    if all(each.name != tool or each.digest != pinned for each in child.definitions):
        raise Unavailable(
            "The server that runs does not have this tool as it was approved: its operator looks with check_mcp."
        )
