"""Running a server process: its ports, its signals, and an end that lets running calls finish."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import orjson
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Conflict, Unavailable
from shared.settings import PREFIX, Settings
from shared.telemetry import configure, event

DRAIN_S = 20.0
CLOSE_S = 2
BACKLOG = 512


async def serve(
    apps: Sequence[tuple[ASGIApp, int]],
    settings: Settings,
    name: str = "server",
    *,
    on_ready: Callable[[list[int]], None] | None = None,
    stop: asyncio.Event | None = None,
    signals: bool = True,
    drain_s: float = DRAIN_S,
) -> None:
    """Serve applications on their ports in this loop until SIGTERM or SIGINT, then drain and return.

    After the signal `/health` answers 503 at once and new calls are refused; running calls have `drain_s` seconds. A
    second signal ends them at once. An application that stands on several ports is opened once.

    Args:
        on_ready: gets the ports once all of them accept connections (0 means: a free one).
        stop: ends it like a signal.
        signals: False where somebody else handles them.

    Raises:
        Conflict: a port is in use; the message names it and the setting to change.
        PlatformError: what an application's lifespan raised.
    """
    configure(name, settings.log_level)
    sockets = _bind(settings, [port for _, port in apps])
    draining, hurry = stop or asyncio.Event(), asyncio.Event()
    gate = Gate(draining)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for app in {id(app): app for app, _ in apps}.values():
                await stack.enter_async_context(_lifespan(app))
            if signals:
                stack.enter_context(_signals(draining, hurry))
            servers = [_Server(_config(gate.around(app))) for app, _ in apps]
            await _run(servers, sockets, gate, hurry, drain_s, on_ready)
    finally:
        for each in sockets:
            each.close()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` on the fastest loop that is installed."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        asyncio.run(main)
    else:
        uvloop.run(main)


class Gate:
    """Counts the requests inside, and lets none in but `/health` once the process drains."""

    def __init__(self, draining: asyncio.Event) -> None:
        self.draining = draining
        self.empty = asyncio.Event()
        self.empty.set()
        self._inside = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application behind the gate."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if self.draining.is_set():
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
    error = Unavailable("The server is stopping: try again.", retry_after=2)
    return Response(
        orjson.dumps(error.as_dict()), 503, {"retry-after": "2", "connection": "close"}, media_type="application/json"
    )


class _Server(uvicorn.Server):
    """One port. Signals are the process's business, not a port's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,  # addresses may hold content
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CLOSE_S,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
    )


async def _run(
    servers: list[_Server],
    sockets: list[socket.socket],
    gate: Gate,
    hurry: asyncio.Event,
    drain_s: float,
    on_ready: Callable[[list[int]], None] | None,
) -> None:
    async with asyncio.TaskGroup() as group:
        for server, bound in zip(servers, sockets, strict=True):
            group.create_task(server.serve(sockets=[bound]))
        ports = [int(bound.getsockname()[1]) for bound in sockets]
        while not all(server.started for server in servers):  # noqa: ASYNC110  # uvicorn offers a flag, not an event
            await asyncio.sleep(0.005)
        event("serving", count=len(ports), port=ports[0])
        if on_ready is not None:
            on_ready(ports)
        await gate.draining.wait()
        event("draining")
        await _first(gate.empty, hurry, deadline_s=drain_s)
        for server in servers:
            server.should_exit = True
    event("stopped")


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


def _bind(settings: Settings, ports: list[int]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    for port in ports:
        try:
            bound.append(_listen(settings.host, port))
        except OSError as error:
            for each in bound:
                each.close()
            raise _not_bound(error, settings, port) from None
    return bound


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(BACKLOG)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def _not_bound(error: OSError, settings: Settings, port: int) -> Exception:
    setting = PREFIX + next((name for name in _port_settings() if getattr(settings, name) == port), "…_port").upper()
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"Port {port} is in use: stop what listens there, or set {setting} to another.")
    if error.errno == errno.EACCES:
        return Conflict(f"Port {port} needs rights that this process lacks: set {setting} to one over 1023.")
    return Conflict(f"The address {settings.host} is not one of this machine: set {PREFIX}HOST to another.")


def _port_settings() -> list[str]:
    return [name for name in Settings.model_fields if name.endswith("_port")]
