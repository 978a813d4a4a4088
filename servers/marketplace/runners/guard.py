"""Runs one command, keeps it within its limits, and ends all of it: `python -I -S guard.py SPEC`.

Only the standard library, for it starts with every server. Standard input and output are the server's own; this process
reads neither. `SPEC` is JSON: `command`, `cleanup` (run at the end; none: []), `folder` (removed at the end), `control`
(a pipe's descriptor: when it ends, the marketplace is gone or wants the end), `pass_fds`, `uid` (0: the caller's own),
`memory` (bytes), `processes`, `cpu_s`, `file` (bytes), `files`.

Whatever the command starts is a descendant of this process, however often it forks or leaves the group: orphans come
back here (PR_SET_CHILD_SUBREAPER), so that no descendant is left at the end. Exits with one of the codes below.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENDED, MEMORY, PROCESSES, CANNOT_START = 0, 81, 82, 83
"""The server ended or was ended; it took too much memory, or too many processes; its command cannot be run."""
LOOK_S = 0.2
CLEANUP_S = 15
PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38  # linux/prctl.h


def main() -> int:
    """Run the command until it ends, has to end, or nobody wants it any more."""
    spec = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = os.fork()
    if server == 0:
        _become(spec)
    os.close(0)
    os.close(1)
    code = ENDED
    try:
        code = _watch(server, spec)
    finally:
        _end_all(server)
        clean_up(spec["cleanup"], spec["folder"])
    return code


def _become(spec: dict[str, Any]) -> None:
    """Turn this forked process into the server."""
    try:
        os.close(spec["control"])
        os.chdir(spec["folder"])
        _limit(spec)
        if spec["uid"]:
            os.setgroups([])
            os.setgid(spec["uid"])
            os.setuid(spec["uid"])
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the user: a change of it clears this
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in spec["pass_fds"]:
            os.set_inheritable(descriptor, True)
        os.execve(spec["command"][0], spec["command"], os.environ)  # noqa: S606 - no shell is the point
    finally:
        os._exit(CANNOT_START)


def _limit(spec: dict[str, Any]) -> None:
    """Limits of each process. Data, not address space: runtimes such as Node's reserve far more than they use."""
    bounds = {
        resource.RLIMIT_DATA: spec["memory"],
        resource.RLIMIT_FSIZE: spec["file"],
        resource.RLIMIT_NOFILE: spec["files"],
        resource.RLIMIT_CPU: spec["cpu_s"],
        resource.RLIMIT_CORE: 0,
    }
    if spec["uid"]:  # counted for the user, and this one has no other processes
        bounds[resource.RLIMIT_NPROC] = spec["processes"]
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))
    os.nice(5)


def _watch(server: int, spec: dict[str, Any]) -> int:
    """Wait for the end: the server's own, that of the marketplace's pipe, or that of its limits."""
    while True:
        wanted = not select.select([spec["control"]], [], [], LOOK_S)[0]
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ENDED
            if pid == server:
                return CANNOT_START if os.waitstatus_to_exitcode(status) == CANNOT_START else ENDED
            if pid == 0:
                break
        if not wanted:
            return ENDED
        mine = _descendants(os.getpid())
        if len(mine) > spec["processes"]:
            return PROCESSES
        if sum(map(_memory, mine)) > spec["memory"]:
            return MEMORY


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for each in found:  # grows while it is read
        found += _children(each)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _memory(pid: int) -> int:
    """Bytes of a process in memory, without those of files."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * PAGE


def _end_all(server: int) -> None:
    """Kill every descendant, until there is none: one that forks meanwhile is found in the next round."""
    while mine := _descendants(os.getpid()) or _waiting(server):
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _waiting(server: int) -> list[int]:
    """The server itself, where the kernel does not list children."""
    try:
        return [server] if os.waitpid(server, os.WNOHANG)[0] == 0 else []
    except ChildProcessError:
        return []


def clean_up(command: Sequence[str], folder: str) -> None:
    """What is left to do when nothing runs any more: a last command, and the working folder goes."""
    if command:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=CLEANUP_S, check=False,
            )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
