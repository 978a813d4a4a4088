"""Logs that never fill the disk: each has one that was before, and both are bounded."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

MOST = 16 * 2**20


def bound(log: Path) -> None:
    """Let a log over `MOST` bytes begin anew, what it held is in `<name>.1` then; blocking.

    Its writer has it open for appending, and goes on. A line that it writes between the copy and the cut is lost; so is
    the copy where the disk has no room, which the cut gives back.
    """
    with suppress(OSError):
        if log.stat().st_size <= MOST:
            return
        try:
            before = os.open(log.with_name(f"{log.name}.1"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(before, "wb") as out, log.open("rb") as full:
                shutil.copyfileobj(full, out, 1 << 20)
        finally:
            os.truncate(log, 0)
