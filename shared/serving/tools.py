"""Tools: how one is declared, and one call of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import orjson
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import ValidationError
from starlette.requests import Request

from shared.auth import principal, require
from shared.contracts.catalogue import SCOPE_OF_TOOL
from shared.errors import DeadlineExceeded, Internal, InvalidInput, PlatformError
from shared.serving.calls import Calls, Key, call_key
from shared.serving.failures import invalid_arguments, platform_error, tool_result
from shared.serving.listing import Pages
from shared.serving.progress import calling
from shared.serving.schemas import BOUNDS, TITLES, left_out, without
from shared.telemetry import count_call, event, span
from shared.values import check_value, problem_of

SNAKE = re.compile(r"-|(?<=[a-z0-9])(?=[A-Z])")
"""Where customerId and customer-id have an underscore here."""


@dataclass(frozen=True)
class ToolSpec:
    """What is declared about a tool beside its function.

    Args:
        scope: what a caller's token needs.
        deadline_s: longest time of one call in seconds.
        explicit: the function builds its `CallToolResult` itself.
        arguments: names of its arguments.
        schema: of its arguments, as it is listed.
    """

    name: str
    scope: str
    deadline_s: float
    explicit: bool
    arguments: frozenset[str]
    schema: dict[str, Any]


class ToolServer(Pages, MCPServer[Any]):
    """The SDK's server, with this platform's rules around every call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.specs: dict[str, ToolSpec] = {}
        self.calls = Calls()
        super().__init__(*args, **kwargs)

    def declare(
        self,
        fn: Callable[..., Any],
        *,
        scope: str,
        title: str,
        name: str,
        annotations: ToolAnnotations,
        deadline_s: float,
    ) -> None:
        """Offer a tool.

        Raises:
            TypeError: it lacks a description, a scope or an output schema, or is there already.
        """
        if name in self.specs:
            raise TypeError(f"The tool {name} is there already.")
        if not scope or not (fn.__doc__ or "").strip():
            raise TypeError(f"The tool {name} needs a scope and a docstring that says when to use it.")
        explicit = _is_explicit(fn)
        told = {SCOPE_OF_TOOL: scope}
        self.add_tool(fn, name=name, title=title, description=_description(fn), annotations=annotations, meta=told)
        tool = self._tool_manager.get_tool(name)
        if tool is None or tool.fn_metadata.output_schema is None:
            raise TypeError(f"The tool {name} needs an output schema: annotate what it returns with a model.")
        # A client's model reads these lists: titles repeat names, and bounds of an answer are the server's own matter.
        tool.parameters = {**without(tool.parameters, TITLES), "additionalProperties": False}
        tool.fn_metadata.output_schema = without(tool.fn_metadata.output_schema, TITLES | BOUNDS)
        properties = frozenset(tool.parameters.get("properties", {}))
        self.specs[name] = ToolSpec(name, scope, deadline_s, explicit, properties, tool.parameters)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """One call. What the caller can mend comes back as a result with `is_error`; an unknown tool does not."""
        spec = self.specs.get(name)
        if spec is None:
            raise MCPError(INVALID_PARAMS, "Unknown tool: tools/list shows what there is.")
        started, code = time.perf_counter(), "ok"
        try:
            with span("tool.call", server=self.name, tool=name):
                return await self._call(spec, arguments, context)
        except PlatformError as error:
            code = error.code
            return tool_result(error)
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            seconds = time.perf_counter() - started
            count_call(self.name, name, code, seconds)
            event("tool_call", tool=name, code=code, seconds=round(seconds, 6))

    async def _call(
        self, spec: ToolSpec, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> CallToolResult | InputRequiredResult:
        require(spec.scope)
        arguments = checked(spec, arguments)
        deadline = asyncio.timeout(spec.deadline_s)
        try:
            async with deadline:
                with calling(context), self.calls.running(_key(context)):
                    result = await super().call_tool(spec.name, arguments, context)
        except MCPError:
            raise
        except TimeoutError as error:
            if not deadline.expired():
                raise platform_error(error, tool=spec.name) from None
            raise DeadlineExceeded(
                f"The call did not finish within {spec.deadline_s:g} s: try again, with less at once."
            ) from None
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError) and not isinstance(error, UnexpectedToolError):
                raise invalid_arguments(cause, spec.schema) from None
            raise platform_error(error, tool=spec.name) from None
        return _finished(spec, result)


def _key(context: Context[Any, Any] | None) -> Key | None:
    request = context.request_context.request if context is not None else None
    if context is None or not isinstance(request, Request):
        return None
    return call_key(principal(), request.headers.get("mcp-session-id"), context.request_context.request_id)


def checked(spec: ToolSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that are null where a default holds, as many models send them.

    Raises:
        InvalidInput: a name is not known, or a value is none that may travel.
    """
    if not spec.arguments.issuperset(arguments):
        known = ", ".join(sorted(spec.arguments)) or "none"
        if any(SNAKE.sub("_", name).lower() in spec.arguments for name in arguments.keys() - spec.arguments):
            raise InvalidInput(f"Names of arguments have underscores here, as in: {known}.")
        if "customer_id" in arguments.keys() - spec.arguments:
            raise InvalidInput(
                "Which customer this is for, the token says: leave customer_id out, and where the token names another "
                f"one or none, ask for a token with `customer`. The known arguments: {known}.",
                field="customer_id",
            )
        raise InvalidInput(f"An argument is not known here: leave it out. The known ones: {known}.")
    for name, value in arguments.items():
        check_value(value, name)
    return {name: value for name, value in arguments.items() if value is not None or not left_out(spec.schema, name)}


def _finished(spec: ToolSpec, result: CallToolResult | InputRequiredResult) -> CallToolResult | InputRequiredResult:
    """The answer as it is sent: finite numbers, and one compact text where the tool gave none itself."""
    if not isinstance(result, CallToolResult) or result.is_error:
        return result
    problem = problem_of(result.structured_content)
    if problem is not None:
        event("bad_output", tool=spec.name, code=problem.split(":")[0])
        raise Internal()
    if not spec.explicit:
        text = orjson.dumps(result.structured_content).decode()
        result = result.model_copy(update={"content": [TextContent(type="text", text=text)]})
    return result


def _is_explicit(fn: Callable[..., Any]) -> bool:
    returned = get_type_hints(fn, include_extras=True).get("return")
    kinds = get_args(returned)[:1] if get_origin(returned) is not None else (returned,)
    return CallToolResult in kinds


def _description(fn: Callable[..., Any]) -> str:
    lines = (fn.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines).strip()
