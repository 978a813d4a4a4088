"""No memory dumps: a server holds customers' content in memory, and its crash must not put that on disk."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_dumps() -> None:
    """From here on this process leaves no core, nor can others of its account read its memory.

    The limit alone is not enough: the kernel ignores it where cores are piped to a collector (core(5)). A program that
    it starts may be dumped to one again, but with none of its memory: it inherits the limit and the filter.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no /proc; and from the next line on nobody but root may write it
            Path("/proc/self/coredump_filter").write_text("0")
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
