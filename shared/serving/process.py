"""Running a server process: its ports, its signals, and an end that lets running calls finish."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.dumps import forbid_dumps
from shared.errors import Unavailable
from shared.loading import loaded
from shared.settings import Settings
from shared.telemetry import configure, event

DRAIN_S = 20.0
OPEN_FILES = 65_536


async def _alone() -> None:
    """There is nobody to wait for."""


async def serve(
    apps: Sequence[tuple[ASGIApp, int | socket.socket]],
    settings: Settings,
    name: str = "server",
    *,
    worker: int | None = None,
    in_step: Callable[[], Awaitable[None]] = _alone,
    takes: Callable[[int], bool] | None = None,
    on_ready: Callable[[list[int]], None] | None = None,
    stop: asyncio.Event | None = None,
    signals: bool = True,
    drain_s: float = DRAIN_S,
) -> None:
    """Serve applications on their ports in this loop until SIGTERM or SIGINT, then drain and return.

    After the signal `/health` answers 503 at once and new calls are refused; running calls have `drain_s` seconds. A
    second signal ends them at once. An application that stands on several ports is opened once. A port may be a socket
    that listens already; over one in a folder, requests are taken to the end.

    Args:
        worker: which of several processes of the server this is, for its log.
        in_step: awaited before the first request is taken, and again when no call runs any more, before the end: lets
            processes that serve together wait for each other.
        takes: whether this process takes the next connection, given how many it has; None: it has its ports alone.
        on_ready: gets the ports once all of them accept connections (0 means: a free one).
        stop: ends it like a signal.
        signals: False where the process is somebody else's, who handles them.

    Raises:
        Conflict: a port is in use; the message names it and the setting to change.
        PlatformError: what an application's lifespan raised.
    """
    from shared.serving.ports import Ports, is_private  # uvicorn takes its time, and stdio needs none

    configure(name, settings.log_level, worker)
    ports = Ports(settings, [port for _, port in apps])
    draining, hurry = stop or asyncio.Event(), asyncio.Event()
    gate = Gate(draining)

    async def until_drained() -> None:
        event("serving", count=len(ports.numbers), port=ports.numbers[0])
        if signals:
            loaded()
        if on_ready is not None:
            on_ready(ports.numbers)
        await draining.wait()
        event("draining")
        await _first(gate.empty, hurry, deadline_s=drain_s)
        await in_step()

    try:
        async with contextlib.AsyncExitStack() as stack:
            for app in {id(app): app for app, _ in apps}.values():
                await stack.enter_async_context(_lifespan(app))
            if signals:
                stack.enter_context(_signals(draining, hurry))
            await in_step()
            await ports.serve([gate.around(app, always=is_private(port)) for app, port in apps], until_drained, takes)
    finally:
        ports.close()
    event("stopped")


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` on the fastest loop, in a process whose crash leaves no core and which may have
    as many connections as the machine allows."""
    import uvloop

    forbid_dumps()
    _allow_connections()
    uvloop.run(main)


def _allow_connections() -> None:
    """Each is an open file, of which systems let a process have 1,024 unless it asks for more."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if 0 <= now < wanted:  # RLIM_INFINITY is -1
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Gate:
    """Counts the requests inside, and lets none in but `/health` once the process drains."""

    def __init__(self, draining: asyncio.Event) -> None:
        self.draining = draining
        self.empty = asyncio.Event()
        self.empty.set()
        self._inside = 0

    def around(self, app: ASGIApp, *, always: bool = False) -> ASGIApp:
        """The application behind the gate. `always`: what comes here belongs to calls that run, and is let in."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if self.draining.is_set() and not always:
                await _draining(scope)(scope, receive, send)
                return
            counted = not _listens(scope)
            self._count(+1 if counted else 0)
            try:
                await app(scope, receive, send)
            finally:
                self._count(-1 if counted else 0)

        return gated

    def _count(self, change: int) -> None:
        self._inside += change
        (self.empty.clear if self._inside else self.empty.set)()


def _listens(scope: Scope) -> bool:
    """A stream that lasts for as long as the client likes is not waited for."""
    return (b"mcp-method", b"subscriptions/listen") in scope.get("headers", ())


def _draining(scope: Scope) -> Response:
    if scope.get("path") == "/health":
        return Response(b'{"status":"draining"}', 503, media_type="application/json")
    from shared.serving.failures import asks_rpc, http_response  # the protocol takes its time to load

    error = Unavailable("The server is stopping: try again.", retry_after=2)
    return http_response(error, rpc=asks_rpc(scope), close=True)


async def _first(*events: asyncio.Event, deadline_s: float) -> None:
    waits = [asyncio.create_task(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


@contextlib.contextmanager
def _signals(draining: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def told() -> None:
        (hurry if draining.is_set() else draining).set()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told)
    try:
        yield
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)


@contextlib.asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[None]:
    opened = getattr(app, "lifespan", None)
    if opened is None:
        yield
        return
    async with opened():
        yield
