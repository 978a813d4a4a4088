"""Running calls of 2025-11-25 clients, so that a cancellation that comes as a request of its own finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from mcp.shared.exceptions import MCPError

from shared.auth import Principal

REQUEST_CANCELLED = -32800

Key = tuple[str, str, str, str]


def call_key(caller: Principal | None, session: str | None, request_id: object) -> Key | None:
    """What names a call: its caller, its client's session, its id. None: the call cannot be named."""
    if caller is None or session is None or not isinstance(request_id, str | int):
        return None
    return (caller.subject, caller.client_id, session, f"{type(request_id).__name__}:{request_id}")


class Calls:
    """The calls of this process that can be cancelled by name."""

    def __init__(self) -> None:
        self._scopes: dict[Key, anyio.CancelScope] = {}

    @contextmanager
    def running(self, key: Key | None) -> Iterator[None]:
        """What runs inside is the call `key`; cancelled, it ends with the protocol's error for that.

        Raises:
            MCPError: the call was cancelled.
        """
        if key is None:
            yield
            return
        with anyio.CancelScope() as scope:
            self._scopes[key] = scope
            try:
                yield
            finally:
                self._scopes.pop(key, None)
        if scope.cancelled_caught:
            raise MCPError(REQUEST_CANCELLED, "Request cancelled")

    def cancel(self, key: Key | None) -> None:
        """Cancel a call; unknown ones are over, or another client's."""
        scope = self._scopes.get(key) if key is not None else None
        if scope is not None:
            scope.cancel()
