"""The running servers: started on the first call, shared where that is safe, bounded in number, ended when nobody has
used them for a while, when they are no longer somebody's, and with the marketplace.

A process belongs to one customer and one credential. Customers share one only where the operator says so and none has a
credential. One that may ask something back belongs to one caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from servers.marketplace.catalogue.store import CatalogueStore, View
from servers.marketplace.connections.store import ConnectionStore
from servers.marketplace.runners.child import Child
from servers.marketplace.runners.command import Engine, command_of, shared
from servers.marketplace.runners.package import Package
from servers.marketplace.workers.worker import Worker
from shared.contracts.catalogue import Approval
from shared.errors import Conflict, Overloaded, Unavailable
from shared.serving.failures import platform_error
from shared.settings import Settings
from shared.telemetry import event

LOOK_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
FORGOTTEN_S = 60.0
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server that somebody wants to run.

    Args:
        address: of the package (`Package.address`): another version is another one.
        customer: whose it is; None: nobody's, or everybody's.
        credential: name and value of the variable that holds the customer's own.
        caller: who can be asked something back; None: its questions are refused.
    """

    server_name: str
    address: str
    package: Package
    customer: str | None
    credential: tuple[str, str] | None = None
    caller: str | None = None


class _Place:
    """One process, or its start: whose it is, and how many calls have it now."""

    def __init__(self, wanted: Wanted, start: Coroutine[Any, Any, Child]) -> None:
        self.wanted = wanted
        self.lent = 0
        self.began = time.monotonic()
        self.slot: int | None = None
        self.task = asyncio.create_task(start, name="runner: start")
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits sees it

    @property
    def child(self) -> Child | None:
        """The process, once it has answered."""
        good = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if good else None

    @property
    def dead(self) -> bool:
        """It did not start, or has ended by itself."""
        return self.task.done() and (self.child is None or not self.child.alive)

    @property
    def idle_since(self) -> float | None:
        """Monotonic seconds of its last call; None: it is in use."""
        child = self.child
        return child.used if child is not None and not self.lent else None


@dataclass(slots=True)
class _Trouble:
    failures: int
    again: float


