"""`/mcp`: the SDK's handler, with the scope checked before the work and cancellation that works without sessions.

Requests of 2026-07-28 name their method and tool in headers, so their bodies are not looked at. Those of 2025-11-25 do
not: a tool's scope and a cancellation are read from the body. No state is kept between requests, so that any replica
can answer any of them; a session id of that era only tells one client's calls from another's when it cancels one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth import Principal, lacking
from shared.errors import PlatformError
from shared.serving.calls import Calls, call_key
from shared.serving.failures import asks_rpc, http_response
from shared.serving.guard import CALLER, Access
from shared.serving.rest import read_body
from shared.serving.tools import ToolSpec

SESSION = "mcp-session-id"
VERSION = "mcp-protocol-version"


class Endpoint:
    """The ASGI application of `/mcp`."""

    def __init__(self, app: ASGIApp, specs: Mapping[str, ToolSpec], access: Access, calls: Calls) -> None:
        self._app = app
        self._specs = specs
        self._access = access
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        version = headers.get(VERSION)
        try:
            if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
                called = headers.get("mcp-name") if headers.get("mcp-method") == "tools/call" else None
                await (self._refusal(scope[CALLER], called) or self._app)(scope, receive, send)
            elif scope["method"] == "POST":
                await self._legacy(scope, receive, send, headers)
            else:
                await Response(status_code=405, headers={"allow": "POST"})(scope, receive, send)
        except PlatformError as error:
            await http_response(error, rpc=asks_rpc(scope))(scope, receive, send)

    async def _legacy(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        body = await read_body(Request(scope, receive))
        message = self._look_into(scope[CALLER], body)
        called = _params(message).get("name") if message.get("method") == "tools/call" else None
        if message.get("method") == "notifications/cancelled":
            self._calls.cancel(call_key(scope[CALLER], headers.get(SESSION), _params(message).get("requestId")))
        send = with_session(send, secrets.token_urlsafe(16)) if message.get("method") == "initialize" else send
        await (self._refusal(scope[CALLER], called) or self._app)(scope, replay(body, receive), send)

    def _look_into(self, caller: Principal, body: bytes) -> dict[str, Any]:
        """The message, where something in it matters here: large bodies are mostly calls of callers who may."""
        if len(body) > 65_536 and all(spec.scope in caller.scopes for spec in self._specs.values()):
            return {}
        try:
            message = orjson.loads(body)
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}

    def _refusal(self, caller: Principal, tool: object) -> Response | None:
        """The answer to a caller without the scope of the tool; None: it has it, or the tool is unknown."""
        spec = self._specs.get(tool) if isinstance(tool, str) else None
        if spec is None or spec.scope in caller.scopes:
            return None
        error = lacking(spec.scope)
        return http_response(error, self._access.challenge(error, {spec.scope}), rpc=True)


def _params(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def with_session(send: Send, session: str) -> Send:
    """Puts the session's id on an answer that is no error."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            MutableHeaders(scope=message)[SESSION] = session
        await send(message)

    return sending


def replay(body: bytes, receive: Receive) -> Receive:
    """The body, which has been read, once more for the application that reads it now."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
