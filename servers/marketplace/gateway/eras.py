"""Between the two eras of the protocol: a caller of one, an upstream of the other.

2026-07-28 carries version and capabilities in every request and marks results as complete; 2025-11-25 has a session
and neither of those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
from mcp.shared.inbound import (
    X_MCP_HEADER_KEY,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)

from servers.marketplace.gateway.message import GATEWAY_ERROR, Message, event_of
from shared.version import VERSION

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ENVELOPE = "io.modelcontextprotocol/"
ASKED = {"elicitation": {"form": {}}}
"""The capabilities of a caller that answers questions."""
CACHEABLE = frozenset({"resources", "resourceTemplates", "contents", "prompts"})
"""Results with one of these say in 2026-07-28 how long they hold."""
LINE_ENDS = re.compile(rb"\r\n|\r|\n")  # WHATWG HTML, 9.2.5
COMMENT = b": \n\n"
CLIENT = {"name": "platform-0711-gateway", "version": VERSION}

Answer = dict[str, Any]
Translate = Callable[[Answer], Answer | None]


def modern_request(message: Message, tool: str | None, *, asks: bool) -> tuple[bytes, list[tuple[str, str]]]:
    """The body and headers of a request to an upstream of 2026-07-28; `tool`: as `modern_value` has it."""
    value = modern_value(message, tool, asks=asks)
    version = str(value["params"]["_meta"].get(ENVELOPE + "protocolVersion", MODERN))
    headers = [
        ("mcp-protocol-version", version if version.isascii() and version.isprintable() else MODERN),
        ("mcp-method", message.method or ""),
    ]
    named = tool or message.params.get("uri" if message.method == "resources/read" else "name")
    if isinstance(named, str):
        headers.append(("mcp-name", encode_header_value(named)))
    return orjson.dumps(value), headers


def parameter_headers(definition: str | None, message: Message) -> list[tuple[str, str]]:
    """The headers in which a call of 2026-07-28 repeats arguments that its tool wants there (`x-mcp-header`).

    They are made of the arguments that were read and judged; what a caller sends of them never travels.

    Args:
        definition: of the tool, as it was approved; None: no tool is called.
    """
    if definition is None or X_MCP_HEADER_KEY not in definition:
        return []
    schema, arguments = orjson.loads(definition)["inputSchema"], message.params.get("arguments")
    if find_invalid_x_mcp_header(schema) is not None or not isinstance(arguments, dict):
        return []
    told = mcp_param_headers(x_mcp_header_map(schema), arguments)
    return [(name.lower(), value) for name, value in told.items()]


def envelope(*, asks: bool = False) -> dict[str, Any]:
    """What a request of 2026-07-28 carries in its `_meta`; `asks`: as `modern_value` has it."""
    return {
        ENVELOPE + "protocolVersion": MODERN,
        ENVELOPE + "clientInfo": CLIENT,
        ENVELOPE + "clientCapabilities": ASKED if asks else {},
    }


def modern_value(message: Message, tool: str | None, *, asks: bool) -> dict[str, Any]:
    """The message of a request to an upstream of 2026-07-28.

    Args:
        tool: the name of the tool that it calls there.
        asks: a caller of the older era answers questions.
    """
    meta = _meta_of(message)
    if not message.modern:
        meta = {**meta, **envelope(asks=asks)}
    return _called(message, tool, meta)


def legacy_value(message: Message, tool: str | None) -> dict[str, Any]:
    """The message of a request to an upstream of 2025-11-25; `tool`: as `modern_value` has it."""
    kept = {name: value for name, value in _meta_of(message).items() if not name.startswith(ENVELOPE)}
    return _called(message, tool, kept)


def translation(message: Message, *, upstream_modern: bool) -> Callable[[Answer], Answer] | None:
    """What an answer needs on its way to the caller; None: nothing."""
    if message.modern == upstream_modern:
        return None
    return _to_legacy if upstream_modern else _to_modern


def translated_event(event: bytes, translate: Translate) -> bytes:
    """One server-sent event with the message in it translated; of one without a message a comment alone is passed.

    It is written anew: a caller reads lines that end with a carriage return alone, and an empty line in the data, as
    the standard has them, and would find a message there that nobody has looked at.
    """
    lines = LINE_ENDS.split(event)
    data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
    if not data:
        return COMMENT if any(line.startswith(b":") for line in lines) else b""
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        return b""
    told = translate(answer) if isinstance(answer, dict) else None
    if told is None:
        return b""
    return event_of(data if told is answer and b"\n" not in data else orjson.dumps(told))


def translated_body(body: bytes, translate: Translate) -> bytes:
    """One JSON-RPC message translated; what is no JSON passes. Empty: the caller gets nothing of it."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    told = translate(answer) if isinstance(answer, dict) else None
    return b"" if told is None else body if told is answer else orjson.dumps(told)


def _meta_of(message: Message) -> dict[str, Any]:
    given = message.params.get("_meta")
    return given if isinstance(given, dict) else {}


def _called(message: Message, tool: str | None, meta: dict[str, Any]) -> dict[str, Any]:
    params = {**message.params} if tool is None else {**message.params, "name": tool}
    params.pop("_meta", None)
    if meta:
        params["_meta"] = meta
    return {**message.value, "params": params}


def _to_legacy(answer: Answer) -> Answer:
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    if result.get("resultType", "complete") != "complete":
        text = "This tool asks something back: use a client that answers elicitation/create."
        return {"jsonrpc": "2.0", "id": answer.get("id"), "error": {"code": GATEWAY_ERROR, "message": text}}
    return {**answer, "result": {name: value for name, value in result.items() if name != "resultType"}}


def _to_modern(answer: Answer) -> Answer:
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    kept = {"ttlMs": 0, "cacheScope": "private"} if CACHEABLE & result.keys() else {}
    return {**answer, "result": {"resultType": "complete", **kept, **result}}
