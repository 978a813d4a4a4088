"""No memory dumps: a server holds customers' content in memory, and its crash must not put that on disk."""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_dumps() -> None:
    """From here on this process and the children that it forks leave no core, nor can others of its account read them.

    The limit alone is not enough: the kernel ignores it where cores are piped to a collector (core(5)).
    """
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
