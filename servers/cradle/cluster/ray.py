"""A Ray cluster, as used here: actors, one for a processor that reads or for a device that holds a model.

The only module that imports ray. Actors answer with values and raise nothing of a file's: Ray would put an exception's
text into its logs. What arrives here is bounded by the caller, so that Ray's store in memory never spills to
disk; `start_node` switches spilling off besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from shared.dumps import forbid_dumps
from shared.errors import InvalidInput, NotFound, Unavailable
from shared.secret_files import make_secret
from shared.settings import Settings

STOP_S = 5.0
LOOK_S = 0.5


class NodeLost(Exception):
    """The actor is gone, with its machine or by itself."""


class Cluster:
    """The connection to a cluster. One for a process; machines may come and go.

    A node of it has to run on this machine too.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._connected = False

    async def resources(self) -> Mapping[str, float]:
        """What all machines of the cluster offer: `CPU`, `GPU`.

        Raises:
            InvalidInput: the extra is not installed.
            NotFound: this machine has no token of the cluster.
            Unavailable: there is no cluster at the address.
        """
        async with self._lock:
            if not self._connected:
                await asyncio.to_thread(_connect, self._settings)
                self._connected = True
        try:
            return await asyncio.to_thread(_ray().cluster_resources)
        except (_ray().exceptions.RayError, ConnectionError, RuntimeError):
            raise _away(self._settings) from None

    async def actor(self, kind: type, *arguments: Any, cpus: float = 0, gpus: float = 0) -> Actor:
        """An actor of this class, once a machine of the cluster has room for it. Its methods are coroutines."""
        await self.resources()
        made = _ray().remote(kind).options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD")
        return Actor(await asyncio.to_thread(made.remote, *arguments))

    async def close(self) -> None:
        """Leaves the cluster; every actor of this process ends."""
        if self._connected:
            self._connected = False
            await asyncio.to_thread(_ray().shutdown)


class Actor:
    """One actor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns.

        Raises:
            NodeLost: the actor is gone.
        """
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except _ray().exceptions.RayError:
            raise NodeLost from None

    async def stream(self, method: str, *arguments: Any) -> AsyncGenerator[bytes, None]:
        """What the method yields, one after the other. Leaving early cancels it.

        Raises:
            NodeLost: the actor is gone.
        """
        ray = _ray()
        answers = getattr(self._handle, method).options(num_returns="streaming").remote(*arguments)
        ended = False
        try:
            async for answer in answers:
                yield await answer
            ended = True
        except ray.exceptions.RayError:
            ended = True
            raise NodeLost from None
        finally:
            if not ended:
                ray.cancel(answers)

    async def kill(self) -> None:
        """Ends the actor at once; one that is gone already, or whose cluster is, stays so."""
        with contextlib.suppress(_ray().exceptions.RayError, ConnectionError, RuntimeError):
            await asyncio.to_thread(_ray().kill, self._handle)


def start_node(
    settings: Settings, address: str | None, ip: str | None, port: int, cpus: int | None, gpus: int | None
) -> int:
    """Run this machine's Ray node until a signal ends it: the head where no address is given. Returns its exit status.

    Raises:
        InvalidInput: the extra is not installed.
        NotFound: this machine has no token of the cluster.
    """
    _ray()
    forbid_dumps()  # what it starts inherits that: readers and models of other machines hold content too
    if address is None:
        make_secret(token_file(settings), secrets.token_hex(32).encode())
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--log-color=false"]
    if address is None:
        command += ["--head", f"--port={port}", "--include-dashboard=false"]
        command += ['--system-config={"automatic_object_spilling_enabled":false}']
    else:
        command += [f"--address={address}"]
    given = {"node-ip-address": ip, "num-cpus": cpus, "num-gpus": gpus}
    command += [f"--{name}={value}" for name, value in given.items() if value is not None]
    environment, told = os.environ | _environment(settings), threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):  # before there is anything that would be left behind
        signal.signal(each, lambda *_: told.set())
    # A group of its own, since Ray leaves its processes behind when it is told to stop.
    node = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while (status := node.poll()) is None and not told.wait(LOOK_S):
            pass  # Python sees a signal that comes just before it waits for a process only when that has ended
        return status or 0
    finally:
        _end(node)


def token_file(settings: Settings) -> Path:
    """Where the cluster's token is: the same on all of its machines. Whoever has it runs code on them."""
    return settings.home.expanduser() / "keys" / "cluster-token"


def _environment(settings: Settings) -> dict[str, str]:
    file = token_file(settings)
    if not file.is_file():
        raise NotFound(
            f"This machine has no token of the cluster: copy the head's {file.name} into this folder of keys."
        )
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file), "RAY_USAGE_STATS_ENABLED": "0"}


def _end(node: subprocess.Popen[bytes]) -> None:
    """Ends all of its processes, which have a few seconds for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(STOP_S)
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def _connect(settings: Settings) -> None:
    os.environ.update(_environment(settings))
    try:
        _ray().init(address=settings.cluster_address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError):
        raise _away(settings) from None


def _away(settings: Settings) -> Unavailable:
    return Unavailable(
        f"No Ray cluster answers at {settings.cluster_address}. Start its head with `0711 cluster head`, and on every "
        "other machine `0711 cluster join`; one of both has to run on this machine too."
    )


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise InvalidInput("A cluster needs Ray: pip install -e '.[scale]' in the platform's folder.") from None
    return ray
