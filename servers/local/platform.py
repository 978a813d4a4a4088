"""The whole platform on one machine: Postgres, databases, keys, and one process per server."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from servers.local.children import Child, healthy
from servers.local.connect import starting
from servers.local.lock import HomeLock, require_whole
from servers.local.logs import bound
from shared.errors import Conflict, PlatformError, Unavailable
from shared.settings import PREFIX, ServerName, Settings

if TYPE_CHECKING:
    from shared.postgres.launcher import EmbeddedPostgres

SERVERS: tuple[ServerName, ...] = ("marketplace", "cradle", "orchestrator")
# database → packages whose migrations it holds
MIGRATIONS = {
    "platform": ("shared", "servers.orchestrator"),
    "installation_configs": ("shared", "servers.cradle.installations", "servers.cradle.deployments"),
    "user_registry": ("shared", "servers.marketplace"),
}
START_DEADLINE_S = 240.0
"""For each server, which ends by itself where it cannot start: a machine may be busy with much else."""
POSTGRES_LOOK_S = 0.5

Notify = Callable[[str], None]


class Platform:
    """A running platform. `children` are its servers by name."""

    def __init__(self, settings: Settings, children: dict[str, Child]) -> None:
        self.settings = settings
        self.children = children

    async def ended(self) -> str:
        """Waits until a server gives up for good; returns its name."""
        waits = {asyncio.create_task(child.failed.wait()): name for name, child in self.children.items()}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for task in waits:
                task.cancel()


@contextlib.asynccontextmanager
async def running(settings: Settings, notify: Notify) -> AsyncIterator[Platform]:
    """Starts everything in order, waits until it is healthy, and stops it in reverse order.

    Raises:
        Conflict: another platform runs in this home folder, another program listens on a port, the keys are gone, or
            a restore was killed.
        Unavailable: a part did not come up, or gave up meanwhile; the message says which and why.
    """
    from servers.local.one_customer import undo_killed

    with HomeLock(settings.home):
        require_whole(settings.home)
        _require_free_ports(settings)
        _require_keys(settings.home)
        _make_private(settings.home)
        for root in settings.source_roots:
            if not root.is_dir():
                notify(f"source root    {root} is no folder: until it is one, no file below it is read")
        async with postgres(settings, notify) as superuser_url:
            await prepare(settings, superuser_url, notify)
            await undo_killed(settings, superuser_url, notify)
            children: dict[str, Child] = {}
            try:
                await _start(settings, children, notify)
                yield Platform(settings, children)
            except PlatformError:
                for child in children.values():
                    if child.failed.is_set():  # what failed for want of it says less
                        raise child.gave_up() from None
                raise
            finally:
                for child in reversed(children.values()):  # who calls ends before whom it calls: running calls finish
                    await child.stop()


def _require_free_ports(settings: Settings) -> None:
    """Another program's answer at one of them would be taken for a server's own, and the platform said to be ready."""
    from shared.serving.ports import Ports

    names = [f"{name}_port" for name in (*SERVERS, "embedding", "vision")]
    ports: dict[int, str] = {}
    for name in names if settings.postgres_url else [*names, "postgres_port"]:
        port = getattr(settings, name)
        if port in ports:
            both = f"{PREFIX}{ports[port].upper()} and {PREFIX}{name.upper()}"
            raise Conflict(f"{both} are the same port, {port}: set one of them to another.")
        ports[port] = name
    Ports(settings, [getattr(settings, name) for name in names]).close()


def _require_keys(home: Path) -> None:
    """New ones would be made without a word, by which nothing of the archive is read and no instance updated."""
    from servers.cradle.images.signing import KEY_NAME

    if not (home / "keys" / KEY_NAME).exists() and any((home / "archive").glob("*/*")):
        raise Conflict(
            f"{home / 'keys'} has no {KEY_NAME}, but {home / 'archive'} holds images that it signed. Put the folder"
            " keys back from a backup (files/keys). To begin with new keys, by which nobody reads these images, move"
            " archive away."
        )


def _make_private(home: Path) -> None:
    """Nobody else on this machine lists the home folder or enters what holds keys, logs and customers' data."""
    home.chmod(0o711)  # Postgres runs as another user where the platform runs as root, and passes through
    for name in ("archive", "keys", "logs", "objects"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
        (home / name).chmod(0o700)


@contextlib.asynccontextmanager
async def postgres(settings: Settings, notify: Notify) -> AsyncIterator[str]:
    """The superuser's URL of the server of the settings, or of the embedded one, which runs while the block lasts.

    Raises:
        Unavailable: as inside; StorageFull where that is so because the embedded one had no room.
    """
    if settings.postgres_url is not None:
        yield settings.postgres_url.get_secret_value()
        return
    from shared.postgres.launcher import EmbeddedPostgres

    server = EmbeddedPostgres(settings.home / "postgres", settings.postgres_port)
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:  # its thread goes on: what it starts has to be ended
        await asyncio.wait({starting})
        await asyncio.to_thread(server.stop)
        raise
    notify(f"postgres       127.0.0.1:{settings.postgres_port}")
    stop = asyncio.Event()
    watcher = asyncio.create_task(_keep_running(server, notify, stop), name="watch postgres")
    try:
        yield server.superuser_url
    except Unavailable:
        if full := server.full:
            raise full from None
        raise
    finally:
        stop.set()
        await watcher
        await asyncio.to_thread(server.stop)


@contextlib.contextmanager
def needing_postgres(settings: Settings) -> Iterator[None]:
    """Around what a command does with the databases of a platform that runs: if it does not, that is said.

    Raises:
        Unavailable: as inside; where the embedded Postgres does not run, what starts it.
    """
    from shared.postgres.launcher import EmbeddedPostgres

    try:
        yield
    except Unavailable:
        embedded = EmbeddedPostgres(settings.home / "postgres", settings.postgres_port)
        if settings.postgres_url is not None or embedded.held:
            raise
        raise Unavailable(
            f"No platform runs in {settings.home}. Start it with `{starting(settings)}`, then call again."
        ) from None


async def _keep_running(server: EmbeddedPostgres, notify: Notify, stop: asyncio.Event) -> None:
    """Starts Postgres again when it has ended by itself, until it runs: a disk that was full has room at some time.
    Keeps its log bounded."""
    pause, told = POSTGRES_LOOK_S, ""
    while not await _within(pause, stop):
        await asyncio.to_thread(bound, server.log)
        if not server.ended:
            pause, told = POSTGRES_LOOK_S, ""
            continue
        if not told:
            notify(told := f"postgres ended; starting it again. Its log until then: {server.ended_log}")
        try:
            await asyncio.to_thread(server.restart)
        except (PlatformError, OSError) as error:
            pause = min(8.0, 2 * pause)
            why = error.message if isinstance(error, PlatformError) else f"postgres cannot be started: {error}"
            if why != told:
                notify(told := why)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def prepare(settings: Settings, superuser_url: str, notify: Notify) -> None:
    """Databases, roles, migrations, keys and the first accounts. Does nothing where all of it stands."""
    from servers.marketplace.bootstrap import bootstrap
    from shared.postgres.migrations import migrate
    from shared.postgres.provision import provision

    urls = await provision(superuser_url, settings.home)
    for database, packages in MIGRATIONS.items():
        for package in packages:
            await migrate(urls[database].owner, package)
    notify("databases      ready")
    await bootstrap(settings)


async def _start(settings: Settings, children: dict[str, Child], notify: Notify) -> None:
    logs = settings.home / "logs"
    env = environment(settings)
    for name in SERVERS:
        children[name] = Child(name, env, logs / f"{name}.log", notify)
        await children[name].start()
    for name in SERVERS:
        await healthy(settings.here(settings.port(name)) + "/health", children[name], START_DEADLINE_S)
        notify(f"{name:<14} {settings.resource(name)}")
    for part in ("embedding", "vision"):
        notify(f"{part:<14} {settings.here(getattr(settings, f'{part}_port'))}")


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting that differs from its default, so that children read the same."""
    env = {key: value for key, value in os.environ.items() if not key.upper().startswith(PREFIX)}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            env[PREFIX + name.upper()] = _text(value)
    return env


def _text(value: object) -> str:
    import orjson
    from pydantic import BaseModel, SecretStr

    def plain(inner: object) -> object:
        if isinstance(inner, SecretStr):
            return inner.get_secret_value()
        return inner.model_dump() if isinstance(inner, BaseModel) else str(inner)

    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | tuple | dict):
        return orjson.dumps(value, default=plain).decode()
    return str(value)


def operator_file(home: Path) -> Path:
    """The operator's local credential (0600)."""
    return home / "keys" / "operator.json"
