"""Ports: binding them, and one uvicorn on each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from shared.errors import Conflict
from shared.serving.joined import JoinedProtocol
from shared.serving.shared_port import SharedPort, Takes
from shared.settings import PREFIX, Settings

CLOSE_S = 2
BACKLOG = 512


class _Server(uvicorn.Server):
    """One port. Signals are the process's business, not a port's."""

    def __init__(self, config: uvicorn.Config, takes: Takes | None) -> None:
        super().__init__(config)
        self._takes = takes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections; from a port that others share, as many as they."""
        if self._takes is None or sockets is None:
            await super().startup(sockets)
            return
        held = self.server_state.connections
        self.servers = [SharedPort(port, self._made, held.__len__, self._takes) for port in sockets]  # pyright: ignore[reportAttributeAccessIssue]
        self.started = True

    def _made(self) -> JoinedProtocol:
        return JoinedProtocol(self.config, self.server_state, self.lifespan.state)

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
        http=JoinedProtocol,
    )


class Ports:
    """Bound ports, and what is served on them.

    Args:
        ports: numbers, or sockets that listen already.

    Raises:
        Conflict: a port is in use; the message names it and the setting to change.
    """

    def __init__(self, settings: Settings, ports: Sequence[int | socket.socket]) -> None:
        self._sockets = _bind(settings, ports)

    @property
    def numbers(self) -> list[int]:
        """The ports; where 0 was asked for, the one that was free."""
        return [int(each.getsockname()[1]) for each in self._sockets if not is_private(each)]

    async def serve(
        self, apps: list[ASGIApp], until: Callable[[], Awaitable[None]], takes: Takes | None = None
    ) -> None:
        """Serve one application on each port until `until`, called once all accept, returns. `takes`: other processes
        serve on these ports too, but for the private ones."""
        ports = zip(apps, self._sockets, strict=True)
        servers = [_Server(_config(app), None if is_private(port) else takes) for app, port in ports]
        async with asyncio.TaskGroup() as group:
            for server, bound in zip(servers, self._sockets, strict=True):
                group.create_task(server.serve(sockets=[bound]))
            while not all(server.started for server in servers):  # noqa: ASYNC110  # uvicorn has a flag, not an event
                await asyncio.sleep(0.005)
            await until()
            for server in servers:
                server.should_exit = True

    def close(self) -> None:
        """Close the ports."""
        for each in self._sockets:
            each.close()


def is_private(port: int | socket.socket) -> bool:
    """Whether it is a socket in a folder, which processes of this account alone reach."""
    return isinstance(port, socket.socket) and port.family == socket.AF_UNIX


def bind(settings: Settings, port: int) -> socket.socket:
    """A port that listens, for processes that share it.

    Raises:
        Conflict: it is in use; the message names it and the setting to change.
    """
    return _bind(settings, [port])[0]


def _bind(settings: Settings, ports: Sequence[int | socket.socket]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    for port in ports:
        if isinstance(port, socket.socket):
            bound.append(port)
            continue
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
