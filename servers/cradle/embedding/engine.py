"""Batches from the queue to the workers and their vectors back to the callers.

One queue for all workers: whichever has the least to do takes the next batch, so none idles while another has a line.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from servers.cradle.embedding import metrics
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.scheduler import Batch, Item, Lane, Priority, Scheduler
from servers.cradle.embedding.suspects import Suspects
from servers.cradle.embedding.worker import BatchFailed, Worker, WorkerLost
from shared.errors import DeadlineExceeded, Internal, InvalidInput, PlatformError, Unavailable
from shared.telemetry import event, span

if TYPE_CHECKING:
    from shared.encoder import Vectors

    Outcome = Vectors | PlatformError | WorkerLost

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


class Call:
    """Texts that one caller waits for. `done` gets None when the last of them has its vector, or the first error."""

    __slots__ = ("done", "items", "left", "normalize", "rows")

    def __init__(self, rows: Vectors, normalize: bool, done: asyncio.Future[None]) -> None:
        self.rows, self.normalize, self.done = rows, normalize, done
        self.items: list[Item] = []
        self.left = len(rows)


class Engine:
    """The queue and its workers.

    Args:
        launch: makes the worker of a place, not started yet.
        places: how many workers `start` waits for.
        later: how many more there are, on other machines: each serves as soon as it has the model.
        probe: ids of a text that always works; tells a bad text from a broken device.
        sizes: tokens of a batch, rising, where the device computes any other number as the next larger one.
    """

    def __init__(
        self,
        launch: Callable[[int], Worker],
        dimension: int,
        probe: Sequence[int],
        admission: Admission,
        *,
        places: int = 1,
        later: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.admission = admission
        self.alone = True
        self.backend = ""
        self.workers: dict[int, Worker] = {}
        self._launch, self._places, self._later = launch, places, later
        self._dimension, self._probe = dimension, list(probe)
        self._scheduler = Scheduler(sizes[-1], sizes=sizes) if sizes else Scheduler()
        self._longest = 0
        self._suspects = Suspects()
        self._calls: set[Call] = set()
        self._closed = False
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether a worker has the model in memory."""
        return bool(self.workers)

    @property
    def batch_tokens(self) -> int:
        """Most tokens of a batch; one text may be longer."""
        return self._scheduler.budget

    async def start(self) -> None:
        """Starts every worker and begins to serve.

        Raises:
            Unavailable: the model could not be loaded.
        """
        workers = [self._launch(place) for place in range(self._places)]
        try:
            await asyncio.gather(*(worker.start() for worker in workers))
        except BaseException:
            await asyncio.gather(*(worker.close() for worker in workers))
            raise
        self.workers = dict(enumerate(workers))
        first = workers[0]
        self.backend, self._scheduler.mixed = first.name, first.mixed
        self.alone = all(worker.alone for worker in workers)
        if not (self.alone or first.mixed):
            self._scheduler.rows = 1  # reproducible before fast
        for place, worker in self.workers.items():
            self._own(self._keep(place, worker))
        for place in range(self._places, self._places + self._later):
            self._own(self._keep(place, None))
        self._own(self._serve())

    async def close(self) -> None:
        """Ends the workers; what still waits gets `Unavailable`, and so does what comes."""
        self._closed = True
        self._refuse_all(reloading)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()  # first: else the workers that end would be replaced
        await asyncio.gather(*tasks, return_exceptions=True)
        workers, self.workers = list(self.workers.values()), {}
        await asyncio.gather(*(worker.close() for worker in workers))

    async def compute(
        self, ids: Sequence[Sequence[int]], tenant: str, priority: Priority, deadline: float, normalize: bool
    ) -> Vectors:
        """The vectors [n, dimension] of texts, given as what the model reads. Waits while a lost worker is replaced and
        what it lost is computed again.

        Args:
            deadline: on `time.monotonic`.

        Raises:
            Overloaded: too much waits.
            DeadlineExceeded: the deadline passed first.
            InvalidInput: a text cannot be computed, or ends the worker's process; names it.
            Unavailable: the device had no memory for the moment or computes nothing, or the engine is closed.
        """
        import numpy as np

        if self._closed:
            raise reloading()
        for at, each in enumerate(ids):
            if not each:
                raise InvalidInput(f"Text {at} has nothing that the model reads. Leave it out.", field=f"texts.{at}")
        now = time.monotonic()
        verdicts = [self._suspects.verdict(each, now) for each in ids]
        if "fatal" in verdicts:
            raise fatal(verdicts.index("fatal"))
        self.admission.admit((priority, tenant), sum(map(len, ids)), now, deadline - now)
        rows = np.empty((len(ids), self._dimension), np.float32)
        call = Call(rows, normalize, asyncio.get_running_loop().create_future())
        call.items = [
            Item(each, tenant, priority, deadline, (call, at), verdict is not None)
            for at, (each, verdict) in enumerate(zip(ids, verdicts, strict=True))
        ]
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

    def _forget(self, call: Call) -> None:
        """Whatever of the call still waits never reaches the device."""
        self._calls.discard(call)
        for item in call.items:
            if item.queued:
                self.admission.leave(item.lane, item.tokens)
                self._scheduler.drop(item)
        call.items.clear()  # each item names its call: else both wait for the collector of cycles, vectors and all
        metrics.WAITING.set(self.admission.waiting)

    def _refuse_all(self, error: Callable[[], PlatformError]) -> None:
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(error())

    def _own(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # pyright: ignore[reportArgumentType]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._work.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            event("embedding_engine_failed", error=error, backend=self.backend)

    async def _keep(self, place: int, worker: Worker | None) -> None:
        """Starts the worker of a place where there is none, and replaces it whenever it is lost."""
        while True:
            if worker is not None:
                await worker.lost.wait()
                self.workers.pop(place, None)
                await worker.close()
                self._scheduler.forget_limit()
            outcome = "ready" if worker is None else "replaced"
            self.workers[place] = worker = await self._started(place)
            metrics.LOADS.labels(outcome).inc()
            self._work.set()

    async def _started(self, place: int) -> Worker:
        """A worker whose device computes. Where it does not and there is no other one, who waits is told."""
        pause = FIRST_PAUSE_S
        while True:
            worker = self._launch(place)
            try:
                await worker.start()
                if await self._broken(worker) is None:
                    return worker
                await worker.close()
                if not self.workers:
                    self._refuse_all(broken)
            except Unavailable:
                pass
            except asyncio.CancelledError:
                await worker.close()
                raise
            metrics.LOADS.labels("failed").inc()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _serve(self) -> None:
        while True:
            self._work.clear()
            while (worker := self._least_loaded()) is not None and self._hand_over(worker):
                pass
            await self._work.wait()

    def _least_loaded(self) -> Worker | None:
        free = [worker for worker in self.workers.values() if worker.free]
        return min(free, key=lambda worker: worker.tokens, default=None)

    def _hand_over(self, worker: Worker) -> bool:
        """The next batch to a worker; False: there is none for it now."""
        rate = self.admission.rate / len(self.workers) if self.admission.known else None
        batch = self._scheduler.next_batch(time.monotonic(), rate, idle=not worker.batches)
        for item in batch.expired:
            self.admission.leave(item.lane, item.tokens)
            _deliver(item, too_late())
        if batch.items:
            places = worker.in_flight if batch.apart else 1
            worker.batches += places
            worker.tokens += batch.tokens
            self._own(self._compute(worker, batch, places))
        return bool(batch.items)

    async def _compute(self, worker: Worker, batch: Batch, places: int) -> None:
        started = time.monotonic()
        outcomes: dict[Item, Outcome] = {}
        try:
            with span("embedding.batch", count=len(batch.items), tokens=batch.tokens, backend=self.backend):
                if batch.apart and await self._broken(worker) is not None:
                    outcomes = dict.fromkeys(batch.items, WorkerLost())  # before it had any of them
                else:
                    outcomes = await self._outcomes(worker, batch.items)
            self._tell(batch, started)
        finally:
            worker.batches -= places
            worker.tokens -= batch.tokens
            self._conclude(batch.items, outcomes)

    def _conclude(self, items: Sequence[Item], outcomes: dict[Item, Outcome]) -> None:
        """Tells the callers what became of their texts, but for those that are computed again."""
        left, now = Counter[Lane](), time.monotonic()
        for item in items:
            outcome = outcomes.get(item, Internal())  # a defect, which `_ended` logs, or nobody waits for it
            if isinstance(outcome, WorkerLost):
                guilty = item.apart and outcome.crashed
                self._suspects.lost(item.ids, guilty, now)
                if guilty:
                    event("embedding_text_ends_worker", level=logging.ERROR, backend=self.backend)
                elif not item.apart and _awaited(item):
                    self._again(item, now)
                    continue
                outcome = fatal(item.owner[1]) if guilty else broken()
            elif item.apart and item in outcomes:
                self._suspects.cleared(item.ids)
            left[item.lane] += item.tokens
            _deliver(item, outcome)
        for lane, tokens in left.items():
            self.admission.leave(lane, tokens)
        metrics.WAITING.set(self.admission.waiting)

    def _again(self, item: Item, now: float) -> None:
        """A text that was lost with others is computed once more, alone: only that tells whether it was its fault. Its
        tokens still count as waiting."""
        call, at = item.owner
        call.items[at] = again = Item(item.ids, item.tenant, item.priority, item.deadline, item.owner, apart=True)
        self._scheduler.add(again, now)
        self._work.set()

    def _tell(self, batch: Batch, started: float) -> None:
        metrics.COMPUTE.observe(time.monotonic() - started)
        metrics.FILL.observe(len(batch.items))
        metrics.FILL_TOKENS.observe(min(1.0, batch.tokens / batch.budget))
        for place, each in self.workers.items():
            metrics.MEMORY.labels(str(place)).set(each.memory)
        for priority, added in {(item.priority, item.added) for item in batch.items}:
            metrics.WAIT.labels(priority).observe(started - added)

    def _learn(self, worker: Worker, items: Sequence[Item], started: float) -> None:
        """What a device computed, and how fast it was. Of what it did not compute nothing can be learnt."""
        now, tokens = time.monotonic(), Counter[Priority]()
        for item in items:
            tokens[item.priority] += item.tokens
        self.admission.measured(tokens.total(), started, now)
        self._scheduler.computed(tokens.total(), now - max(started, worker.ended))  # they overlap
        self._scheduler.fitted()
        worker.ended = now
        self._longest = max(self._longest, *(item.tokens for item in items))
        for priority, count in tokens.items():
            metrics.TOKENS.labels(priority).inc(count)

    async def _outcomes(self, worker: Worker, items: Sequence[Item]) -> dict[Item, Outcome]:
        """A batch that fails is halved until the text that fails is alone (F-04, F-06). What nobody waits for is left
        out; a text whose process ended has `WorkerLost`."""
        started, items = time.monotonic(), [item for item in items if _awaited(item)]
        if not items:
            return {}
        try:
            found = await self._run(worker, [item.ids for item in items], [item.owner[0].normalize for item in items])
        except WorkerLost as lost:
            return dict.fromkeys(items, WorkerLost(lost.crashed))  # one that was not raised holds no frames
        except BatchFailed as failed:
            if failed.memory:
                self._scheduler.refused(items)
            if len(items) == 1:
                return {items[0]: await self._why(worker, items[0], failed.memory)}
        else:
            self._learn(worker, items, started)
            return dict(zip(items, found, strict=True))
        half = len(items) // 2
        return await self._outcomes(worker, items[:half]) | await self._outcomes(worker, items[half:])

    async def _run(self, worker: Worker, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> Vectors:
        """As `Worker.run`; vectors that are not of the model's size are a failure of the device too."""
        found = await worker.run(texts, units)
        if found.shape[1] != self._dimension:
            raise BatchFailed(memory=False)
        return found

    async def _broken(self, worker: Worker) -> WorkerLost | None:
        """None where a device computes a text that always works. Another one's process is ended; `crashed`: though
        memory and time sufficed."""
        try:
            await self._run(worker, [self._probe], [True])
        except BatchFailed as failed:
            crashed = not failed.memory
        except WorkerLost as lost:
            crashed = lost.crashed
        else:
            return None
        event("embedding_device_broken", level=logging.ERROR, backend=self.backend)
        worker.kill()
        return WorkerLost(crashed)

    async def _why(self, worker: Worker, item: Item, memory: bool) -> PlatformError | WorkerLost:
        """Whether it was the text, or the device that is broken now. Memory that sufficed for a text as long before
        will do so again."""
        if (lost := await self._broken(worker)) is not None:
            return WorkerLost(lost.crashed and not memory)
        if memory and item.tokens <= self._longest:
            return Unavailable("The embedding device is short of memory. Try again shortly.", retry_after=5)
        why = "needs more memory than the device has" if memory else "cannot be embedded by the model"
        _, at = item.owner
        return InvalidInput(f"Text {at} {why}. Leave it out or change it.", field=f"texts.{at}")


def _awaited(item: Item) -> bool:
    return not item.owner[0].done.done()


def _deliver(item: Item, outcome: Vectors | PlatformError) -> None:
    call, at = item.owner
    if call.done.done():
        return
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


def fatal(at: int) -> InvalidInput:
    """The error of a text that ends the worker's process."""
    return InvalidInput(
        f"Text {at} ends the process that computes it, and is refused for half an hour. Leave it out or change it.",
        field=f"texts.{at}",
    )


def broken() -> Unavailable:
    """The error of texts whose device computes nothing, or whose process was ended twice, maybe by none of them."""
    return Unavailable("The embedding device fails at the moment. Try again later.", retry_after=LONGEST_PAUSE_S)


def reloading() -> Unavailable:
    """The error of texts whose engine is closed."""
    return Unavailable("The embedding model is being loaded again. Try again shortly.", retry_after=5)
