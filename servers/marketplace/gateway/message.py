"""The little of JSON-RPC that a relay needs: whose request it is, which tool it calls, and errors in its terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from mcp.shared.inbound import (
    NAME_BEARING_METHODS,
    InboundLadderRejection,
    classify_inbound_request,
    decode_header_value,
    find_duplicated_routing_header,
)
from mcp_types.jsonrpc import HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from shared.errors import META, InvalidInput, PlatformError

GATEWAY_ERROR = -32010
"""Code of an error that the gateway itself answers; `data` holds the platform's error."""
LISTENING = frozenset({"subscriptions/listen"})
"""Requests whose answer stays open as long as the caller listens."""
VERSION = "mcp-protocol-version"
MANY_BRACKETS = 200
"""With fewer, no message is nested deeper than it can be written again (254 levels; 1,024 can be read)."""
LONG = b"0" * 19
"""Digits of the smallest whole number that is not read as it is: -2^63 - 1; the next one is 2^64."""
DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
LOOKED_INTO = 65_536
"""Bytes of a message that is read again for such a number: that takes 30 times as long as the first time."""


def _by_folded(*names: str) -> dict[str, str]:
    return {name.casefold(): name for name in names}


ENVELOPE_KEYS = _by_folded("jsonrpc", "id", "method", "params", "result", "error")
PARAMS_KEYS = _by_folded("name", "arguments", "uri", "_meta", "cursor", "requestId", "requestState", "inputResponses")
"""What is decided by here. Some servers read keys whatever their case (Go's encoding/json, .NET's web defaults), the
last one of several: to them `Name` beside `name` is the tool."""

Headers = Sequence[tuple[str, str]]
Id = str | int | None


class ProtocolError(Exception):
    """A refusal in the protocol's own terms: a JSON-RPC code, a sentence, and the HTTP status that goes with it."""

    def __init__(self, code: int, message: str, request_id: Id = None, status: int = 400) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.code = code
        self.message = message
        self.status = status


@dataclass(slots=True)
class Message:
    """What is known of a body; nobody changes it. `request_id` is None for notifications, responses, and where there is
    no body.

    Args:
        modern: the request names a version of the protocol that has no sessions.
        params: the request's parameters; empty where there are none.
        tool: the tool that the body calls.
    """

    request_id: Id = None
    method: str | None = None
    value: dict[str, Any] = field(default_factory=dict)
    modern: bool = False
    params: dict[str, Any] = field(init=False)
    tool: str | None = field(init=False)

    def __post_init__(self) -> None:
        params = self.value.get("params")
        self.params = params if isinstance(params, dict) else {}
        name = self.params.get("name") if self.method == "tools/call" else None
        self.tool = name if isinstance(name, str) else None

    @property
    def listens(self) -> bool:
        """Whether the answer is a stream without an end of its own."""
        return self.method is None or self.method in LISTENING

    def body(self) -> bytes:
        """What travels upstream: the message as it was read, so that no second reader can find another one in it."""
        return orjson.dumps(self.value)


def read_message(body: bytes, headers: Headers = ()) -> Message:
    """The one JSON-RPC message of a POST. What it calls is read from the body; headers must agree with it.

    Raises:
        InvalidInput: it is no JSON object of JSON-RPC, nested too deep, or holds a whole number of over 64 bits.
        ProtocolError: a header says something else than the body, or a server could take the message for another one
            than it is taken for here: a request with an id that is no text or whole number, a call without an id, a key
            in another case.
    """
    value = _read(body)
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise InvalidInput("The body is one JSON-RPC 2.0 message.")
    method = value.get("method")
    request_id = value["id"] if type(value.get("id")) in (str, int) else None
    told = dict(headers)
    version = told.get(VERSION)
    modern = version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS
    message = Message(request_id, method if isinstance(method, str) else "", value, modern)
    _check_keys(message)
    if "method" in value:
        _check_kind(message)
        _check_headers(message, headers, told)
    if LONG in body.translate(DIGITS):
        _check_whole_numbers(body, value)
    return message


