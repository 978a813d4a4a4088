"""A started image: in the container engine where one answers, else unpacked and run by its own Python."""

from __future__ import annotations

import asyncio
import http.client
import secrets
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from servers.cradle.images import launch
from servers.cradle.images.base import architecture
from servers.cradle.images.engine import Container, Engine, reachable
from servers.cradle.images.files import work_name
from servers.cradle.images.spec import INSTANCE_PORT
from servers.cradle.images.unpack import Contents, read_image
from shared.contracts.image import Architecture
from shared.errors import DeadlineExceeded, Unavailable
from shared.stopping import stopped_first

HEALTHY_S = 90.0
ENDED = "The instance ended before it was healthy: the image does not start here."
EMULATED_S = 600.0
_PATIENT = {"INSTANCE_QUERY_DEADLINE_S": "300"}
_CONNECT_S = 2.0
_STOP_S = 25.0
_POLL_S = 0.05
_TAIL = 8192


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """A healthy instance.

    `url` is its MCP endpoint, `access_key` the bearer key of this start, `how` says in words where it runs,
    `start_s` how long it took from the start of its process to healthy, `root` where its files lie, as far as they were
    unpacked.
    """

    url: str
    access_key: str
    how: str
    contents: Contents
    start_s: float
    root: Path | None = None


@asynccontextmanager
async def running_instance(
    image: Path, scratch: Path, *, docker_host: str | None = None, owner: str | None = None,
    emulated: Architecture | None = None, beside: tuple[str, ...] = (),
) -> AsyncIterator[RunningInstance]:  # fmt: skip
    """Start an image, wait until it is healthy, and leave nothing of it behind.

    Args:
        image: the tar, or the folder of its tag.
        scratch: a folder of the customer's bucket; a folder in it exists while the instance runs.
        docker_host: the container engine to run it in, where it answers; default DOCKER_HOST or the usual socket.
        owner: whose container it is (`owner_of`).
        emulated: start this variant of it, without an engine; `launch.emulates` says where that can be.
        beside: what is unpacked on this machine too while an engine runs the image, such as `data/`.

    Raises:
        NotFound, InvalidInput, Conflict: the file is missing, no image, or altered.
        Unavailable: it ended before it was healthy.
        DeadlineExceeded: it was not healthy within a minute and a half, or ten minutes of emulation.
    """
    tar = await asyncio.to_thread(_tar_of, image)
    engine = emulated is None and await asyncio.to_thread(reachable, docker_host)
    start = _in_engine(tar, scratch, docker_host, owner, beside) if engine else _unpacked(tar, scratch, emulated)
    async with start as instance:
        yield instance


def _tar_of(image: Path) -> Path:
    return image / "image.tar" if image.is_dir() else image


@asynccontextmanager
async def _in_engine(
    tar: Path, scratch: Path, docker_host: str | None, owner: str | None, beside: tuple[str, ...]
) -> AsyncIterator[RunningInstance]:
    root = scratch / work_name("instance") if beside else None
    try:
        contents = await stopped_first(read_image, tar, root, beside)
        async with _container(tar, contents, docker_host, owner, root) as instance:
            yield instance
    finally:
        if root is not None:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, root, ignore_errors=True))


@asynccontextmanager
async def _container(
    tar: Path, contents: Contents, docker_host: str | None, owner: str | None, root: Path | None
) -> AsyncIterator[RunningInstance]:
    key = secrets.token_urlsafe(32)
    port = _port_of(contents)
    engine = await asyncio.to_thread(Engine.connect, docker_host)
    try:
        environment = {"INSTANCE_ACCESS_KEY": key}
        start = asyncio.to_thread(engine.start, tar, contents.image_id, port, environment, owner)
        starting = asyncio.ensure_future(start)
        try:
            container = await asyncio.shield(starting)
            await wait_until_healthy(container.host, container.port, container.exited)
            url, took = f"http://{container.host}:{container.port}/mcp", time.monotonic() - container.began
            yield RunningInstance(url, key, engine.how, contents, took, root)
        finally:
            await asyncio.shield(_removed(starting))
    finally:
        await asyncio.to_thread(engine.close)


async def _removed(starting: asyncio.Future[Container]) -> None:
    """Remove the container, also where whoever waited for its start has gone meanwhile."""
    await asyncio.wait([starting])
    if starting.exception() is None:
        await asyncio.to_thread(starting.result().remove)


