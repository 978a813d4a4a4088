"""A child process that reads what is sent to it: it inherits no secret, and is killed with all that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Self

SLICE = 2**20
KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
ONE_THREAD = {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
DYING_S = 1.0


class ReaderProcess:
    """A process and the pipes to and from it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes, below
        self._process, self._in, self._out = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Self:
        """Runs a module of the platform."""
        environment = {name: value for name in KEPT_ENVIRONMENT if (value := os.environ.get(name))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-B", "-m", module, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment | ONE_THREAD,
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def died(self) -> int | None:
        """How it ended by itself, which it may still be about to, None where it has not; it is gone then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DYING_S):
                await self._process.wait()
        code = self._process.returncode
        self.kill()
        await self.gone()
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._in.close()

    async def gone(self) -> None:
        """Waits until the killed process has ended.

        asyncio counts a process as ended once its pipes are, and one whose reader had enough is read no further: what
        is left in it is dropped here.
        """
        with contextlib.suppress(RuntimeError, OSError):  # somebody else reads it to its end
            while await self._out.read(SLICE):
                pass
        await self._process.wait()