class Runners:
    """Lends running servers. Of a machine's workers the first one lends; the others look at one at a time."""

    def __init__(
        self, settings: Settings, entries: CatalogueStore, connections: ConnectionStore, worker: Worker
    ) -> None:
        self._settings = settings
        self._entries = entries
        self._connections = connections
        self._places: dict[Wanted | object, _Place] = {}
        self._free = set(range(settings.runner_children))
        if not worker.first:  # each has numbers, and so user ids, of its own
            self._free = {settings.runner_children + worker.number - 1}
        self._trouble: dict[Wanted | object, _Trouble] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Something in the registry has changed: end what is no longer somebody's."""
        self._wake.set()

    @asynccontextmanager
    async def in_background(self) -> AsyncIterator[None]:
        """Ends what is idle or no longer wanted, inside the block; everything at its end."""
        task = asyncio.create_task(self._run(), name="runners")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for key, place in list(self._places.items()):
                self._end(key, place)
            await asyncio.gather(*self._ending, return_exceptions=True)

    @asynccontextmanager
    async def lent(self, wanted: Wanted) -> AsyncIterator[Child]:
        """A running server for one call of an approved entry that this customer may call.

        Raises:
            Overloaded: too many servers run.
            Unavailable: it does not start, or it has failed several times.
        """
        if wanted.credential is None and shared(self._settings, wanted.package):
            wanted = replace(wanted, customer=None)
        async with self._place(wanted, wanted) as child:
            if not child.asks:
                yield child
                return
            async with child.turn:
                yield child

    @asynccontextmanager
    async def tried(self, wanted: Wanted, approval: Approval) -> AsyncIterator[Child]:
        """A process of its own that is ended afterwards: for looking at a server's tools.

        Raises:
            Conflict: nobody has taken the entry into review, so nothing of it runs.
        """
        if approval not in ("review", "approved"):
            raise Conflict(
                "A package runs only once the operator has taken it into review: review_mcp with `review`.",
                field="server_name",
            )
        key = object()
        try:
            async with self._place(key, wanted) as child:
                yield child
        finally:
            ending = self._end(key, self._places.get(key))
            if ending is not None:
                await ending

    @asynccontextmanager
    async def _place(self, key: Wanted | object, wanted: Wanted) -> AsyncIterator[Child]:
        place = self._places.get(key)
        if place is not None and place.dead:
            self._failed(key, place)
            place = None
        if place is None:
            self._check_trouble(key)
            place = self._places[key] = _Place(wanted, self._start(key, wanted))
        place.lent += 1
        try:
            yield await _started(place)
        finally:
            place.lent -= 1

    async def _start(self, key: Wanted | object, wanted: Wanted) -> Child:
        command = command_of(self._settings, wanted.package, wanted.credential, self._engine())
        slot = self._places[key].slot = await self._slot(key, wanted.customer)
        uid = self._settings.runner_uid + slot if self._settings.runner_uid else 0
        return await Child.start(command, uid, self._settings.runner_start_s, asks=wanted.caller is not None)

    async def _slot(self, key: Wanted | object, customer: str | None) -> int:
        """The number of a process that may run. One customer has half of them at most, and at least one."""
        others = {each: place for each, place in self._places.items() if each is not key}
        own = {each: place for each, place in others.items() if customer and place.wanted.customer == customer}
        full = len(own) >= max(1, self._settings.runner_children // 2)
        if full or not self._free:
            idle = {each: since for each, place in (own if full else others).items() if (since := place.idle_since)}
            oldest = min(idle, key=lambda each: idle[each]) if idle else None
            ending = self._end(oldest, others[oldest]) if oldest is not None else None
            if ending is not None:
                await ending
            if not self._free or (full and ending is None):
                raise Overloaded(
                    "Too many servers run at once (P0711_RUNNER_CHILDREN): try again later.", retry_after=5.0
                )
        return self._free.pop()

    def _engine(self) -> Engine | None:
        docker, host = shutil.which("docker"), self._settings.docker_host or os.environ.get("DOCKER_HOST")
        return Engine(docker, host) if docker and not (host or "").startswith("context:") else None

    def _check_trouble(self, key: Wanted | object) -> None:
        trouble = self._trouble.get(key)
        left = trouble.again - time.monotonic() if trouble is not None else 0.0
        if left > 0:
            raise Unavailable("The server has just failed: try again later.", retry_after=round(left, 1))

    def _failed(self, key: Wanted | object, place: _Place) -> None:
        """It ended by itself or did not start: after the first time the next start waits, longer each time."""
        if self._places.get(key) is not place:
            return
        now, before = time.monotonic(), self._trouble.get(key)
        recent = before is not None and now - before.again < FORGOTTEN_S and now - place.began < FORGOTTEN_S
        failures = before.failures + 1 if before is not None and recent else 1
        wait = 0.0 if failures == 1 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (failures - 2))
        if len(self._trouble) >= KEPT:
            self._trouble.clear()
        if isinstance(key, Wanted) and place.slot is not None:  # else it was not the server's fault
            self._trouble[key] = _Trouble(failures, now + wait)
        self._end(key, place)

    def _end(self, key: Wanted | object, place: _Place | None) -> asyncio.Task[None] | None:
        """Let go of a place, unless that has happened; the task ends when nothing of it runs any more."""
        if place is None or self._places.get(key) is not place:
            return None
        del self._places[key]
        task = asyncio.create_task(self._ended(place), name="runner: end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _ended(self, place: _Place) -> None:
        place.task.cancel()
        await asyncio.gather(place.task, return_exceptions=True)
        if place.child is not None:
            await place.child.stop()
        if place.slot is not None:
            self._free.add(place.slot)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_S, self._settings.runner_idle_s)):
                    await self._wake.wait()
            changed = self._wake.is_set()
            self._wake.clear()
            try:
                await self._look(changed=changed)
            except Exception as error:  # noqa: BLE001  # without this task nothing would ever be ended
                self._wake.set()  # Postgres is away for a moment, say: what it would have said is asked again
                event("runners_unchecked", level=logging.WARNING, code=platform_error(error, route="runners").code)
                await asyncio.sleep(LOOK_S)

    async def _look(self, *, changed: bool) -> None:
        for key, place in list(self._places.items()):
            since = place.idle_since
            if place.dead:
                self._failed(key, place)
                continue
            idle = since is not None and time.monotonic() - since > self._settings.runner_idle_s
            if idle or (changed and isinstance(key, Wanted) and not await self._still_wanted(key)):
                self._end(key, place)

    async def _still_wanted(self, wanted: Wanted) -> bool:
        view = View(wanted.customer, everything=wanted.customer is None)
        entry = await self._entries.by_name(view, wanted.server_name)
        if entry is None or entry.url != wanted.address or entry.approval != "approved":
            return False
        if wanted.customer is None:
            return True
        held = entry.installed and entry.listing.tier_reached and entry.listing.licensed
        try:
            known = await self._connections.header(wanted.customer, wanted.server_name, wanted.address)
        except Conflict:
            known = None
        return held and known == wanted.credential


async def _started(place: _Place) -> Child:
    """The process of a place, once it has answered.

    Raises:
        Unavailable: somebody else has ended it meanwhile.
    """
    try:
        return await asyncio.shield(place.task)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if not place.task.cancelled() or (caller is not None and caller.cancelling()):
            raise
    raise Unavailable("The server was ended while it started: try again.", retry_after=1.0)