@asynccontextmanager
async def _unpacked(tar: Path, scratch: Path, emulated: Architecture | None) -> AsyncIterator[RunningInstance]:
    folder = scratch / work_name("instance")
    root, temporary = folder / "root", folder / "tmp"
    try:
        await asyncio.to_thread(_make_folders, root, temporary)
        if not launch.may_run_in(root):
            raise Unavailable(
                "No program may start where the image is unpacked (noexec). Set P0711_DOCKER_HOST, or name another"
                " P0711_WORK_FOLDER."
            )
        contents = await stopped_first(read_image, tar, root, ("",), emulated or architecture())
        with _held_port() as port:
            async with _started(contents, root, temporary, port, emulated) as instance:
                yield instance
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


@asynccontextmanager
async def _started(
    contents: Contents, root: Path, temporary: Path, port: int, emulated: Architecture | None
) -> AsyncIterator[RunningInstance]:
    key, began = secrets.token_urlsafe(32), time.monotonic()
    process = await _spawn(contents, root, temporary, key, port, _PATIENT if emulated else {})
    tail = asyncio.create_task(_keep_tail(process))
    try:
        limit = EMULATED_S if emulated else HEALTHY_S
        await wait_until_healthy("127.0.0.1", port, lambda: process.returncode is not None, tail, limit)
        took, how = time.monotonic() - began, f"emulated, {launch.how()}" if emulated else launch.how()
        yield RunningInstance(f"http://127.0.0.1:{port}/mcp", key, how, contents, took, root)
    finally:
        await asyncio.shield(_stop(process))
        tail.cancel()


def _make_folders(root: Path, temporary: Path) -> None:
    root.mkdir(parents=True, mode=0o755)
    root.chmod(0o755)
    temporary.mkdir(mode=0o700)


async def _spawn(
    contents: Contents, root: Path, temporary: Path, key: str, port: int, limits: dict[str, str]
) -> asyncio.subprocess.Process:
    config = contents.config["config"]
    own = dict(line.split("=", 1) for line in config["Env"])
    changes = {"INSTANCE_HOST": "127.0.0.1", "INSTANCE_PORT": str(port), "INSTANCE_ACCESS_KEY": key, **limits}
    command = launch.command(root, [*config["Entrypoint"], *(config.get("Cmd") or [])])
    return await asyncio.create_subprocess_exec(
        *command,
        env=launch.environment(root, own, changes, temporary),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )


async def _keep_tail(process: asyncio.subprocess.Process) -> str:
    """Read the process's output to its end, so that it never waits for us; keeps the last of it in memory."""
    assert process.stdout is not None  # noqa: S101 - it was made with a pipe
    tail = b""
    while block := await process.stdout.read(_TAIL):
        tail = (tail + block)[-_TAIL:]
    return tail.decode(errors="replace")


async def wait_until_healthy(
    host: str, port: int, exited: Callable[[], bool], tail: asyncio.Task[str] | None = None, limit_s: float = HEALTHY_S
) -> None:
    """Wait until the instance at this address is healthy.

    Raises:
        Unavailable: it has ended.
        DeadlineExceeded: it was not healthy within `limit_s`.
    """
    try:
        async with asyncio.timeout(limit_s):
            while not await asyncio.to_thread(answers_healthy, host, port):
                if await asyncio.to_thread(exited):
                    error = Unavailable(ENDED)
                    if tail is not None:
                        error.add_note(await tail)
                    raise error
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise DeadlineExceeded(f"The instance was not healthy within {limit_s:g} s. Try again.") from None


def answers_healthy(host: str, port: int) -> bool:
    """Whether the instance at this address says that it is healthy; blocking."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status == 200 and b'"healthy"' in response.read(4096)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(host: str, port: int) -> bool:
    """Whether anything takes connections at this address; blocking."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(sign)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_S)


def _port_of(contents: Contents) -> int:
    exposed = contents.config["config"].get("ExposedPorts") or {}
    return next((int(name.split("/")[0]) for name in exposed), INSTANCE_PORT)


@contextmanager
def _held_port() -> Iterator[int]:
    """A loopback port that no other program is given meanwhile: it is bound and does not listen, so Linux lets the
    instance, whose server reuses addresses, have it as well."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])
