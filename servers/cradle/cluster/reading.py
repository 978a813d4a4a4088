"""Files read on this machine and on the others of a cluster, as one pool.

A machine of the cluster reads in the same limited child processes. What it has read comes back as the same frames, and
is loaded with the same care. A file whose machine is lost is read again by another one, and what was given already is
skipped: reading is deterministic. Large files, which come in blocks, are read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import Self

from servers.cradle.cluster.ray import Actor, Cluster, NodeLost
from servers.cradle.processing import wire
from servers.cradle.processing.children import ExtractionPool
from servers.cradle.processing.extract import Unreadable, versions
from servers.cradle.processing.extraction import Extraction
from servers.cradle.processing.wire import Identified
from shared.errors import Unavailable
from shared.telemetry import event

ATTEMPTS = 3
RETURN_S = 30.0
"""Between attempts to get a lost reader back."""


class Reader:
    """The actor: one child process on a machine of the cluster."""

    def __init__(self) -> None:
        self._pool = ExtractionPool(1)

    async def versions(self) -> dict[str, str]:
        """Of every extractor that this machine has."""
        return versions()

    async def read(self, data: bytes, name: str) -> AsyncGenerator[bytes, None]:
        """Frames of what the file is, of its parts, and at the end whether all of it was read."""
        try:
            async with contextlib.aclosing(self._pool.read(data, name)) as answers:
                async for answer in answers:
                    if isinstance(answer, Identified):
                        yield wire.frame(wire.IDENTIFIED, wire.dump_record(answer))
                    else:
                        yield wire.frame(wire.PART, wire.dump_part(answer))
        except Unreadable as error:
            yield wire.frame(wire.ERROR, wire.dump_record(wire.Failure(error.code, error.reason)))
        else:
            yield wire.frame(wire.DONE, b"")


class ClusterReaders:
    """This machine's readers and the cluster's.

    Args:
        readers: how many on the cluster; 0: one for each of its processors.

    async with ClusterReaders(ExtractionPool(2), cluster, readers=0) as pool: ...
    """

    def __init__(self, here: ExtractionPool, cluster: Cluster, readers: int) -> None:
        self._here, self._cluster, self._wanted = here, cluster, readers
        self._idle: asyncio.Queue[Actor] = asyncio.Queue()
        self._coming: set[asyncio.Task[None]] = set()
        self._actors: set[Actor] = set()
        self.size = here.size
        self._elsewhere = 0

    async def __aenter__(self) -> Self:
        readers = self._wanted or int((await self._cluster.resources()).get("CPU", 0))
        await self._here.__aenter__()
        self.size += readers
        for _ in range(readers):
            self._expect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._coming:
            task.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)
        await asyncio.gather(*(actor.kill() for actor in self._actors), return_exceptions=True)
        await self._here.__aexit__(kind, error, trace)
        event("cluster_read", count=self._elsewhere)

    async def read(
        self, data: bytes | AsyncIterable[bytes], name: str, size: int | None = None
    ) -> AsyncGenerator[Identified | Extraction, None]:
        """As `ExtractionPool.read`."""
        given = 0
        for _ in range(ATTEMPTS):
            if not isinstance(data, bytes) or self._idle.empty():
                break
            actor = self._idle.get_nowait()
            self._elsewhere += 1
            try:
                async with contextlib.aclosing(_answers(actor, data, name)) as answers:
                    at = 0
                    async for answer in answers:
                        at += 1
                        if at > given:
                            given = at
                            yield answer
            except NodeLost:
                event("cluster_reader_lost", level=logging.WARNING)
                self._actors.discard(actor)
                self._expect()
                continue
            except BaseException:
                self._idle.put_nowait(actor)
                raise
            self._idle.put_nowait(actor)
            return
        async with contextlib.aclosing(self._here.read(data, name, size)) as reading:
            async for answer in reading:
                if given:
                    given -= 1
                    continue
                yield answer

    def _expect(self) -> None:
        task = asyncio.create_task(self._add())
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _add(self) -> None:
        """A reader, as soon as a machine has room for it, and this release."""
        while (actor := await self._added()) is None:
            event("cluster_reader_not_started", level=logging.WARNING)
            await asyncio.sleep(RETURN_S)
        self._idle.put_nowait(actor)

    async def _added(self) -> Actor | None:
        actor = None
        try:
            actor = await self._cluster.actor(Reader, cpus=1)
            self._actors.add(actor)
            if await actor.call("versions") == versions():
                return actor
            event("cluster_reader_of_another_release", level=logging.ERROR)
            await actor.kill()
        except (NodeLost, Unavailable):
            pass
        if actor is not None:
            self._actors.discard(actor)
        return None


async def _answers(actor: Actor, data: bytes, name: str) -> AsyncGenerator[Identified | Extraction, None]:
    async with contextlib.aclosing(actor.stream("read", data, name)) as frames:
        async for frame in frames:
            kind, _ = wire.header(frame[: wire.HEADER])
            payload = frame[wire.HEADER :]
            if kind == wire.DONE:
                return
            if kind == wire.ERROR:
                failure = wire.load_failure(payload)
                raise Unreadable(failure.code, failure.reason)
            yield wire.load_identified(payload) if kind == wire.IDENTIFIED else wire.load_part(payload)
    raise NodeLost
