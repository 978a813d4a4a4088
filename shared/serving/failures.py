"""Errors on their way out: the only place where a `PlatformError` becomes a protocol."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from typing import Any

import orjson
from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolResult, TextContent
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Scope

from shared.errors import (
    META,
    Conflict,
    DeadlineExceeded,
    Internal,
    InvalidInput,
    NotFound,
    Overloaded,
    PlatformError,
    TooLarge,
    Unavailable,
)
from shared.serving.closing import ClosingResponse
from shared.serving.schemas import nodes_at, properties_at, property_names
from shared.telemetry import Fields, event

More = Callable[[PlatformError], dict[str, Any]]
"""What a route's clients read of an error, beside the platform's own form."""
SHOWN_PROBLEMS = 5
# Their messages repeat the input, or name a class of the platform.
ECHOING = {
    "union_tag_invalid": "is not one of the allowed kinds",
    "extra_forbidden": "is not known here: leave it out",
    "model_type": "should be an object",
}
# How messages begin: the kind of the value, and then what it should be.
KIND = re.compile(r"^[A-Z][A-Za-z-]*( [a-z]+)? should ")


def platform_error(error: BaseException, **where: Any) -> PlatformError:
    """The error that a caller may see for whatever was raised. What was not raised on purpose is logged, not shown."""
    cause = error.__cause__ if isinstance(error, ToolError | ResourceError) and error.__cause__ else error
    if isinstance(cause, PlatformError):
        return cause
    if isinstance(cause, TimeoutError):
        return DeadlineExceeded("The call did not finish in time: try again, with less at once.")
    if isinstance(error, ToolError) and not isinstance(error, UnexpectedToolError):
        return Conflict(str(cause))  # raised on purpose by the SDK, such as a declined question
    event("unexpected_error", level=logging.ERROR, error=cause, **_fields(where))
    return Internal()


def _fields(where: dict[str, Any]) -> Fields:
    return where  # pyright: ignore[reportReturnType]  # the log drops what is not on its list


def invalid_arguments(error: ValidationError, schema: dict[str, Any]) -> InvalidInput:
    """What is wrong with arguments, field by field. Values and names that came from outside are left out.

    Args:
        schema: of all arguments; a name in a path that is not in it is the caller's and is shown as `*`.
    """
    names = frozenset(property_names(schema))
    details = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [
        f"`{_path(each['type'], each['loc'], names)}` {_problem(each['type'], each['msg'])}"
        + _hint(each["type"], each["loc"], schema)
        for each in details
    ]
    more = f" (and {len(problems) - SHOWN_PROBLEMS} more)" if len(problems) > SHOWN_PROBLEMS else ""
    return InvalidInput(
        f"Argument {'; '.join(problems[:SHOWN_PROBLEMS])}{more}.",
        field=_path(details[0]["type"], details[0]["loc"], names) or None,
    )


def _path(kind: str, place: tuple[int | str, ...], known: frozenset[str]) -> str:
    while kind != "extra_forbidden" and place[1:] and isinstance(place[-1], str) and place[-1] not in known:
        place = place[:-1]  # a kind of a union, which is nothing that the caller knows
    return ".".join(str(part) if isinstance(part, int) or part in known else "*" for part in place)


def _problem(kind: str, message: str) -> str:
    if kind in ECHOING:
        return ECHOING[kind]
    for start, end in (("Value error, ", ": "), ("Field required", "is required")):
        if message.startswith(start):
            return end + message.removeprefix(start)
    if (begins := KIND.match(message)) is not None:
        return "should " + message[begins.end() :]
    return message[:1].lower() + message[1:]


def _hint(kind: str, place: tuple[int | str, ...], schema: dict[str, Any]) -> str:
    """What a pattern is of, as its field says, and which names an object has."""
    if kind in {"extra_forbidden", "model_type"}:
        names = properties_at(schema, place[:-1] if kind == "extra_forbidden" else place)
        return f" (known: {', '.join(sorted(names))})" if names else ""
    if kind != "string_pattern_mismatch" or not place:
        return ""
    described = [each["description"] for each in nodes_at(schema, place) if "description" in each]
    return f" ({described[0].rstrip('.')})" if described else ""


def sentence(error: PlatformError) -> str:
    """The text for a model: the message, and when to try again."""
    if error.retry_after is None:
        return error.message
    return f"{error.message} Retry after {math.ceil(error.retry_after)} s."


def tool_result(error: PlatformError) -> CallToolResult:
    """The error as a result that a model can read and mend."""
    return CallToolResult(
        content=[TextContent(type="text", text=sentence(error))], is_error=True, _meta={META: error.as_dict()}
    )


def protocol_error(error: PlatformError) -> MCPError:
    """The error as JSON-RPC has it, for what is not a tool."""
    code = INVALID_PARAMS if isinstance(error, InvalidInput | NotFound) else INTERNAL_ERROR
    return MCPError(code=code, message=sentence(error), data={META: error.as_dict()})


def asks_rpc(scope: Scope) -> bool:
    """Whether a request brings a message of MCP: clients show the sentence of a JSON-RPC error, and of anything else
    that there was one."""
    return scope.get("method") == "POST" and str(scope.get("path")).endswith("/mcp")


def openai_error(error: PlatformError) -> dict[str, Any]:
    """Where clients of OpenAI look for an error: its own in other languages show nothing else."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if isinstance(error, Overloaded) else kind
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}


def http_response(
    error: PlatformError,
    headers: dict[str, str] | None = None,
    *,
    rpc: bool = False,
    close: bool = False,
    more: More | None = None,
) -> Response:
    """The error as an HTTP answer: status, `Retry-After`, and `error.as_dict()` in JSON.

    Args:
        more: what else the clients of this route read.
        rpc: as JSON-RPC has it; see `asks_rpc`.
        close: the connection closes after it, as after a body that is too large.
    """
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    elif isinstance(error, Unavailable):
        headers["retry-after"] = "5"
    told = error.as_dict() | (more(error) if more is not None else {})
    if rpc:
        about = protocol_error(error).error.model_dump(exclude_none=True)
        told = {"jsonrpc": "2.0", "id": None, "error": about}
    kind = ClosingResponse if close or isinstance(error, TooLarge) else Response
    return kind(orjson.dumps(told), error.status, headers, "application/json")
