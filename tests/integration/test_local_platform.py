"""`0711` on one machine: servers as child processes, and a command line whose errors are one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from servers.local.children import Child, healthy, unwell
from servers.local.lock import HomeLock
from servers.local.platform import MIGRATIONS, environment, postgres, prepare
from servers.local.status import status
from shared.errors import StorageFull, Unavailable
from shared.identity_provider import IdentityProvider
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.urls import DatabaseUrls, write
from shared.settings import RunnerCommand, Settings
from tests.orchestrator_rig import free_port

FALLS_ONCE = """
import os, pathlib, time
marker = pathlib.Path(os.environ["MARKER"])
if marker.exists():
    time.sleep(1000)
marker.touch()
os._exit(1)
"""


async def test_a_server_stopped_while_it_waits_to_be_started_again_stays_stopped(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FALLS_ONCE)
    fallen = asyncio.Event()
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "MARKER": str(tmp_path / "marker")}
    child = Child("marketplace", env, tmp_path / "log", lambda _: fallen.set())
    await child.start()
    async with asyncio.timeout(120):
        await fallen.wait()
        await child.stop()
    assert child.pid is None


async def test_a_server_that_the_machine_cannot_start_for_a_moment_is_started_later(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(1000)")
    logs, told, failed = tmp_path / "logs", list[str](), asyncio.Event()
    logs.mkdir()

    def notify(line: str) -> None:
        told.append(line)
        if "could not be started" in line:
            failed.set()

    child = Child("marketplace", {**os.environ, "PYTHONPATH": str(tmp_path)}, logs / "log", notify)
    await child.start()
    assert child.pid is not None
    logs.rename(tmp_path / "aside")
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(120):
        await failed.wait()
        (tmp_path / "aside").rename(logs)
        while child.pid is None:  # noqa: ASYNC110  no event tells of a start
            await asyncio.sleep(0.1)
        await child.stop()
    assert told[1] == "marketplace could not be started: No such file or directory"


async def test_why_a_server_gives_up_is_said_once_and_by_whoever_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nsys.stderr.write('0711: No model.\\n')\nos._exit(2)")
    told, log = list[str](), tmp_path / "log"
    child = Child("cradle", {**os.environ, "PYTHONPATH": str(tmp_path)}, log, told.append)
    await child.start()
    with pytest.raises(Unavailable):
        await healthy("http://127.0.0.1:1/health", child, 120)
    await child.stop()
    assert child.gave_up().message == f"cradle cannot run: No model. Everything was stopped. Its log: {log}"
    assert told == []


def test_a_port_that_another_program_has_is_said_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for name in ("MARKETPLACE", "CRADLE", "EMBEDDING", "VISION"):
            monkeypatch.setenv(f"P0711_{name}_PORT", str(free_port()))
        monkeypatch.setenv("P0711_ORCHESTRATOR_PORT", str(taken))
        ended = command("up", "--home", str(tmp_path / "home"), cwd=tmp_path)
    says = f"0711: Port {taken} is in use: stop what listens there, or set P0711_ORCHESTRATOR_PORT to another.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", says)


def test_the_servers_read_the_settings_that_the_platform_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = RunnerCommand(command=["/bin/say"], environment={"A": "b"}, variables=["KEY"])  # pyright: ignore[reportCallIssue]
    provider = IdentityProvider(audience="a", domains=["x.example"], client_secret=SecretStr("s"))  # pyright: ignore[reportCallIssue]
    given = Settings(
        home=tmp_path, runner_commands={"pypi:say@1": command}, source_roots=[tmp_path], redis_url="redis://x",
        identity_providers={"https://login.example": provider},
    )  # pyright: ignore[reportArgumentType]  # fmt: skip
    for name, value in environment(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given


async def test_a_child_is_not_in_the_terminals_process_group(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(1000)")
    child = Child("marketplace", {**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path / "log", print)
    await child.start()
    assert child.pid is not None
    assert os.getpgid(child.pid) != os.getpgrp()  # else Ctrl-C would reach it before `up` lets it drain
    await child.stop()


@pytest.mark.parametrize(
    "words", [("audit",), ("keys", "rotate"), ("erase", "muster", "--confirm", "muster")], ids=lambda words: words[0]
)
def test_a_command_that_needs_the_database_says_to_start_the_platform(tmp_path: Path, words: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    write(home, {name: DatabaseUrls(*["postgresql://x:x@127.0.0.1:1/x"] * 3) for name in MIGRATIONS})
    (home / "postgres").mkdir()
    (home / "postgres" / "superuser").write_text("of a platform that was stopped")
    run = command(*words, "--home", str(home), cwd=tmp_path)
    assert (run.returncode, run.stderr) == (
        2, f"0711: No platform runs in {home}. Start it with `0711 up --home {home}`, then call again.\n",
    )  # fmt: skip


@pytest.mark.requirement("F-02")
async def test_a_postgres_that_was_killed_is_started_again_and_holds_what_it_held(tmp_path: Path) -> None:
    async with watched(tmp_path) as (url, told):
        await ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
        kill(tmp_path)
        while len(told) < 2:  # noqa: ASYNC110  a watcher tells, no event
            await asyncio.sleep(0.1)
        assert await answered(url, "SELECT n FROM kept") == 7
        log = text_at(told[1].removeprefix("postgres ended; starting it again. Its log until then: "))
        assert "ready to accept connections" in log
        assert "was not properly shut down" not in log  # of the one that was killed, not of the next


@pytest.mark.requirement("F-02")
async def test_a_postgres_that_cannot_start_again_is_tried_until_it_can_and_why_is_told_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as (url, told):
        password = tmp_path / "postgres/superuser"
        password.rename(password.with_name("aside"))
        kill(tmp_path)
        while len(told) < 3:  # noqa: ASYNC110  a watcher tells, no event
            await asyncio.sleep(0.1)
        password.with_name("aside").rename(password)
        assert await answered(url, "SELECT 7") == 7
    assert (told[1].partition(".")[0], len(told)) == ("postgres ended; starting it again", 3)
    assert "password" in told[2]


@contextlib.asynccontextmanager
async def watched(home: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """A home's own Postgres as `0711 up` runs it: its address, and what is told of it."""
    settings, told = Settings(home=home, postgres_port=free_port()), list[str]()
    try:
        async with postgres(settings, told.append) as url, asyncio.timeout(240):
            yield url, told
    finally:
        EmbeddedPostgres(home / "postgres", 0).remove()


