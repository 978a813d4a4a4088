"""Notices that a caller no longer waits for its answer."""

from __future__ import annotations

from starlette.types import Receive


async def hung_up(receive: Receive) -> None:
    """Wait until the caller is gone. What still comes of its request is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass
