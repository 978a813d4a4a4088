"""The server's side of one model on one device: starts the child process, sends it batches, notices when it is lost."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from servers.cradle.embedding.device import DONE, HEAD, MEMORY, NO_MEMORY, READY, Spec, batch_frame
from servers.cradle.embedding.export import OFFLINE
from shared.errors import Unavailable
from shared.settings import PREFIX
from shared.telemetry import event

if TYPE_CHECKING:
    from shared.encoder import Vectors

LOAD_DEADLINE_S = 1800.0
STUCK_S = 120.0
"""A batch that takes longer will not end: the process is replaced."""
QUIET = {"OMP_WAIT_POLICY": "PASSIVE"}
"""By default OpenMP's threads spin while they wait: three to four times the processor time on a busy machine."""
CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""What Linux calls a processor's instructions for products of bfloat16. Others emulate them, slower than float32."""
SHORT_OF_MEMORY = {"lost", "MemoryError", "OutOfMemoryError"}
"""What a process that could not load the model says, or what is said of it, where memory is short."""
CRASHES = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Signals that a process brings upon itself. SIGKILL comes from outside: from Linux when memory is short, for one."""
DEVICE = "servers.cradle.embedding.device"
TOLD = ("name", "mixed", "in_flight", "alone", "lacks")
"""What a process says of its backend."""


class BatchFailed(Exception):
    """The device lives and could not compute the batch.

    Args:
        memory: because its memory did not suffice.
    """

    def __init__(self, memory: bool) -> None:
        super().__init__()
        self.memory = memory


class WorkerLost(Exception):
    """The process is gone, and what it was computing with it.

    Args:
        crashed: it ended by itself; False: from outside, for want of memory or time, or it is not known.
    """

    def __init__(self, crashed: bool = False) -> None:
        super().__init__()
        self.crashed = crashed


class Worker:
    """One child process.

    Args:
        spec: what it loads.
        module: its program.
    """

    def __init__(self, spec: Spec, module: str = DEVICE) -> None:
        self.lost = asyncio.Event()
        self.name, self.mixed, self.in_flight, self.alone, self.lacks = spec.backend, False, 1, True, ""
        self.batches = self.tokens = self.memory = 0
        self.ended = 0.0  # when its last batch did
        self._crashed = False
        self._spec, self._module = spec, module
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Vectors]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What the process says of itself once the model is loaded."""
        return {name: getattr(self, name) for name in TOLD}

    @told.setter
    def told(self, told: dict[str, Any]) -> None:
        for name in TOLD:
            setattr(
                self, name, told.get(name, getattr(self, name))
            )  # a machine of the cluster may have another version
        if self.lacks:
            event("embedding_slower_than_it_can_be", level=logging.WARNING, backend=self.name, code=self.lacks)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def free(self) -> bool:
        """Whether another batch may be sent."""
        return not self.lost.is_set() and self.batches < self.in_flight

    async def start(self) -> None:
        """Starts the process and waits until the model is loaded.

        Raises:
            Unavailable: it could not be loaded, or this processor does not compute its dtype.
        """
        if self._spec.device == "cpu" and self._spec.dtype == "bfloat16":
            require_bfloat16()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # libraries repeat what they were given
                env=environment | OFFLINE | QUIET,
                cwd=Path(__file__).parents[3],
            )
            async with asyncio.timeout(LOAD_DEADLINE_S):
                self._write(self._spec.frame())
                _, status, body = await self._reply()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            status, body = -1, b"lost"
        if status != READY:
            await self.close()
            event("embedding_worker_not_loaded", level=logging.ERROR, backend=self.name, code=body.decode())
            raise self._not_loaded(body.decode())
        self.told = orjson.loads(body)
        self._reader = asyncio.create_task(self._read())

    def _not_loaded(self, why: str) -> Unavailable:
        """The error of a process that did not load the model; `why` is its exception's name, or `lost`: it ended."""
        told = f"The embedding model could not be loaded by {self.name} on {self._spec.device} ({why}): "
        if why in SHORT_OF_MEMORY:
            return Unavailable(told + "free memory for it, or have fewer P0711_EMBEDDING_WORKERS.")
        if self._spec.device != "cpu":
            return Unavailable(told + "see whether `nvidia-smi` lists that device.")
        return Unavailable(told + "see what OPERATIONS.md says of it.")

    async def run(self, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> Vectors:
        """The vectors [n, dimension] of texts, given as what the model reads.

        Args:
            units: for each whether it is brought to length 1.

        Raises:
            BatchFailed: the device could not compute it.
            WorkerLost: the process is gone.
        """
        if self.lost.is_set():
            raise WorkerLost
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._write(batch_frame(number, texts, units))
            async with asyncio.timeout(STUCK_S):
                flat = await answer
        except (OSError, TimeoutError, RuntimeError):  # uvloop: RuntimeError for a closed pipe
            self.kill()
            raise WorkerLost from None
        finally:
            self._answers.pop(number, None)
        return flat.reshape(len(texts), -1)

    def kill(self) -> None:
        """Ends the process at once; nothing more is sent to it."""
        self.lost.set()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """Ends the process and waits for its end."""
        self.kill()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._fail_all()
        if self._process is not None:
            await self._process.wait()

    def _write(self, frame: bytes) -> None:
        assert self._process is not None  # noqa: S101  # started
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(frame)

    async def _reply(self) -> tuple[int, int, bytes]:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        number, status, size = HEAD.unpack(await self._process.stdout.readexactly(HEAD.size))
        return number, status, await self._process.stdout.readexactly(size)

    async def _read(self) -> None:
        import numpy as np

        try:
            while True:
                number, status, body = await self._reply()
                answer = self._answers.get(number)
                if answer is None or answer.done():
                    continue
                if status == DONE:
                    (self.memory,) = MEMORY.unpack_from(body)
                    answer.set_result(np.frombuffer(body, "<f4", offset=MEMORY.size))
                else:
                    event("embedding_batch_failed", backend=self.name, code=body.decode())
                    answer.set_exception(BatchFailed(status == NO_MEMORY))
        except (asyncio.IncompleteReadError, OSError):
            ended = await self._ended()
            self._crashed = not self.lost.is_set() and (ended > 0 or -ended in CRASHES)  # `kill` sets it
            event("embedding_worker_lost", level=logging.ERROR, backend=self.name, code=str(ended))
        finally:
            self._fail_all()  # first: what another machine hears first tells more
            self.lost.set()

    async def _ended(self) -> int:
        """The process's exit status, or the number of the signal that ended it below zero; 0: not known in time."""
        assert self._process is not None  # noqa: S101  # started
        with suppress(TimeoutError):
            async with asyncio.timeout(STUCK_S):
                return await self._process.wait()
        return 0

    def _fail_all(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerLost(self._crashed))


def require_bfloat16() -> None:
    """Sees whether this machine's processor computes bfloat16.

    Raises:
        Unavailable: it does not.
    """
    if BFLOAT16.isdisjoint(CPUINFO.read_text().split()):
        raise Unavailable(
            "This machine's processor has no instructions for bfloat16 (AVX-512 BF16 or AMX). "
            "Set P0711_EMBEDDING_CPU_DTYPE=float32."
        )
