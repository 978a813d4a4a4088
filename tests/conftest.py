"""Fixtures that several rooms use: a real Postgres of this test run, and databases cloned from migrated templates."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import hypothesis
import pytest
from argon2 import PasswordHasher
from mcp.server.mcpserver.tools import Tool
from pydantic import SecretStr

from servers.marketplace.users.secrets import Passwords
from shared.errors import Conflict
from shared.loading import loaded
from shared.postgres.database import Database
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.migrations import migrate
from shared.postgres.provision import provision
from shared.postgres.urls import DatabaseUrls
from shared.proxies import spare_this_machine
from shared.settings import Settings

# package → the database that holds its tables, as in `servers.local.platform`
HOME_OF = {
    "servers.marketplace": "user_registry",
    "servers.cradle.installations": "installation_configs",
    "servers.cradle.deployments": "installation_configs",
}

pytest_plugins = ["tests.image_rig", "tests.embedding_rig"]
"""Imported by each file that needs them, fixtures of a session would be made once for each file."""
ROOT = Path(__file__).parents[1]
spare_this_machine(os.environ)  # as each command does
hypothesis.settings.register_profile("0711", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("0711")


def migrated_packages() -> list[str]:
    """Every package of the tree that has migrations."""
    folders = {file.parents[1] for room in ("servers", "shared") for file in (ROOT / room).rglob("sql/0001_*.sql")}
    return sorted(folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `migrated_package` runs once for each package with migrations, later ones included."""
    if "migrated_package" in metafunc.fixturenames:
        metafunc.parametrize("migrated_package", migrated_packages())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: one that is begun last would keep one worker while the others wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is loaded while tests are collected stays: to look for garbage in it took a third of the time of that."""
    gc.disable()
    result = yield
    loaded()
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor, since tests wait for servers, engines and deadlines half of their time; at most eight."""
    return min(2 * (os.cpu_count() or 1), 8)


WITH_TORCH = {
    f"tests/integration/test_{name}.py"
    for name in ("embedding_cuda", "embedding_packed", "embedding_service", "vision_local")
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay with one worker, and so do those of a room that share what is costly: the platform of the
    end-to-end tests, the images of the customer acme in an engine. Both rooms use one engine, for other customers.
    So do files that load torch and its libraries, which takes a process seven seconds.

    xdist's own groups do nothing with pytest 9.2: it writes them into `_nodeid`, which is read no more.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Rooms(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            room = file.split("/")[1]
            return "torch" if file in WITH_TORCH else room if room in {"e2e", "images"} else file

    config.option.loadscopereorder = False
    return Rooms(config, log)


@pytest.fixture(scope="module", autouse=True)
def _nothing_loaded_is_searched_for_garbage() -> None:
    """As in a server's process: a walk through all that two thousand tests have loaded stops each call for a second."""
    loaded()


PATIENCE_S = 60.0
WAITS_FOR_A_PART = (
    "shared.postgres.database.CONNECT_TIMEOUT_S",
    "shared.postgres.database.ACQUIRE_TIMEOUT_S",
    "shared.postgres.connection.CONNECT_TIMEOUT_S",
    "shared.auth.ended.WAIT_S",
    "shared.auth.remote.FETCH_DEADLINE_S",
    "shared.client.connections.CONNECT_S",
    "shared.client.tokens.FETCH_DEADLINE_S",
    "servers.marketplace.changes.SOON_S",
    "servers.marketplace.gateway.client.CONNECT_S",
)


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest) -> Iterator[None]:
    """A machine that stands still for twenty seconds is no defect: parts that a test runs in this process wait longer
    for each other than a caller would like to. Tests of faults are about such limits, and have them as they are."""
    if request.path.parent.name == "faults":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for each in WAITS_FOR_A_PART:
            patch.setattr(each, PATIENCE_S)
        patch.setitem(Database.__init__.__kwdefaults__, "command_timeout_s", PATIENCE_S)
        yield


COSTLY_HASHER = Passwords.__dict__["_hasher"]


