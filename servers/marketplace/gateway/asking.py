"""Requests that the marketplace itself makes of an upstream: its list of tools, and sessions of the older era."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from servers.marketplace.gateway.eras import ASKED, CLIENT, LEGACY, MODERN, envelope
from servers.marketplace.gateway.events import Events
from servers.marketplace.gateway.outgoing import Outgoing, unreachable
from shared.client.exchange import result_of
from shared.errors import Forbidden, Unavailable

DEADLINE_S = 15.0
LARGEST = 8 * 2**20
SESSION = "mcp-session-id"


@dataclass(frozen=True, slots=True)
class Place:
    """An upstream's address and the header that lets the platform in there."""

    url: str
    operated: bool
    header: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Session:
    """What requests of 2025-11-25 carry: the upstream's session id, where it gave one, and the version agreed on. And
    what the upstream says that it can."""

    session_id: str | None = None
    version: str = LEGACY
    capabilities: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of a request in this session."""
        held = [] if self.session_id is None else [(SESSION, self.session_id)]
        return [("mcp-protocol-version", self.version), *held]


@dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's answer: HTTP status, session id, and the JSON-RPC answer where there was one."""

    status: int
    session_id: str | None
    answer: dict[str, Any]

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, unless it is an error."""
        result = self.answer.get("result")
        return result if self.status == 200 and isinstance(result, dict) else None


async def ask_modern(
    outgoing: Outgoing,
    place: Place,
    method: str,
    params: Mapping[str, Any],
    headers: Sequence[tuple[str, str]] = (),
    deadline_s: float = DEADLINE_S,
) -> Reply:
    """One request of 2026-07-28."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": envelope()}}
    told = [("mcp-protocol-version", MODERN), ("mcp-method", method), *headers]
    return await _ask(outgoing, place, body, told, deadline_s)


async def call_tool(
    outgoing: Outgoing, place: Place, tool: str, arguments: Mapping[str, Any], deadline_s: float = DEADLINE_S
) -> dict[str, Any]:
    """What a tool of a server of 2026-07-28 answers (its structured content).

    Raises:
        PlatformError: the server's own error, or Unavailable: it is not known what came of the call.
    """
    params = {"name": tool, "arguments": dict(arguments)}
    reply = await ask_modern(outgoing, place, "tools/call", params, [("mcp-name", tool)], deadline_s)
    if reply.status == 403:
        raise Forbidden("The server refuses this: its tools need another scope than the platform has there.")
    answer = result_of(reply.answer).get("structuredContent")
    if not isinstance(answer, dict):
        raise Unavailable("The server's answer cannot be read.")
    return answer


async def ask_legacy(
    outgoing: Outgoing, place: Place, method: str, params: Mapping[str, Any], session: Session
) -> Reply:
    """One request of 2025-11-25."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params)}
    return await _ask(outgoing, place, body, session.headers)


async def initialize(outgoing: Outgoing, place: Place, *, asks: bool = False) -> Session:
    """A new session of 2025-11-25.

    Args:
        asks: the upstream may ask something back during a call (`elicitation/create`).

    Raises:
        Unavailable: the upstream gives none.
    """
    params = {"protocolVersion": LEGACY, "capabilities": ASKED if asks else {}, "clientInfo": CLIENT}
    reply = await ask_legacy(outgoing, place, "initialize", params, Session())
    version = (reply.result or {}).get("protocolVersion")
    if not isinstance(version, str) or not version.isascii() or len(version) > 40:
        raise Unavailable("The server speaks no version of MCP that the gateway knows.")
    capable = (reply.result or {}).get("capabilities")
    session = Session(reply.session_id, version, capable if isinstance(capable, dict) else {})
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await _ask(outgoing, place, told, session.headers)
    return session


async def _ask(
    outgoing: Outgoing,
    place: Place,
    body: Mapping[str, Any],
    headers: list[tuple[str, str]],
    deadline_s: float = DEADLINE_S,
) -> Reply:
    sent = [
        ("accept", "application/json, text/event-stream"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        place.header,
        *headers,
    ]
    try:
        async with (
            asyncio.timeout(deadline_s),
            outgoing.client(place.url, operated=place.operated).request(
                "POST", place.url, sent, orjson.dumps(body)
            ) as response,
        ):
            streams = response.content_type == "text/event-stream"
            answer = await _answer(response, body.get("id"), streams=streams)
            return Reply(response.status, response.header(SESSION.encode()), answer)
    except (OSError, ValueError) as error:
        raise unreachable(error) from None


async def _answer(content: AsyncIterator[bytes], request_id: object, *, streams: bool) -> dict[str, Any]:
    """The JSON-RPC answer in a body, or in the stream of events that ends with it; empty where there is none."""
    if not streams:
        found = _object(b"".join([chunk async for chunk in _bounded(content)]))
        return found if found.get("id") == request_id else {}
    events = Events()
    async for chunk in _bounded(content):
        for message in _events(events.add(chunk)):
            if message.get("id") == request_id and request_id is not None:
                return message
    return next((each for each in _events(events.rest) if each.get("id") == request_id), {})


async def _bounded(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in content:
        size += len(chunk)
        if size > LARGEST:
            raise Unavailable("The server's answer is too large.")
        yield chunk


def _events(data: bytes) -> list[dict[str, Any]]:
    whole = data.replace(b"\r\n", b"\n").split(b"\n\n")
    lines = [[line[5:] for line in event.split(b"\n") if line.startswith(b"data:")] for event in whole]
    return [_object(b"\n".join(each)) for each in lines if each]


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