def _read(body: bytes) -> Any:
    try:
        value = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") > MANY_BRACKETS:
            orjson.dumps(value)
    except orjson.JSONDecodeError:
        return None
    except orjson.JSONEncodeError:
        raise InvalidInput("The message is nested too deep: send it flatter.") from None
    return value


def _check_whole_numbers(body: bytes, value: Any) -> None:
    """Refuse a message with a whole number of which another one, near it, would travel. In texts, digits are digits."""
    if body.translate(DIGITS).count(LONG) <= orjson.dumps(value).translate(DIGITS).count(LONG):
        return
    if len(body) > LOOKED_INTO:
        raise _too_long()
    json.loads(body, parse_int=_whole_number)


def _whole_number(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise _too_long()
    return 0


def _too_long() -> InvalidInput:
    return InvalidInput("A whole number is over 64 bits: send it as a text.")


def _check_keys(message: Message) -> None:
    for given, known in ((message.value, ENVELOPE_KEYS), (message.params, PARAMS_KEYS)):
        for key in given:
            if known.get(key.casefold(), key) != key:
                raise ProtocolError(
                    INVALID_REQUEST, "A key is written in another case than the protocol has it: write it so, once.",
                    message.request_id,
                )  # fmt: skip


def _check_kind(message: Message) -> None:
    if message.request_id is None and ("id" in message.value or (message.method or "").startswith("tools/")):
        raise ProtocolError(INVALID_REQUEST, "A request has an id: a text or a whole number of at most 64 bits.")
    if not message.method:
        raise ProtocolError(INVALID_REQUEST, "The method is a text.", message.request_id)


def _check_headers(message: Message, headers: Headers, told: Mapping[str, str]) -> None:
    if find_duplicated_routing_header(headers) is not None:
        raise _mismatch("A routing header is given twice: send each once.", message)
    if message.modern and message.request_id is not None:
        rejection = classify_inbound_request(message.value, headers=told)
        if isinstance(rejection, InboundLadderRejection) and rejection.code == HEADER_MISMATCH:
            raise _mismatch(rejection.message, message)
    # Where the body lacks what that looks at first, it looks no further, and a server might go by the headers alone.
    if told.get("mcp-method", message.method) != message.method:
        raise _mismatch("The header Mcp-Method names another method than the body.", message)
    named = message.params.get(NAME_BEARING_METHODS.get(message.method or "", ""))
    if "mcp-name" in told and isinstance(named, str) and decode_header_value(told["mcp-name"]) != named:
        raise _mismatch("The header Mcp-Name names another thing than the body.", message)


def _mismatch(text: str, message: Message) -> ProtocolError:
    return ProtocolError(HEADER_MISMATCH, text, message.request_id)


def unknown_tool(message: Message) -> ProtocolError:
    """The one answer for a tool that does not exist, is not this caller's, or is blocked."""
    return invalid_params("Unknown tool: tools/list, or search_tools at /mcp, shows what there is.", message)


def invalid_params(text: str, message: Message) -> ProtocolError:
    """The protocol's error for parameters; the older era answers it with HTTP status 200."""
    return ProtocolError(INVALID_PARAMS, text, message.request_id, 400 if message.modern else 200)


def result_body(result: Mapping[str, Any], request_id: Id) -> bytes:
    """A JSON-RPC answer."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_body(error: PlatformError | ProtocolError, request_id: Id) -> bytes:
    """A JSON-RPC error for the caller's request."""
    if isinstance(error, ProtocolError):
        told: dict[str, Any] = {"code": error.code, "message": error.message}
    else:
        told = {"code": GATEWAY_ERROR, "message": error.message, "data": {META: error.as_dict()}}
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": told})


def error_event(error: PlatformError | ProtocolError, request_id: Id) -> bytes:
    """The same error as one event of a stream that has begun."""
    return event_of(error_body(error, request_id))


def event_of(body: bytes) -> bytes:
    """One message as one event of a stream."""
    return b"event: message\ndata: " + body + b"\n\n"
