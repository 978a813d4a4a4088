"""One guarded process: started in a folder of its own, ended with everything that it has started.

The guard (`guard.py`) does the ending, so that it happens too when this process is killed: the pipe that it watches
breaks. Where the guard itself is killed, its group is killed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from servers.marketplace.runners import guard
from servers.marketplace.runners.command import CPU_S, ENV_FILE, FILE, FILES, PROCESSES, Command
from shared.errors import Unavailable

GUARD = Path(guard.__file__)
END_S = 20.0
LONGEST_LINE = 8 * 2**20
"""Bytes of one message of a server."""

_WHY = {
    guard.MEMORY: "The server took more memory than P0711_RUNNER_MEMORY_MB and was ended.",
    guard.PROCESSES: "The server started too many processes and was ended.",
    guard.CANNOT_START: "The server's command cannot be run: its operator has to look into it.",
}


class GuardedProcess:
    """A running command. Its standard error goes nowhere: it may hold content."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: int, folder: Path, cleanup: tuple[str, ...]
    ) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes, below
        self.stdin, self.stdout = process.stdin, process.stdout
        self._process = process
        self._control: int | None = control
        self._folder = folder
        self._cleanup = cleanup

    @classmethod
    async def start(cls, command: Command, uid: int) -> GuardedProcess:
        """Start a command.

        Args:
            uid: the user that it runs as; 0: this process's own.

        Raises:
            Unavailable: this machine starts no more processes.
        """
        uid = uid if command.own_user and os.geteuid() == 0 else 0
        folder = Path(tempfile.mkdtemp(prefix="0711-runner-"))
        reading, control = os.pipe()
        given = _memory_file(command.container_environment) if command.container_environment else None
        passed = [] if given is None else [given]
        spec = {
            "command": [each.replace(ENV_FILE, f"/dev/fd/{given}") for each in command.argv],
            "cleanup": command.cleanup,
            "folder": str(folder),
            "control": reading,
            "pass_fds": passed,
            "uid": uid,
            "memory": command.memory,
            "processes": PROCESSES,
            "cpu_s": CPU_S,
            "file": FILE,
            "files": FILES,
        }
        environment = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", **command.environment}
        try:
            if uid:
                os.chown(folder, uid, uid)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(GUARD), orjson.dumps(spec).decode(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env=environment, cwd="/", pass_fds=(reading, *passed), start_new_session=True, limit=LONGEST_LINE,
            )  # fmt: skip
        except BaseException as error:  # a start that is given up too
            os.close(control)
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise Unavailable("The server cannot be started on this machine now: try again later.") from None
            raise
        finally:
            for descriptor in (reading, *passed):
                os.close(descriptor)
        return cls(process, control, folder, command.cleanup)

    def end(self) -> None:
        """Let the guard end everything. Returns at once; `gone` waits for it."""
        control, self._control = self._control, None
        if control is not None:
            os.close(control)

    async def gone(self) -> str:
        """Wait until nothing of it runs any more; why it ended, in words."""
        try:
            async with asyncio.timeout(END_S):
                code = await self._process.wait()
        except TimeoutError:
            code = -signal.SIGKILL
        self.end()
        if code < 0:  # the guard is gone before its work was done
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            await asyncio.to_thread(guard.clean_up, self._cleanup, str(self._folder))
        return _WHY.get(code, "The server ended while it was asked: try again later.")


def _memory_file(environment: Mapping[str, str]) -> int:
    """A descriptor from which the engine's command line reads a container's environment: no file, no argument."""
    descriptor = os.memfd_create("environment")
    os.write(descriptor, "".join(f"{name}={value}\n" for name, value in environment.items()).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
