"""The marketplace's own tools, as `tools/list` and `search_tools` show them; and `call_tool`, which stands for any.

Most programs call nothing but what their list names. Where the list leaves tools out, they call one by `call_tool`: it
is unwrapped before anything is decided, so rights, rules, quotas, pins and the audit log see the tool itself.
"""

from __future__ import annotations

import orjson
from mcp.shared.inbound import encode_header_value
from starlette.types import Scope

from servers.marketplace.gateway.finding import ALWAYS_LISTED
from servers.marketplace.gateway.message import Message, invalid_params
from shared.auth import Principal
from shared.serving.tools import ToolServer

CALL_TOOL = "call_tool"
DEFINITION = orjson.dumps({
    "name": CALL_TOOL,
    "title": "Call a found tool",
    "description": "Call a tool that search_tools has found. It is as if the tool itself were called: the same rights, "
    "rules and approvals.\n\nUse it for tools that your list leaves out.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 300, "description": "As search_tools shows it."},
            "arguments": {"type": "object", "description": "As its input_schema asks for them."},
        },
        "required": ["name"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True},
}).decode()  # fmt: skip


class OwnTools:
    """Definitions (JSON) of the own tools that a caller may call, in the order of the list."""

    def __init__(self, mcp: ToolServer) -> None:
        self._mcp = mcp
        self._listed: list[tuple[str, str, str]] = []

    async def of(self, caller: Principal, *, few: bool = False) -> list[str]:
        """All of them, or the `few` from which the others are found, and `call_tool` for those."""
        if not self._listed:
            self._listed = [
                (tool.name, self._mcp.specs[tool.name].scope, tool.model_dump_json(by_alias=True, exclude_none=True))
                for tool in await self._mcp.list_tools()
            ]
        held = [(name, text) for name, scope, text in self._listed if scope in caller.scopes]
        if few:
            return [*(text for name, text in held if name in ALWAYS_LISTED), DEFINITION]
        return [text for _, text in held]


def unwrapped(scope: Scope, message: Message) -> tuple[Scope, bytes]:
    """The call that a call of `call_tool` stands for, as if it had come so itself.

    Raises:
        ProtocolError: it names no tool.
    """
    asked = message.params.get("arguments")
    asked = asked if isinstance(asked, dict) else {}
    name, arguments = asked.get("name"), asked.get("arguments", {})
    strange = name == CALL_TOOL or not asked.keys() <= {"name", "arguments"}
    if strange or not isinstance(name, str) or not isinstance(arguments, dict):
        raise invalid_params(
            "call_tool takes `name`, of a tool that search_tools shows, and `arguments`, an object of the tool's own.",
            message,
        )
    value = {**message.value, "params": {**message.params, "name": name, "arguments": arguments}}
    named = encode_header_value(name).encode()
    headers = [(key, named if key == b"mcp-name" else text) for key, text in scope["headers"]]
    return {**scope, "headers": headers}, orjson.dumps(value)
