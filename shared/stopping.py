"""Long work in a thread that ends early when its caller is cancelled, at the next place that is safe.

A thread cannot be cancelled. So the work looks by itself, between parts that are invisible until they are whole,
whether anybody still waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")

_told: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("told to stop", default=None)


class Stopped(Exception):
    """The caller has gone; what was half made is removed on the way out."""


async def stoppable(work: Callable[..., T], *arguments: object, executor: Executor | None = None) -> T:
    """Run blocking work in a thread. Where this call is cancelled, `stop_if_told` raises in the work."""
    told = threading.Event()
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _looking_at(told, work, arguments))
    except asyncio.CancelledError:
        told.set()
        raise


async def stopped_first(work: Callable[..., T], *arguments: object) -> T:
    """As `stoppable`; where this call is cancelled, it ends only when the work has: what the work was writing to can be
    removed then, and does not come back."""
    told = threading.Event()
    running = asyncio.get_running_loop().run_in_executor(None, _looking_at(told, work, arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        told.set()
        await asyncio.gather(running, return_exceptions=True)
        raise


def _looking_at(told: threading.Event, work: Callable[..., T], arguments: tuple[object, ...]) -> Callable[[], T]:
    context = contextvars.copy_context()
    context.run(_told.set, told)
    return lambda: context.run(work, *arguments)


def stop_if_told() -> None:
    """End the work where nobody waits for it any more.

    Raises:
        Stopped: so it is.
    """
    told = _told.get()
    if told is not None and told.is_set():
        raise Stopped
