"""The embedded Postgres as a process: who may reach it, how it ends, what it leaves, what it says when it fails."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from servers.local import platform
from shared.errors import Conflict, Unavailable
from shared.postgres import launcher
from shared.postgres.account import Account, binaries
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.postmaster import Postmaster
from tests.serving_rig import HANGS_S

ROOT = Path(__file__).parents[2]
FAST = {"fsync": "off"}
NAMELESS = 47_110
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
PARENT = """
import sys, time
from pathlib import Path
from shared.postgres.launcher import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), 0, {"fsync": "off"})
server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder (0700), as a home below /root is; the cluster is removed wherever it went."""
    with tempfile.TemporaryDirectory(prefix="0711-launcher-") as private:
        data = Path(private) / "home" / "postgres"
        yield data
        EmbeddedPostgres(data, 0).remove()


def ask(url: str, question: str = "SELECT 1") -> object:
    async def answer() -> object:
        connection = await asyncpg.connect(url, timeout=HANGS_S)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(answer())


def cluster(folder: Path) -> Path:
    link = folder / "cluster"
    return link.parent / link.readlink() if link.is_symlink() else link


def ended(pid: int) -> None:
    """Waits until a process that is not our child has ended; the fault of this test if it does not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], HANGS_S)[0], "still running"
    finally:
        os.close(handle)


