"""The little of JSON-RPC that a relay needs: whose request it is, and how to answer an error in the caller's terms."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from shared.errors import InvalidInput, PlatformError

GATEWAY_ERROR = -32010
"""Code of an error that the gateway itself answers; `data` holds the platform's error."""
LISTENING = frozenset({"subscriptions/listen"})
"""Requests whose answer stays open as long as the caller listens."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is known of a body. `request_id` is None for notifications, responses, and where there is no body."""

    request_id: str | int | None = None
    method: str | None = None

    @property
    def listens(self) -> bool:
        """Whether the answer is a stream without an end of its own."""
        return self.method is None or self.method in LISTENING


def read_message(body: bytes) -> Message:
    """The one JSON-RPC message of a POST.

    Raises:
        InvalidInput: it is no JSON object of JSON-RPC.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise InvalidInput("The body is one JSON-RPC 2.0 message.")
    request_id, method = value.get("id"), value.get("method")
    return Message(
        request_id if isinstance(request_id, str | int) and not isinstance(request_id, bool) else None,
        method if isinstance(method, str) else "",
    )


def error_body(error: PlatformError, request_id: str | int | None) -> bytes:
    """A JSON-RPC error for the caller's request."""
    return orjson.dumps({
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": GATEWAY_ERROR, "message": error.message, "data": {"0711/error": error.as_dict()}},
    })  # fmt: skip


def error_event(error: PlatformError, request_id: str | int | None) -> bytes:
    """The same error as one event of a stream that has begun."""
    return b"event: message\ndata: " + error_body(error, request_id) + b"\n\n"
