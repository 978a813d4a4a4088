"""`tools/list`, answered from the catalogue's snapshot in pages: no upstream is asked, so none can hold it up."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from servers.marketplace.gateway.message import Message, invalid_params
from shared.version import VERSION

PAGE = 50
TTL_MS = 5_000
SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "marketplace", "version": VERSION}}


def tools_page(definitions: Sequence[str], message: Message) -> dict[str, Any]:
    """The result of one `tools/list`.

    Args:
        definitions: each tool's JSON, in the order of the list.

    Raises:
        ProtocolError: the cursor is not one of this list.
    """
    start = _start(message)
    page = [orjson.Fragment(text) for text in definitions[start : start + PAGE]]
    result: dict[str, Any] = {"tools": page}
    if start + PAGE < len(definitions):
        result["nextCursor"] = base64.urlsafe_b64encode(str(start + PAGE).encode()).decode()
    if message.modern:
        result |= {"resultType": "complete", "ttlMs": TTL_MS, "cacheScope": "private", "_meta": SERVER_INFO}
    return result


def _start(message: Message) -> int:
    cursor = message.params.get("cursor")
    if cursor is None:
        return 0
    try:
        start = int(base64.b64decode(str(cursor)[:40], altchars=b"-_", validate=True))
        if start >= 0:
            return start
    except (ValueError, binascii.Error):
        pass
    raise invalid_params("The cursor is not one of this list: start again without it.", message)
