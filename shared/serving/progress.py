"""Progress of the current call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mcp.server.mcpserver import Context

_context: ContextVar[Context[Any, Any] | None] = ContextVar("call", default=None)


@contextmanager
def calling(context: Context[Any, Any] | None) -> Iterator[None]:
    """Progress that is reported inside goes to the client of `context`."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> Context[Any, Any] | None:
    """The SDK's context of the current call; None: nobody calls."""
    return _context.get()


async def report(done: float, total: float | None = None, note: str = "") -> None:
    """Tell the client how far the current call is. Does nothing where the client did not ask or nobody calls.

    Args:
        done: grows with every report.
        note: counts in words; never content.
    """
    context = _context.get()
    if context is not None:
        await context.report_progress(done, total, note or None)
