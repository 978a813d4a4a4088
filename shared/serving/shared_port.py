"""A port that several processes take connections from, each about as many as the others.

All of them are woken by a connection. Left alone, the first one takes all that come at once: it would be as if there
were no others, for connections stay. So one that has more than another leaves it a moment to take the next one first.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

MOMENT_S = 0.005
PAUSE_S = 0.2
"""Before the next try, where this process may have no further file."""

Takes = Callable[[int], bool]
"""Given how many connections this process has, whether it takes the next one now."""


class SharedPort:
    """Takes connections from a port until it is closed; for uvicorn it is one of asyncio's servers.

    Args:
        protocol: makes what serves a connection.
        held: how many connections this process has.
    """

    def __init__(
        self, port: socket.socket, protocol: Callable[[], asyncio.Protocol], held: Callable[[], int], takes: Takes
    ) -> None:
        self._port = port
        self._protocol = protocol
        self._held = held
        self._takes = takes
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self._loop.add_reader(port.fileno(), self._look)

    def close(self) -> None:
        """Take no further connection."""
        self._loop.remove_reader(self._port.fileno())
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Connections that have begun are their protocols' business."""

    def _look(self) -> None:
        if self._takes(self._held() + len(self._begun)):
            self._take()
        else:
            self._wait(MOMENT_S)

    def _take(self) -> None:
        try:
            taken, _ = self._port.accept()
        except OSError as error:  # mostly: another process was faster
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._wait(PAUSE_S)
            return
        taken.setblocking(False)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._begin(taken))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _begin(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:  # it has gone already
            taken.close()

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._port.fileno())
        self._pause = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._port.fileno(), self._look)
        self._take()  # whoever has fewer has had time
