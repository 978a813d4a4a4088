"""New versions of the dataset, made in a child process and named by their digest only when they are whole."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.dataset.manifest import visible
from shared.dataset.places import Place
from shared.durable import sync_folder
from shared.errors import Conflict, StorageFull, Unavailable
from shared.room import says_full
from shared.telemetry import event

LONGEST_S = 3600.0
_TRACEBACK = re.compile(rb"^Traceback \(most recent call last\):\n(?: .*\n)+([A-Za-z_][\w.]*)", re.MULTILINE)


async def made_by(module: str, *paths: Path, given: bytes = b"") -> tuple[int, bytes]:
    """Run a module in a process of its own, so that serving goes on and the memory goes away with it.

    Args:
        given: what it reads from stdin.

    Returns:
        Its exit code, below 0 the signal that ended it, and what it wrote to stdout. Of a failure the code and the name
        of the exception are logged, and nothing else that it said.

    Raises:
        StorageFull: the volume is full.
        Unavailable: it did not finish in an hour.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, paths)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.nice(10),
    )  # fmt: skip
    try:
        async with asyncio.timeout(LONGEST_S):
            wrote, said = await child.communicate(given)
    except TimeoutError:
        raise Unavailable("The new version was not made within an hour. Deploy a new image instead.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode and says_full(said.decode(errors="replace")):
        raise StorageFull("The instance's volume is full. Free some space and send it again.")
    if child.returncode:
        event("version_not_made", level=logging.WARNING, code=f"{child.returncode} {_exception(said)}".strip())
    return child.returncode or 0, wrote


def _exception(said: bytes) -> str:
    """The name of the first exception in what a process said, without its message, of whose lines each may be content:
    the name alone follows a traceback's indented lines."""
    named = _TRACEBACK.search(said)
    return named[1].decode() if named else ""


@asynccontextmanager
async def work_folder(state: Path) -> AsyncIterator[Path]:
    """A new folder beside the versions, away again afterwards; `Versions.sweep` removes a killed process's.

    Raises:
        StorageFull: the volume is full.
    """
    work = state / "versions" / f".merging-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        await asyncio.to_thread(work.mkdir, 0o700, True)
        yield work
    except OSError as error:
        raise failure_of(error) from None
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


def publish(made: Path, wanted: str, final: Path) -> None:
    """Give a version its name, durably; blocking.

    Raises:
        Conflict: it is not the dataset of this digest.
    """
    manifest = visible(Place(str(made)))
    if manifest is None or manifest.dataset_digest != wanted:
        raise Conflict("The dataset that was made is not the one that was signed. Nothing was changed.")
    os.sync()
    made.rename(final)
    sync_folder(final.parent)


def failure_of(error: OSError) -> Exception:
    """What a failure of the volume means for the caller."""
    if says_full(error):
        return StorageFull("The instance's volume is full. Free some space and send it again.")
    return error