def test_it_starts_in_a_private_folder_stops_and_keeps_its_data(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    ask(server.superuser_url, "CREATE TABLE kept AS SELECT 711 AS number")
    server.stop()
    assert not (cluster(folder) / "postmaster.pid").exists()
    server.start()
    assert ask(server.superuser_url, "SELECT number FROM kept") == 711
    server.stop()


@LINUX
def test_private_parents_are_not_opened_and_the_server_is_not_root(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    try:
        assert stat.S_IMODE(folder.parents[1].stat().st_mode) == 0o700
        postmaster = Postmaster.read(cluster(folder))
        assert postmaster is not None
        assert Path(f"/proc/{postmaster.pid}").stat().st_uid == (Account.current().uid or os.getuid()) != 0
        assert stat.S_IMODE(cluster(folder).stat().st_mode) == 0o700
        for name in ("superuser", "server.log"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    finally:
        server.stop()


def test_only_the_password_opens_it_and_only_on_loopback(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            ask(f"postgresql://postgres@127.0.0.1:{server.port}/postgres?password=")
        assert ask(server.superuser_url, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(server.superuser_url, "SHOW unix_socket_directories") == ""
        assert ask(server.superuser_url, "SHOW password_encryption") == "scram-sha-256"
    finally:
        server.stop()


@pytest.mark.requirement("Z-01")
def test_the_server_log_never_holds_a_value(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()

    async def fail() -> None:
        connection = await asyncpg.connect(server.superuser_url)
        await connection.execute("CREATE TABLE t (a text PRIMARY KEY)")
        await connection.execute("INSERT INTO t VALUES ($1)", "canary-0711")
        for statement in (
            "INSERT INTO t VALUES ($1)",
            "SELECT $1::integer::text",
            "SELECT $1 FROM missing",
            "SELEC $1",
        ):
            with pytest.raises((asyncpg.PostgresError, asyncpg.DataError)):
                await connection.execute(statement, "canary-0711")
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("SELECT 'canary-0711'::integer")
        await connection.close()

    asyncio.run(fail())
    server.stop()
    text = server.log.read_text()
    assert "ready to accept connections" in text  # the search would find what is there
    assert "canary" not in text


@LINUX
@pytest.mark.parametrize("wait", [True, False], ids=["after it ended", "at once"])
def test_it_ends_with_its_parent_even_by_kill_9_and_the_next_start_is_clean(folder: Path, wait: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()
    before = Postmaster.read(cluster(folder))
    assert before is not None
    parent.kill()
    parent.communicate()
    if wait:
        ended(before.pid)
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    after = Postmaster.read(cluster(folder))
    assert after is not None
    assert after.pid != before.pid
    assert not before.alive()
    assert ask(server.superuser_url) == 1
    server.stop()


@LINUX
def test_an_orphan_whose_watcher_died_too_is_stopped_by_the_next_start(folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()
    orphan = Postmaster.read(cluster(folder))
    assert orphan is not None
    shell = int(Path(f"/proc/{orphan.pid}/stat").read_text().rpartition(")")[2].split()[1])
    children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    for pid in [shell, *(int(each) for each in children if int(each) != orphan.pid)]:
        os.kill(pid, signal.SIGKILL)
    parent.kill()
    parent.communicate()
    assert orphan.alive()
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    assert not orphan.alive()
    server.stop()


@LINUX
def test_a_server_killed_by_9_recovers_at_the_next_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0)
    server.start()
    ask(server.superuser_url, "CREATE TABLE kept AS SELECT 711 AS number")
    postmaster = Postmaster.read(cluster(folder))
    assert postmaster is not None
    os.kill(postmaster.pid, signal.SIGKILL)
    ended(postmaster.pid)
    server.stop()
    server.start()
    assert ask(server.superuser_url, "SELECT number FROM kept") == 711
    server.stop()


@pytest.mark.parametrize("pid", ["own", "gone"])
def test_a_stale_pid_file_is_no_obstacle_whatever_process_has_its_number_now(folder: Path, pid: str) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    server.stop()
    number = os.getpid() if pid == "own" else 2**22 - 3
    (cluster(folder) / "postmaster.pid").write_text(f"{number}\n{cluster(folder)}\n1\n5432\n\n\n\nready\n")
    server.start()
    assert ask(server.superuser_url) == 1
    server.stop()


def test_a_busy_port_is_one_clear_sentence_and_the_next_run_works(folder: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"Port {port} is in use .* P0711_POSTGRES_PORT"):
            EmbeddedPostgres(folder, port, FAST).start()
    server = EmbeddedPostgres(folder, port, FAST)
    server.start()
    server.stop()


def test_a_second_server_on_the_folder_is_refused_and_a_lock_left_behind_is_not(folder: Path) -> None:
    first, second = EmbeddedPostgres(folder, 0, FAST), EmbeddedPostgres(folder, 0, FAST)
    first.start()
    with pytest.raises(Conflict, match="Another process runs the embedded Postgres"):
        second.start()
    first.stop()
    assert (folder / "lock").exists()
    second.start()
    second.stop()


def test_a_cluster_half_made_is_not_taken_for_one(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    server.stop()
    made = cluster(folder)
    half = made.parent / "fresh-left"
    made.rename(half)  # as a kill during the first start leaves it
    server.start()
    assert ask(server.superuser_url) == 1
    assert not half.exists()
    server.stop()


def test_a_missing_password_says_what_to_do(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    server.stop()
    for lose in (lambda file: file.write_bytes(b""), Path.unlink):
        lose(folder / "superuser")
        with pytest.raises(Unavailable, match="Restore it from a backup"):
            server.start()


def test_a_server_that_cannot_start_names_its_log(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, {**FAST, "shared_buffers": "nonsense"})
    with pytest.raises(Unavailable) as caught:
        server.start()
    assert str(server.log) in caught.value.message
    right = EmbeddedPostgres(folder, 0, FAST)
    right.start()
    right.stop()


def test_databases_of_another_postgres_are_told_with_what_brings_them_here(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    server.stop()
    version = folder / "cluster" / "PG_VERSION"
    own = version.read_text()
    version.write_text("11\n")
    with pytest.raises(Unavailable, match=r"are of Postgres 11, .* `0711 backup`, .* `0711 restore`"):
        server.start()
    version.write_text(own)
    server.start()
    server.stop()


def test_a_disk_too_slow_for_a_cluster_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "START_DEADLINE_S", 0.001)
    with pytest.raises(Unavailable, match="not ready in time"):
        EmbeddedPostgres(folder, 0, FAST).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot let Postgres use the folder itself")
def test_removing_takes_the_files_away_that_lie_outside_of_the_folder(folder: Path) -> None:
    server = EmbeddedPostgres(folder, 0, FAST)
    server.start()
    elsewhere = cluster(folder).parents[1]
    assert not elsewhere.is_relative_to(folder)
    assert elsewhere.exists()
    server.remove()
    assert not elsewhere.exists()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make /dev/shm small, for one process")
def test_shared_memory_without_room_is_not_taken_for_a_full_disk(folder: Path) -> None:
    small = f'mount -t tmpfs -o size=64k,mode=1777 tmpfs /dev/shm && exec "{sys.executable}" -c "$0" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", small, PARENT, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "/dev/shm is full, or too small" in done.stderr.splitlines()[-1]
    assert not cluster(folder).exists()


@pytest.mark.parametrize("most", [32, 48])
def test_a_process_that_may_open_few_files_is_told_to_raise_the_limit(folder: Path, most: int) -> None:
    few = f"import resource, asyncpg; resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import shared.postgres.launcher\n{few}\n{PARENT}", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "ulimit -n" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a user whom nobody knows")
def test_a_user_without_a_name_is_told_what_initdb_wants() -> None:
    if not Account(NAMELESS, NAMELESS).reaches(binaries(Account(None, None)) / "initdb"):
        pytest.skip("this environment lies where only root may go")
    with tempfile.TemporaryDirectory(prefix="0711-launcher-") as place:
        os.chown(place, NAMELESS, NAMELESS)
        child = f"import os; os.setgroups([]); os.setgid({NAMELESS}); os.setuid({NAMELESS})\n{PARENT}"
        done = subprocess.run(
            [sys.executable, "-c", f"import shared.postgres.launcher, asyncpg\n{child}", f"{place}/postgres"],
            cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert f"User {NAMELESS} has no name on this machine" in done.stderr.splitlines()[-1]


async def test_a_server_that_ended_is_started_again_once_its_folder_can_be_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "POSTGRES_LOOK_S", 0.01)
    (folder / "lock").mkdir(parents=True)  # so that it cannot be opened, as on a disk that has become read-only
    server, said, stop = EmbeddedPostgres(folder, 0, FAST), list[str](), asyncio.Event()

    def notify(line: str) -> None:
        said.append(line)
        if "Is a directory" in line:
            (folder / "lock").rmdir()

    keeps = asyncio.create_task(platform._keep_running(server, notify, stop))
    try:
        async with asyncio.timeout(HANGS_S):
            while server.ended and not keeps.done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not keeps.done()
        assert "cannot be started" in said[1]
    finally:
        stop.set()
        await asyncio.gather(keeps, return_exceptions=True)
        server.stop()
