"""The embedded Postgres: a child process that ends with its parent, on loopback, with a password, as an ordinary user.

    folder/lock              held while a platform uses the folder; released by the system however the holder dies
    folder/superuser         the superuser's password, 0600
    folder/server.log        the server's log; it holds no statement, no parameter and no detail of an error
    folder/server.log.ended  the log of the server before, where one ended by itself
    folder/cluster           the database files (see `account` for where they lie)

The server is started by a shell that reads a pipe of the parent. When the parent dies, even by kill -9, the pipe closes
and the shell asks the server to stop. This works on Linux and macOS and does not depend on the thread that called
`start`, as Linux's parent-death signal does. Should the shell die too, the next `start` finds the orphan and stops it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.errors import Conflict, StorageFull, Unavailable
from shared.postgres.account import REACHABLE, Account, binaries, cluster_folder
from shared.postgres.postmaster import Postmaster
from shared.room import says_full
from shared.secret_files import replace_secret

HOST = "127.0.0.1"
SUPERUSER = "postgres"
START_DEADLINE_S = 300.0
"""For the files of a new cluster, and again until the server answers: it may recover from its log, on a slow disk."""
STOP_DEADLINE_S = 20.0
SHARED_MEMORY_BUSY = "shared memory block"
SHARED_MEMORY_FULL = "shared memory segment"
NO_DESCRIPTORS = ("insufficient file descriptors", "Too many open files")
NO_NAME = "could not look up effective user ID"

# File descriptor 0 is the parent's pipe. Its end means that the parent wants the server to stop, or is gone.
WATCH = """
ulimit -c 0
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
( read -r line <&3 || kill -INT $server ) &
watcher=$!
exec 3<&-
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code
"""

# Errors (level ERROR) name values, so they go to the client alone. FATAL, PANIC and the server's own lines are logged.
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class EmbeddedPostgres:
    """One Postgres server over a folder.

    Args:
        data: folder of the server's files; made with its parents.
        port: TCP port on 127.0.0.1; 0 picks a free one.
        options: further server settings, such as `{"max_connections": "200"}`.
    """

    def __init__(self, data: Path, port: int, options: Mapping[str, str] | None = None) -> None:
        self.folder = data.absolute()
        self.port = port
        self._options = {**OPTIONS, **(options or {})}
        self._process: subprocess.Popen[Any] | None = None
        self._lock: int | None = None
        self._made = time.time()

    @property
    def superuser_url(self) -> str:
        """URL of the maintenance database as superuser. Only for this machine's own processes."""
        return f"postgresql://{SUPERUSER}:{quote(self._password())}@{HOST}:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    @property
    def ended_log(self) -> Path:
        """The log of the server before this one, where that ended by itself and was started again."""
        return self.folder / "server.log.ended"

    def start(self) -> None:
        """Makes the cluster where there is none, starts the server and waits until it answers. Blocks.

        Raises:
            Conflict: another process uses this folder.
            Unavailable: the port is taken, or the server does not come up; the message names the log.
            StorageFull: the disk has no room.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            account = Account.current()
            if account.uid is not None:
                self.folder.chmod(0o711)  # the account passes through; what is inside has its own mode
            bin_folder, cluster = binaries(account), cluster_folder(self.folder, account)
            _end_orphan(cluster, time.monotonic() + START_DEADLINE_S)
            self._choose_port()
            if not (cluster / "PG_VERSION").exists():
                self._make(account, bin_folder, cluster)
            self._password()
            self._launch(account, bin_folder, cluster, time.monotonic() + START_DEADLINE_S)
        except OSError as error:
            self._release()
            if says_full(error):
                raise StorageFull(f"No room for the embedded Postgres in {self.folder}. Free some space.") from None
            raise Unavailable(f"The embedded Postgres cannot use {self.folder}: {error.strerror}.") from None
        except subprocess.TimeoutExpired:
            self._release()
            raise self._failure("The embedded Postgres was not ready in time. Start it again.") from None
        except BaseException:
            self._release()
            raise

    def stop(self) -> None:
        """Stops the server in order: open transactions are rolled back. Does nothing where none runs. Blocks."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()  # the shell sends the server SIGINT: fast shutdown
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                _kill(cluster_folder(self.folder, Account.current()))
                process.wait(STOP_DEADLINE_S)
        self._release()

    @property
    def held(self) -> bool:
        """Whether any process runs the server of this folder."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    @property
    def ended(self) -> bool:
        """Whether no server runs: none was started, or it ended by itself, killed or without room on its disk."""
        return self._process is None or self._process.poll() is not None

    @property
    def full(self) -> StorageFull | None:
        """What to say where a server of this object ended by itself because its disk had no room; None where none did.
        Whoever talks to it only sees that it is gone, before it has ended altogether."""
        since = [log for log in (self.log, self.ended_log) if log.is_file() and log.stat().st_mtime >= self._made]
        said = (line for log in since for line in _tail(log).splitlines())
        full = any("PANIC:" in line and says_full(line) for line in said)
        return self._disk_full("The embedded Postgres has ended.") if full else None

    def restart(self) -> None:
        """Starts the server again after it ended by itself; it recovers from its own log. Blocks. Raises as `start`."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with suppress(OSError):
                self.log.replace(self.ended_log)  # the next one begins a log of its own
        self._release()
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes its folder, wherever the cluster's files lie.

        Raises:
            Conflict: another process uses this folder.
        """
        self.stop()
        if not self.folder.is_dir():
            return
        self._take_lock()
        try:
            with suppress(Conflict, Unavailable):  # another folder's, or on another machine: not ours to delete
                cluster = cluster_folder(self.folder, Account.current())
                _end_orphan(cluster, time.monotonic() + STOP_DEADLINE_S)
                if cluster.parents[2] == REACHABLE:
                    shutil.rmtree(cluster.parents[1], ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            self._release()

    def _password(self) -> str:
        with suppress(FileNotFoundError):
            if password := (self.folder / "superuser").read_text(errors="replace"):
                return password
        raise Unavailable(
            f"The superuser's password {self.folder / 'superuser'} is missing or empty. Restore it from a backup, "
            f"or remove {self.folder} to start with an empty database."
        )

    def _take_lock(self) -> None:
        if self._process is not None:
            raise Conflict("This embedded Postgres has been started already.")
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Conflict(
                f"Another process runs the embedded Postgres of {self.folder}. Stop it, or choose another: --home."
            ) from None
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _choose_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError:
                raise Unavailable(
                    f"Port {self.port} is in use by another program. Stop it, or set P0711_POSTGRES_PORT to another."
                ) from None
            self.port = probe.getsockname()[1]

    def _make(self, account: Account, bin_folder: Path, cluster: Path) -> None:
        """initdb beside the cluster and a rename: a cluster is whole or absent."""
        for left in cluster.parent.glob("fresh-*"):
            shutil.rmtree(left, ignore_errors=True)
        fresh = cluster.parent / f"fresh-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        account.own(fresh)
        password = secrets.token_urlsafe(24)
        for path in (self.folder / "superuser", fresh / "password"):
            replace_secret(path, password.encode())
        account.own(fresh / "password")
        command = [str(bin_folder / "initdb"), "-D", str(fresh / "cluster"), "-U", SUPERUSER, "-A", "scram-sha-256"]
        command += ["--pwfile", str(fresh / "password"), "-E", "UTF8", "--no-instructions"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if self._options.get("fsync") == "off":  # what need not outlive a power cut later need not now
            command.append("--no-sync")
        with self.log.open("wb") as log:
            self.log.chmod(0o600)
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_environment(fresh),
                timeout=START_DEADLINE_S, check=False, **account.process_options,
            )  # fmt: skip
        (fresh / "password").unlink()
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self._failure("The embedded Postgres could not make its database files.")
        (fresh / "cluster").rename(cluster)
        fresh.rmdir()

    def _launch(self, account: Account, bin_folder: Path, cluster: Path, deadline: float) -> None:
        while True:
            self._spawn(account, bin_folder, cluster)
            if self._wait_ready(cluster, deadline):
                return
            # Backends of a server that was killed may hold its memory for a moment longer.
            if SHARED_MEMORY_BUSY not in self._log_tail() or time.monotonic() > deadline:
                raise self._failure("The embedded Postgres did not start.")
            time.sleep(0.2)

    def _spawn(self, account: Account, bin_folder: Path, cluster: Path) -> None:
        command = ["/bin/sh", "-c", WATCH, "sh", str(bin_folder / "postgres"), "-D", str(cluster), "-p", str(self.port)]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        self.log.unlink(missing_ok=True)
        with self.log.open("ab") as log:  # appending: whoever keeps it bounded cuts it
            self.log.chmod(0o600)
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/", env=_environment(cluster),
                start_new_session=True, **account.process_options,
            )  # fmt: skip

    def _wait_ready(self, cluster: Path, deadline: float) -> bool:
        process = self._process
        assert process is not None  # noqa: S101  set by _spawn
        while process.poll() is None and time.monotonic() < deadline:
            server = Postmaster.read(cluster)
            if server is not None and server.ready and server.port == self.port:
                return True
            time.sleep(0.01)
        if process.stdin is not None:
            process.stdin.close()
        process.wait(STOP_DEADLINE_S)
        self._process = None
        return False

    def _log_tail(self) -> str:
        return _tail(self.log)

    def _disk_full(self, sentence: str) -> StorageFull:
        return StorageFull(f"{sentence} The disk of {self.folder} is full. Free some space.")

    def _failure(self, sentence: str) -> Unavailable | StorageFull:
        if says_full(self._log_tail()):
            if SHARED_MEMORY_FULL in self._log_tail():
                return StorageFull(f"{sentence} /dev/shm is full, or too small: 64 MB do (Docker: --shm-size).")
            return self._disk_full(sentence)
        if "incompatible with server" in self._log_tail():  # its log keeps which versions to itself
            made_by = (self.folder / "cluster" / "PG_VERSION").read_text().strip()
            return Unavailable(
                f"The databases in {self.folder} are of Postgres {made_by}, and this release brings another. Go back "
                "to the release before, save them with `0711 backup`, and bring them here with `0711 restore`."
            )
        if any(each in self._log_tail() for each in NO_DESCRIPTORS):
            return Unavailable(f"{sentence} It may open too few files: raise the limit (ulimit -n 1024).")
        if NO_NAME in self._log_tail():
            return Unavailable(
                f"{sentence} User {os.geteuid()} has no name on this machine, and initdb asks for one: add the user to "
                "/etc/passwd, or set P0711_POSTGRES_URL."
            )
        return Unavailable(f"{sentence} Its log says why: {self.log}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace")


def _end_orphan(cluster: Path, deadline: float) -> None:
    """Stops a server that outlived its parent, waits for one that is stopping, and removes a stale pid file.

    A pid file may name a process that has nothing to do with Postgres (after a reboot, or in a new container), which
    Postgres itself would take for a running server.
    """
    server = Postmaster.read(cluster)
    if server is None:
        return
    asked = False
    while server.alive():
        if not asked:
            server.signal(signal.SIGINT)
            asked = True
        if time.monotonic() > deadline:
            raise Unavailable(f"An old Postgres server (process {server.pid}) does not stop. End it and try again.")
        time.sleep(0.02)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _kill(cluster: Path) -> None:
    server = Postmaster.read(cluster)
    if server is not None and server.alive():
        server.signal(signal.SIGQUIT)  # immediate shutdown; the next start recovers from the log


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(home)}
