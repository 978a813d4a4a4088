"""MCP over standard input and output, both eras on one pair of pipes.

A client may ask `server/discover` (2026-07-28) and `initialize` (2025-11-25) in one breath and go on with whichever is
answered first. The SDK's own loop locks onto the first it sees and refuses the other; here each request is served in
its own era: one with the envelope of 2026-07-28 by the modern dispatcher, any other by the handshake's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import modern_on_request, serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.dispatcher import DispatchContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types import INTERNAL_ERROR, PROTOCOL_VERSION_META_KEY, JSONRPCNotification, JSONRPCRequest
from pydantic import ValidationError

Item = SessionMessage | Exception
Inbox = MemoryObjectSendStream[Item]
Params = Mapping[str, Any] | None


async def run_stdio(server: MCPServer[Any]) -> None:
    """Serve until input ends."""
    low = server._lowlevel_server  # the SDK offers no other way to it
    async with stdio_server() as (read, write), low.lifespan(low) as state:
        await serve_both(low, state, read, write)


async def serve_both(
    server: Server[Any], state: Any, read: ReadStream[Item], write: WriteStream[SessionMessage]
) -> None:
    """Serve a pair of streams until the reading one ends."""
    modern_in, modern_out = anyio.create_memory_object_stream[Item](16)
    legacy_in, legacy_out = anyio.create_memory_object_stream[Item](16)
    async with write, anyio.create_task_group() as group:
        group.start_soon(_serve_modern, server, state, modern_out, _Shared(write))
        group.start_soon(_serve_legacy, server, state, legacy_out, _Shared(write))
        async with modern_in, legacy_in:
            async for item in read:
                for inbox in _inboxes(item, modern_in, legacy_in):
                    await inbox.send(item)


def _inboxes(item: Item, modern: Inbox, legacy: Inbox) -> list[Inbox]:
    message = item.message if isinstance(item, SessionMessage) else None
    if isinstance(message, JSONRPCRequest) and message.method != "initialize" and _has_envelope(message.params):
        return [modern]
    if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
        return [modern, legacy]  # the id alone does not say whose it is
    return [legacy]


def _has_envelope(params: Params) -> bool:
    meta = (params or {}).get("_meta")
    return isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta


async def _serve_legacy(
    server: Server[Any], state: Any, read: MemoryObjectReceiveStream[Item], write: WriteStream[SessionMessage]
) -> None:
    await serve_loop(server, read, write, lifespan_state=state)


async def _serve_modern(
    server: Server[Any], state: Any, read: MemoryObjectReceiveStream[Item], write: WriteStream[SessionMessage]
) -> None:
    serve = modern_on_request(server, state)

    async def on_request(dctx: DispatchContext[TransportContext], method: str, params: Params) -> dict[str, Any]:
        route = classify_inbound_request({"method": method, "params": params})
        if isinstance(route, InboundLadderRejection):
            raise MCPError(code=route.code, message=route.message, data=route.data)
        try:
            return await serve(dctx, method, params)
        except (MCPError, ValidationError):
            raise
        except Exception:  # noqa: BLE001  # nothing of it may reach the caller
            raise MCPError(INTERNAL_ERROR, "Internal server error") from None

    async def on_notify(dctx: DispatchContext[TransportContext], method: str, params: Params) -> None:
        """This era has no notifications from a client; the dispatcher itself takes cancellations."""

    await JSONRPCDispatcher[TransportContext](read, write).run(on_request, on_notify)


class _Shared:
    """The one stream out, which neither dispatcher may close for the other."""

    def __init__(self, stream: WriteStream[SessionMessage]) -> None:
        self._stream = stream

    async def send(self, item: SessionMessage, /) -> None:
        await self._stream.send(item)

    async def aclose(self) -> None:
        """Left open: it belongs to `serve_both`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Left open."""