@pytest.fixture(scope="session", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    """Each marketplace that a test starts hashes its operator's password: 64 MiB, and 0.2 s of a processor. In these
    processes argon2id takes a thousandth of that; processes of the platform have what it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture
def costly_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed as the platform does: what happens meanwhile is what the test is about."""
    monkeypatch.setattr(Passwords, "_hasher", COSTLY_HASHER)


@pytest.fixture(scope="session", autouse=True)
def _schemas_once() -> Iterator[None]:
    """For each server that offers a tool, the SDK makes models and schemas of its arguments and result. That is most of
    a marketplace's start: 0.1 s of a processor. Here what was made of the same function before is taken again."""
    make, made = Tool.from_function, dict[str, Tool]()

    def from_function(fn: Callable[..., Any], **told: Any) -> Tool:
        signature = inspect.signature(fn, eval_str=True)  # with the bounds that its annotations have now
        key = f"{fn.__module__} {fn.__qualname__} {inspect.unwrap(fn).__code__} {signature} {told}"
        if key not in made:
            made[key] = make(fn, **told).model_copy(update={"fn": None})  # which would hold its server
        known = made[key]
        return known.model_copy(update={"fn": fn, "fn_metadata": known.fn_metadata.model_copy()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tool, "from_function", from_function)
        yield


@dataclass(frozen=True)
class PostgresServer:
    """The run's server: the launcher, and the addresses of its three (empty) databases."""

    server: EmbeddedPostgres
    home: Path
    urls: dict[str, DatabaseUrls]

    @property
    def superuser_url(self) -> str:
        return self.server.superuser_url

    @contextlib.asynccontextmanager
    async def superuser(self, urls: DatabaseUrls | None = None) -> AsyncIterator[Any]:
        """The superuser's connection to a test's database; None: to the server's own."""
        base, _, own = self.superuser_url.rpartition("/")
        connection = await asyncpg.connect(f"{base}/{urls.owner.rpartition('/')[2] if urls else own}")
        try:
            yield connection
        finally:
            await connection.close()

    async def cloned(self, of: str, template: str, name: str) -> DatabaseUrls:
        """A copy of a database that nobody is connected to, for the roles of one of the three."""
        async with self.superuser() as admin:
            made = f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER "{of}_owner" STRATEGY FILE_COPY'
            await admin.execute(made)  # page by page through the log, the default, takes twice the time
        return DatabaseUrls(*(f"{url.rpartition('/')[0]}/{name}" for url in (self.urls[of].app, self.urls[of].owner)))


@dataclass(frozen=True)
class TestDatabase:
    """A test's own database: opened with the application's role, and its addresses."""

    __test__ = False

    db: Database
    urls: DatabaseUrls


Databases = Callable[..., Awaitable[TestDatabase]]


PREFIX = "0711-tests-"
MEMORY, ROOM, OLD_S = Path("/dev/shm"), 2 << 30, 3600


def _in_memory() -> Path | None:
    """A file system in memory with room for the servers of all workers, where there is one.

    A test's database is 300 files that are made and deleted, and ext4 passes by each number that was given up in the
    last seconds to find one for a new file: a database took up to a quarter of a second of the kernel's time.
    """
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return None
    for left in MEMORY.glob(f"{PREFIX}*"):  # by a run that was killed; one that goes on holds its server's lock
        with contextlib.suppress(Conflict, OSError):
            if time.time() - left.stat().st_mtime > OLD_S:
                EmbeddedPostgres(left / "postgres", 0).remove()
                shutil.rmtree(left)
    return MEMORY


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One embedded server for the run; it forgets everything at the end, so it need not wait for the disk."""
    from tests.serving_rig import free_port

    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=_in_memory()) as folder:
        home = Path(folder)
        home.chmod(0o711)  # as root, Postgres runs as another user, who passes through
        options = {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "64MB", "min_wal_size": "32MB"}
        server = EmbeddedPostgres(home / "postgres", free_port(), options)
        server.start()
        try:
            yield asyncio.run(_provisioned(server, home))
        finally:
            server.remove()


async def _provisioned(server: EmbeddedPostgres, home: Path) -> PostgresServer:
    """The three databases, which a test may fill, and an empty copy of each for `cloned`."""
    made = PostgresServer(server, home, await provision(server.superuser_url, home))
    for of in made.urls:
        await made.cloned(of, of, f"empty_{of}")
    return made


@pytest.fixture(scope="session")
def _templates() -> dict[tuple[str, ...], str]:
    return {}


_numbers = itertools.count(1)


@pytest.fixture
async def database(postgres_server: PostgresServer, _templates: dict[tuple[str, ...], str]) -> AsyncIterator[Databases]:
    """`await database("servers.marketplace")` → a fresh, migrated `TestDatabase` whose `.db` is open.

    Cloned from a template in tens of milliseconds and dropped after the test; several packages may share one database.
    `migrated=False` leaves it empty, with the package's roles.
    """
    opened: dict[str, Database] = {}

    async def make(*packages: str, migrated: bool = True) -> TestDatabase:
        of = HOME_OF.get(packages[0], "platform")
        key = (*packages, "migrated" if migrated else "empty")
        if key not in _templates:
            name = f"template_{next(_numbers)}"
            template = await postgres_server.cloned(of, f"empty_{of}", name)
            for package in packages if migrated else ():
                await migrate(template.owner, package)
            _templates[key] = name
        name = f"test_{next(_numbers)}"
        urls = await postgres_server.cloned(of, _templates[key], name)
        opened[name] = db = Database(urls.app)
        await db.open()
        return TestDatabase(db, urls)

    yield make
    async with postgres_server.superuser() as admin:
        for name, db in opened.items():
            await db.close()
            with contextlib.suppress(asyncpg.ObjectInUseError):  # whose session stands still
                await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def time_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`time_passes(seconds)` sets the clock of the tests' loop on: what was to end by then ends at once."""
    loop, passed = asyncio.get_running_loop(), [0.0]
    clock = loop.time

    def on(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(loop, "time", lambda: clock() + passed[0])
    return on


@pytest.fixture
def market_settings() -> dict[str, Any]:
    """What `market` is set to beside the defaults; a file whose market has something else makes its own."""
    return {}


@pytest.fixture
async def market(database: Databases, tmp_path: Path, market_settings: dict[str, Any]) -> AsyncIterator[Any]:
    """A `tests.marketplace_rig.Market` that runs and knows the customers `acme` and `bolt`."""
    from tests.marketplace_rig import running_market

    made = await database("servers.marketplace", "shared")
    async with running_market(tmp_path, made.urls, **market_settings) as running:
        await running.add_customers()
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """HTTP without the platform's client: what is sent is what a test says."""
    kept = aiohttp.TCPConnector(keepalive_timeout=2)  # the servers close what was idle for five seconds
    async with aiohttp.ClientSession(connector=kept, timeout=aiohttp.ClientTimeout(300)) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """An S3 server with its key and secret, `http://KEY:SECRET@host:port`: TEST_S3_URL, else moto's as a process."""
    given = os.environ.get("TEST_S3_URL")
    if given:
        yield given
        return
    from tests.serving_rig import free_port

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield f"http://test-key:test-secret@127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("the S3 server of the tests did not start: is moto installed (extra dev)?")


def s3_settings(home: Path, url: str) -> Settings:
    """Settings whose objects lie on the tests' S3 server."""
    parts = urlsplit(url)
    return Settings(
        home=home,
        s3_endpoint=f"{parts.scheme}://{parts.hostname}:{parts.port}",
        s3_access_key=SecretStr(parts.username or ""),
        s3_secret_key=SecretStr(parts.password or ""),
        s3_region="us-east-1",
        s3_role=os.environ.get("TEST_S3_ROLE") or None,
        _env_file=None,  # pyright: ignore[reportCallIssue]
    )
