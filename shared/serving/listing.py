"""Lists in pages, in a fixed order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
)

PAGE = 50
Item = TypeVar("Item")


class Pages(MCPServer[Any]):
    """A server whose lists come in pages of `PAGE`, in the order in which things were declared."""

    async def _handle_list_tools(
        self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        items, cursor = _page(await self.list_tools(), params)
        return ListToolsResult(tools=items, next_cursor=cursor)

    async def _handle_list_resources(
        self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        items, cursor = _page(await self.list_resources(), params)
        return ListResourcesResult(resources=items, next_cursor=cursor)

    async def _handle_list_resource_templates(
        self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        items, cursor = _page(await self.list_resource_templates(), params)
        return ListResourceTemplatesResult(resource_templates=items, next_cursor=cursor)


def _page(items: Sequence[Item], params: PaginatedRequestParams | None) -> tuple[list[Item], str | None]:
    start = _start(params.cursor) if params is not None and params.cursor is not None else 0
    end = start + PAGE
    return list(items[start:end]), (_cursor(end) if end < len(items) else None)


def _cursor(start: int) -> str:
    return base64.urlsafe_b64encode(str(start).encode()).decode()


def _start(cursor: str) -> int:
    try:
        start = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        start = b""
    if not start.isdigit() or len(start) > 9:
        raise MCPError(INVALID_PARAMS, "The cursor is not one of this list: start again without it.")
    return int(start)
