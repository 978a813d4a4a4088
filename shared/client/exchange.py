"""One call of a tool by MCP 2026-07-28: a POST, the progress that its stream brings, and its answer or its error.

Every request stands alone, so there is no session to keep and no context that a task could leave in another. Closing
the connection is how the protocol cancels; a caller that is cancelled does that.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from shared.client.stream import read_events, read_whole
from shared.errors import (
    META,
    Conflict,
    Internal,
    InvalidInput,
    NotFound,
    Overloaded,
    PlatformError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    from_dict,
)
from shared.version import VERSION

if TYPE_CHECKING:
    import aiohttp

OnProgress = Callable[[float, float | None, str], Awaitable[None] | None]

PROTOCOL = "2026-07-28"
CALL = "tools/call"
INVALID_PARAMS, METHOD_NOT_FOUND = -32602, -32601

_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientInfo": {"name": "platform-0711", "version": VERSION},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call_body(tool: str, arguments: Mapping[str, Any], progress: bool) -> bytes:
    """The JSON-RPC request. Its id is always 1: it is the only one of its connection's exchange."""
    meta = {**_ENVELOPE, "progressToken": 1} if progress else _ENVELOPE
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": CALL, "params": params})


def call_headers(tool: str, token: str) -> dict[str, str]:
    """The headers that the request needs."""
    return {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "authorization": f"Bearer {token}",
        "mcp-protocol-version": PROTOCOL,
        "mcp-method": CALL,
        "mcp-name": tool,
    }


async def read_answer(response: aiohttp.ClientResponse, on_progress: OnProgress | None) -> dict[str, Any]:
    """The result.

    Raises:
        PlatformError: the error that the server answered with, as the same class.
    """
    if response.content_type == "text/event-stream":
        return await _read_stream(response, on_progress)
    try:
        message = orjson.loads(await read_whole(response.content.iter_any()))
    except ValueError:
        raise _by_status(response.status) from None
    if not isinstance(message, dict):
        raise _by_status(response.status)
    if "jsonrpc" not in message and response.status >= 400:
        raise from_dict(message) if "code" in message else _by_status(response.status)
    return result_of(message)


async def _read_stream(response: aiohttp.ClientResponse, on_progress: OnProgress | None) -> dict[str, Any]:
    async for data in read_events(response):
        message = orjson.loads(data)
        if "result" in message or "error" in message:
            return result_of(message)
        if message.get("method") == "notifications/progress" and on_progress is not None:
            await _tell(on_progress, message.get("params", {}))
    raise Unavailable("The server ended the call without an answer: try again.")


async def _tell(on_progress: OnProgress, params: dict[str, Any]) -> None:
    told = on_progress(params.get("progress", 0), params.get("total"), params.get("message") or "")
    if inspect.isawaitable(told):
        await told


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    """The result in a JSON-RPC answer; raises the error in it."""
    error = message.get("error")
    if isinstance(error, dict):
        raise _of_protocol(error)
    result = message.get("result")
    if not isinstance(result, dict):
        raise Internal()
    if result.get("isError"):
        raise _of_tool(result)
    return result


def _of_protocol(error: dict[str, Any]) -> PlatformError:
    data = error.get("data")
    if isinstance(data, dict) and isinstance(data.get(META), dict):
        return from_dict(data[META])
    text = str(error.get("message", ""))[:300] or "The server refused the request."
    kinds: dict[int, type[PlatformError]] = {INVALID_PARAMS: InvalidInput, METHOD_NOT_FOUND: NotFound}
    return kinds.get(error.get("code", 0), Internal)(text)


def _of_tool(result: dict[str, Any]) -> PlatformError:
    meta = result.get("_meta")
    if isinstance(meta, dict) and isinstance(meta.get(META), dict):
        return from_dict(meta[META])
    texts = [str(each.get("text", "")) for each in result.get("content", []) if isinstance(each, dict)]
    return Conflict(" ".join(texts)[:500] or "The tool failed.")


def _by_status(status: int) -> PlatformError:
    kinds: dict[int, type[PlatformError]] = {401: Unauthenticated, 404: NotFound, 413: TooLarge, 429: Overloaded}
    kind = kinds.get(status, Unavailable)
    return kind(f"The server answered with HTTP status {status}.")
