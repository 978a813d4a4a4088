"""What a cluster's `postmaster.pid` says about its server (lines: pid, folder, start time, port, …, status)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Postmaster:
    """A server that runs, or ran, over a cluster."""

    cluster: Path
    pid: int
    port: int
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> Postmaster | None:
        """The server that the pid file names; None where there is no file or it is not written yet."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            return cls(cluster, int(lines[0]), int(lines[3]), len(lines) > 7 and lines[7].strip() == "ready")
        except (OSError, ValueError, IndexError):
            return None

    def alive(self) -> bool:
        """True when the process exists and is a Postgres server over this very cluster."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return False  # another user's process: not ours
        return self._works_here()

    def signal(self, number: int) -> None:
        """Sends a signal; a process that has just ended is fine."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _works_here(self) -> bool:
        proc = Path(f"/proc/{self.pid}")
        if not Path("/proc/self").exists():  # macOS
            command = ["/bin/ps", "-o", "command=", "-p", str(self.pid)]
            text = subprocess.run(command, capture_output=True, timeout=10, check=False).stdout
            return os.fsencode(self.cluster) in text
        try:
            if b") Z " in (proc / "stat").read_bytes():
                return False
            return (proc / "cwd").samefile(self.cluster)
        except OSError:
            return False
