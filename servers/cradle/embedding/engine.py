"""Batches from the queue to the backend and their vectors back to the callers. One batch is on the device at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from servers.cradle.embedding import metrics
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.base import Backend
from servers.cradle.embedding.scheduler import Batch, Item, Priority, Scheduler
from shared.errors import DeadlineExceeded, InvalidInput, PlatformError, Unavailable
from shared.telemetry import event

if TYPE_CHECKING:
    from shared.encoder import Vectors


class Call:
    """Texts that one caller waits for. `done` gets None when the last of them has its vector, or the first error."""

    __slots__ = ("done", "items", "left", "normalize", "rows")

    def __init__(self, rows: Vectors, normalize: bool, done: asyncio.Future[None]) -> None:
        self.rows, self.normalize, self.done = rows, normalize, done
        self.items: list[Item] = []
        self.left = len(rows)


class Engine:
    """One device: its queue, its worker thread and its backend.

    Args:
        backend: loaded.
        probe: ids of a text that always works; tells a bad text from a broken backend.
    """

    def __init__(self, backend: Backend, dimension: int, probe: Sequence[int], admission: Admission) -> None:
        self.admission = admission
        self.broken = asyncio.Event()
        self._backend, self._dimension, self._probe = backend, dimension, list(probe)
        self._scheduler = Scheduler()
        self._calls: set[Call] = set()
        self._work = asyncio.Event()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> bool:
        """Measures the device and starts to serve. Returns whether rows of a batch are what they would be alone."""
        alone = await asyncio.get_running_loop().run_in_executor(self._device, self._backend.batched_equals_alone)
        if not alone:
            self._scheduler.rows = 1  # reproducible before fast
        self._loop = asyncio.create_task(self._serve())
        return alone

    async def close(self) -> None:
        """Ends the worker; what still waits gets `Unavailable`."""
        self._break()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.to_thread(self._device.shutdown, cancel_futures=True)

    async def compute(
        self, ids: Sequence[Sequence[int]], tenant: str, priority: Priority, deadline: float, normalize: bool
    ) -> Vectors:
        """The vectors [n, dimension] of texts, given as what the model reads.

        Args:
            deadline: on `time.monotonic`.

        Raises:
            Overloaded: too much waits.
            DeadlineExceeded: the deadline passed first.
            InvalidInput: a text cannot be computed; names it.
            Unavailable: the backend broke.
        """
        import numpy as np

        self._require_whole()
        tokens = sum(map(len, ids))
        self.admission.admit(tokens)
        call = Call(
            np.empty((len(ids), self._dimension), np.float32), normalize, asyncio.get_running_loop().create_future()
        )
        now = time.monotonic()
        call.items = [Item(each, tenant, priority, deadline, (call, at)) for at, each in enumerate(ids)]
        for item in call.items:
            self._scheduler.add(item, now)
        self._calls.add(call)
        self._work.set()
        try:
            async with asyncio.timeout(max(deadline - now, 0)):
                await call.done
        except TimeoutError:
            raise too_late() from None
        finally:
            self._forget(call)
        return call.rows

    def _require_whole(self) -> None:
        if self.broken.is_set():
            raise reloading()

    def _forget(self, call: Call) -> None:
        """Whatever of the call still waits never reaches the device."""
        self._calls.discard(call)
        for item in call.items:
            if item.queued:
                self.admission.leave(item.tokens)
                self._scheduler.drop(item)
        metrics.WAITING.set(self.admission.waiting)

    def _break(self) -> None:
        """No further batch; every caller is told."""
        self.broken.set()
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(reloading())

    async def _serve(self) -> None:
        try:
            while not self.broken.is_set():
                await self._next()
        except Exception as error:  # noqa: BLE001  # a defect here must not leave callers waiting
            event("embedding_engine_failed", error=error, backend=self._backend.name)
            self._break()

    async def _next(self) -> None:
        batch = self._scheduler.next_batch(time.monotonic())
        for item in batch.expired:
            self.admission.leave(item.tokens)
            _deliver(item, too_late())
        if batch.items:
            await self._compute(batch)
        elif not batch.expired:
            self._work.clear()
            await self._work.wait()

    async def _compute(self, batch: Batch) -> None:
        started = time.perf_counter()
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._device, self._run, batch.items)
        finally:
            self.admission.leave(batch.tokens)
        self._measure(batch, time.perf_counter() - started)
        for item, outcome in zip(batch.items, outcomes, strict=True):
            _deliver(item, outcome)
        if any(isinstance(outcome, Unavailable) for outcome in outcomes):
            self._break()

    def _measure(self, batch: Batch, seconds: float) -> None:
        self.admission.measured(batch.tokens, seconds)
        metrics.COMPUTE.observe(seconds)
        metrics.FILL.observe(len(batch.items))
        metrics.WAITING.set(self.admission.waiting)
        for item in batch.items:
            metrics.TOKENS.labels(item.priority).inc(item.tokens)

    def _run(self, items: list[Item]) -> list[Vectors | PlatformError]:
        """In the worker thread: a batch that fails is halved until the text that fails is alone (F-04, F-06)."""
        try:
            return list(self._vectors(items))
        except Exception as error:  # noqa: BLE001  # a backend raises what its library raises
            if len(items) == 1:
                return [self._why(error)]
        half = len(items) // 2
        return self._run(items[:half]) + self._run(items[half:])

    def _vectors(self, items: list[Item]) -> list[Vectors]:
        import numpy as np

        pooled, unit = self._backend.run(np.array([item.ids for item in items], np.int64))
        if not (np.isfinite(pooled).all() and np.isfinite(unit).all()):
            raise ArithmeticError
        return [(unit if item.owner[0].normalize else pooled)[at] for at, item in enumerate(items)]

    def _why(self, error: Exception) -> PlatformError:
        """Whether it was the text or the device: one text that always works is tried."""
        import numpy as np

        try:
            self._backend.run(np.array([self._probe], np.int64))
        except Exception as failure:  # noqa: BLE001
            event("embedding_backend_broken", error=failure, backend=self._backend.name)
            return reloading()
        event("embedding_text_failed", error=error, backend=self._backend.name)
        return InvalidInput("")


def _deliver(item: Item, outcome: Vectors | PlatformError) -> None:
    call, at = item.owner
    if call.done.done():
        return
    if isinstance(outcome, InvalidInput):
        outcome = InvalidInput(f"The model cannot embed text {at}. Leave it out or change it.", field=f"texts.{at}")
    if isinstance(outcome, PlatformError):
        call.done.set_exception(outcome)
        return
    call.rows[at] = outcome
    call.left -= 1
    if call.left == 0:
        call.done.set_result(None)


def too_late() -> DeadlineExceeded:
    """The error of texts whose turn did not come in time."""
    return DeadlineExceeded("The texts were not embedded in time. Send fewer at once or try again.")


def reloading() -> Unavailable:
    """The error while the model is not in memory."""
    return Unavailable("The embedding model is being loaded again. Try again shortly.", retry_after=5)