def text_at(path: str) -> str:
    return Path(path).read_text()


def kill(home: Path) -> None:
    """End the Postgres of a home the hard way."""
    pid = (home / "postgres/cluster/postmaster.pid").resolve().read_text().split()[0]
    os.kill(int(pid), signal.SIGKILL)


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def answered(url: str, question: str) -> object:
    """The answer as soon as there is one."""
    while True:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await ask(url, question)
        await asyncio.sleep(0.1)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "servers", *words], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


async def test_the_status_names_what_does_not_answer_and_what_its_log_said_last(tmp_path: Path) -> None:
    ports = {f"{name}_port": free_port() for name in ("orchestrator", "marketplace", "cradle")}
    settings = Settings(home=tmp_path, **ports)
    assert await status(settings) == (
        [f"platform       does not run in {tmp_path}. Start it: 0711 up --home {tmp_path}"],
        False,
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cradle.log").write_text("first\nlast words\n")
    with HomeLock(tmp_path):
        lines, well = await status(settings)
    assert not well
    assert lines[0].startswith(f"platform       process {os.getpid()}, {tmp_path}, ")
    assert f"cradle         http://127.0.0.1:{ports['cradle_port']} DOES NOT ANSWER" in lines
    assert f"{'':<14} {tmp_path}/logs/cradle.log ends: last words" in lines
    assert "settings that `0711 up` was called with" in lines[-1]


def test_the_status_names_the_dependency_that_is_not_healthy() -> None:
    health = {"status": "unhealthy", "service": "x", "dependencies": {"postgres": "unreachable", "jobs": "healthy"}}
    assert unwell(health) == "postgres unreachable"
    cradle = {"status": "starting", "embedding": {"status": "loading"}, "vision": {"status": "healthy"}}
    assert unwell(cradle) == "embedding loading"
    cradle["embedding"] = {"status": "failed", "reason": "No such model."}
    assert unwell(cradle) == "embedding failed: No such model."


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("keys", "list", "--home", "elsewhere"), "There are no keys in"),
        (("backup", "target", "--home", "elsewhere"), "There is no platform in"),
        (("up", "--home", "/proc/none"), "The home folder /proc/none cannot be used (No such file or directory). Give"),
        (
            ("backup", "/proc/none", "--home", "home"),
            "The folder /proc/none cannot be written (No such file or directory)",
        ),
        (("connect", "--write"), "not a JSON object"),
        (("demo", "nirgends.pdf", "--company", "Muster GmbH"), "There is no file or folder"),
        (("demo", "."), "Say whose files these are"),
        (("serve", "instance", "--files", "home"), "The instance's configuration is missing or damaged"),
    ],
)
def test_a_command_that_cannot_run_says_so_in_one_sentence(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    (tmp_path / ".mcp.json").write_text("[]")
    (tmp_path / "home" / "keys").mkdir(parents=True)
    ended = command(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not ended.stdout  # least of all an access key
    assert not (tmp_path / "elsewhere").exists()  # a mistyped home is not made


@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, ""), (signal.SIGHUP, "restore")])
def test_a_platform_that_is_told_to_stop_while_it_starts_ends_what_has_started(
    tmp_path: Path, request: pytest.FixtureRequest, number: signal.Signals, after: str
) -> None:
    database = EmbeddedPostgres(tmp_path / "home" / "postgres", 0)
    request.addfinalizer(database.remove)  # as root its files lie elsewhere
    objects = tmp_path / "home" / "objects"
    (objects / ".restoring" / "old" / "customer-acme").mkdir(parents=True)  # its return was killed
    ports = [
        f"P0711_{name}_PORT" for name in ("ORCHESTRATOR", "MARKETPLACE", "CRADLE", "EMBEDDING", "VISION", "POSTGRES")
    ]
    environment = {**os.environ, **{port: str(free_port()) for port in ports}}
    words = [sys.executable, "-m", "servers", "up", "--home", str(tmp_path / "home")]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  # the tests may run below `nohup`
    ) as up:  # fmt: skip
        assert up.stdout is not None
        if after:
            while after not in (line := up.stdout.readline()):
                assert line
        else:
            while not (tmp_path / "home" / "postgres" / "lock").exists() and up.poll() is None:
                time.sleep(0.05)  # no event tells that its thread makes the database's files
        up.send_signal(number)
        said, _ = up.communicate(timeout=240)
        assert up.returncode == 0, said
    assert said.endswith("stopping …\nstopped\n")
    assert "ready in" not in said
    assert not database.held
    assert (objects / "customer-acme").is_dir() == bool(after)
    with HomeLock(tmp_path / "home"):
        pass


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 160 MiB, which the account of the embedded Postgres enters too."""
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("only root can mount a file system of limited size")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


async def test_a_disk_that_is_full_at_the_first_start_is_named_and_not_a_database_that_does_not_answer(
    small_disk: Path,
) -> None:
    settings = Settings(home=small_disk / "home", postgres_port=free_port(), _env_file=None)  # pyright: ignore[reportCallIssue]
    settings.home.mkdir(mode=0o711)

    async def start() -> None:
        async with postgres(settings, lambda _: None) as superuser_url:
            room = shutil.disk_usage(small_disk).free
            (small_disk / "filler").write_bytes(bytes(room - 12 * 2**20))  # less than the log grows by
            await prepare(settings, superuser_url, lambda _: None)

    with pytest.raises(StorageFull, match=rf"The disk of {settings.home / 'postgres'} is full"):
        await start()
