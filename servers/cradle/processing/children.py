"""A small pool of child processes that read files: limited, killed when late, replaced when they die."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from servers.cradle.processing import wire
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.reader_process import SLICE, ReaderProcess
from servers.cradle.processing.wire import Identified

_MODULE = "servers.cradle.processing.child"
AT_ONCE = 2**18
"""Bytes that a child is sent without anybody waiting until it has taken them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may use. Time grows with the file: `seconds` and `seconds_per_mib` for each mebibyte.

    The slowest to read, a wide sheet, took five seconds a mebibyte on a slow machine.

    `memory` bounds the address space of the child; `seconds` bounds processor time, and the wait for each part.
    """

    memory: int = 4 * 2**30
    seconds: float = 120.0
    seconds_per_mib: float = 10.0

    def time(self, size: int) -> float:
        return self.seconds + self.seconds_per_mib * size / 2**20


class ExtractionPool:
    """At most `size` children, started on first use.

    async with ExtractionPool(2) as pool:
        async with contextlib.aclosing(pool.read(data, name)) as reading:
            identified = await anext(reading)
            async for part in reading: ...
    """

    def __init__(self, size: int, limits: Limits | None = None) -> None:
        self.size = size
        self._limits = limits or Limits()
        self._idle: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._idle.put_nowait(None)
        self._all: set[_Child] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children, self._all = tuple(self._all), set()
        for child in children:
            child.kill()  # none waits for another: a cancelled caller gets no further than this loop
        await asyncio.gather(*(child.gone() for child in children))

    async def read(
        self, data: bytes | AsyncIterable[bytes], name: str, size: int | None = None
    ) -> AsyncGenerator[Identified | Extraction, None]:
        """First what the file is, then its parts. Leaving early, or any failure, costs the child its life.

        Args:
            data: the file, or its blocks one after the other, which are read as the child takes them.
            size: of all blocks together.

        Raises:
            Unreadable: the extractor's own reasons, `time_limit`, `memory_limit` or `reader_crashed`.
        """
        child = await self._idle.get()
        finished = False
        try:
            if child is None or not child.alive:
                self._all = {each for each in self._all if each.alive}
                child = None
                child = await _Child.start(_MODULE, str(self._limits.memory))
                self._all.add(child)
            length = len(data) if isinstance(data, bytes) else size or 0
            async with contextlib.aclosing(self._answers(child, data, name, length)) as answers:
                async for answer in answers:
                    if answer is None:
                        finished = True
                        return
                    if isinstance(answer, wire.Failure):
                        finished = True
                        raise Unreadable(answer.code, answer.reason)
                    yield answer
        finally:
            if child is not None and not finished:
                self._all.discard(child)
                child.kill()
                self._idle.put_nowait(None)
                await asyncio.shield(child.gone())
            else:
                self._idle.put_nowait(child)

    async def _answers(
        self, child: _Child, data: bytes | AsyncIterable[bytes], name: str, size: int
    ) -> AsyncGenerator[Identified | Extraction | wire.Failure | None, None]:
        seconds = self._limits.time(size)
        asking = child.asked(data, name, size, int(seconds))
        try:
            while True:
                async with asyncio.timeout(seconds):  # not `wait_for`: before Python 3.12 it can swallow a cancellation
                    answer = await child.answer()
                    if asking is not None and (answer is None or isinstance(answer, wire.Failure)):
                        await asking
                yield answer
        except TimeoutError:
            raise Unreadable("time_limit", f"Reading the file took longer than {seconds:.0f} s. Split it.") from None
        except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionError, ValueError):
            died = await child.post_mortem()
            told = asking.exception() if asking and asking.done() and not asking.cancelled() else None
            raise told if isinstance(told, Unreadable) else died from None
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)


async def _sliced(data: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(data), SLICE):
        yield view[start : start + SLICE]


class _Child(ReaderProcess):
    def asked(self, data: bytes | AsyncIterable[bytes], name: str, size: int, cpu_s: int) -> asyncio.Task[None] | None:
        """Sends the file. A large one goes beside the answers: a child that streams answers before it has all of it."""
        request = wire.dump_record(wire.Request(name, size, cpu_s))
        request = len(request).to_bytes(8, "little") + request
        if isinstance(data, bytes) and size <= AT_ONCE:
            self._in.write(request + data)
            return None
        return asyncio.create_task(self._send(request, data))

    async def _send(self, request: bytes, data: bytes | AsyncIterable[bytes]) -> None:
        self._in.write(request)
        try:
            async for block in _sliced(data) if isinstance(data, bytes) else data:
                self._in.write(block)
                await self._in.drain()
            await self._in.drain()
        except BaseException:
            self._in.close()  # the child would wait for the rest
            raise

    async def answer(self) -> Identified | Extraction | wire.Failure | None:
        kind, length = wire.header(await self._out.readexactly(wire.HEADER))
        payload = await self._out.readexactly(length)
        if kind == wire.DONE:
            return None
        if kind == wire.ERROR:
            return wire.load_failure(payload)
        return wire.load_identified(payload) if kind == wire.IDENTIFIED else wire.load_part(payload)

    async def post_mortem(self) -> Unreadable:
        """Kills what is left of the child, and says why it died."""
        code = await self.died()
        if code == -signal.SIGXCPU:
            return Unreadable(
                "time_limit", "Reading the file took more processor time than one file is given. Split it."
            )
        if code in (-signal.SIGKILL, -signal.SIGABRT):
            return Unreadable("memory_limit", "Reading the file needs more memory than one file is given. Split it.")
        return Unreadable("reader_crashed", "The file is damaged in a way that stops its reader. Save it anew.")
