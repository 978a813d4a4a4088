"""A call that may take several requests of its caller: while it is paused, it has none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message as Event
from starlette.types import Receive, Send

from shared.serving.hanging_up import hung_up


class Pausing:
    """One call, in a task of its own.

    Args:
        work: makes the call and sends its answer; returns the outcome's code.
    """

    def __init__(self, send: Send, work: Callable[[Send], Awaitable[str]]) -> None:
        self._send = send
        self._paused = asyncio.Event()
        self.task = asyncio.ensure_future(work(self._sending))
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits sees it

    def pause(self) -> None:
        """The request that waits has had its answer; the call goes on with the next one."""
        self._paused.set()

    def go_on(self, send: Send) -> None:
        """Another request waits now."""
        self._send = send
        self._paused.clear()

    async def served(self, receive: Receive) -> str:
        """Wait until the request has its answer, or its caller is gone: that ends the call.

        Raises:
            PlatformError: nothing has been answered yet.
        """
        others = {asyncio.create_task(self._paused.wait()), asyncio.create_task(hung_up(receive))}
        try:
            await asyncio.wait({self.task, *others}, return_when=asyncio.FIRST_COMPLETED)
            if self.task.done():
                return self.task.result()
            if self._paused.is_set():
                return "paused"
            self.task.cancel()
            return "cancelled"
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        finally:
            for each in others:
                each.cancel()

    async def _sending(self, event: Event) -> None:
        await self._send(event)
