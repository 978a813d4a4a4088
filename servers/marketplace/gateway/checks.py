"""Checks of servers: each is asked for its tools from time to time, and what it says is compared with what is pinned.

Lists and calls never wait for that, but for the very first call of a server that was never asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from servers.marketplace.catalogue.definitions import MAX_TOOLS, Definition, Era, read_definitions
from servers.marketplace.catalogue.store import EVERYTHING, CatalogueStore, Entry
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.connections.store import ConnectionStore
from servers.marketplace.gateway.asking import Place, Reply, ask_legacy, ask_modern, initialize
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.route import Route, Routes
from servers.marketplace.runners.pool import Runners, Wanted
from servers.marketplace.tokens import Grant, Mint
from servers.marketplace.workers.worker import Worker
from shared.auth import Principal
from shared.errors import PlatformError, Unavailable
from shared.serving.failures import platform_error
from shared.settings import Settings
from shared.telemetry import event

IDLE_S = 15.0
MAX_PAGES = 50
AT_ONCE = 8
LIST = "tools/list"
TRIES = 3
"""A check that is overtaken, by another one or by a registration, asks again."""


class Checks:
    """Asks servers for their tools and stores what they say."""

    def __init__(
        self,
        settings: Settings,
        outgoing: Outgoing,
        mint: Mint,
        tools: ToolStore,
        entries: CatalogueStore,
        connections: ConnectionStore,
        runners: Runners,
        worker: Worker,
    ) -> None:
        self._own = settings.resource("marketplace")
        self._outgoing = outgoing
        self._mint = mint
        self._tools = tools
        self._entries = entries
        self._connections = connections
        self._runners = runners
        self._worker = worker
        self._running: dict[str, asyncio.Task[None]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    async def any(self, server_name: str) -> None:
        """A check of a server: the one that is under way, or one that begins now.

        Raises:
            Unavailable: it does not answer, or its tools cannot be used.
        """
        await asyncio.shield(self._begun(server_name))

    async def now(self, server_name: str) -> None:
        """A check that begins from now on: one that is under way may have asked before what its caller knows of.

        Callers at the same time share it.

        Raises:
            Unavailable: as `any`.
        """
        earlier = self._running.get(server_name)
        if earlier is None:
            await self.any(server_name)
            return
        following = self._following.get(server_name)
        if following is None:
            following = self._following[server_name] = asyncio.create_task(self._after(earlier, server_name))
            following.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(following)

    async def _after(self, earlier: asyncio.Task[None], server_name: str) -> None:
        try:
            await asyncio.wait([earlier])
        finally:
            del self._following[server_name]
        await self.any(server_name)

    def _begun(self, server_name: str) -> asyncio.Task[None]:
        task = self._running.get(server_name)
        if task is None:
            task = self._running[server_name] = asyncio.create_task(self._check(server_name))
            task.add_done_callback(lambda done: self._done(server_name, done))
        return task

    def wake(self) -> None:
        """Something in the catalogue has changed: look for what is due."""
        self._wake.set()

    @contextlib.asynccontextmanager
    async def in_background(self) -> AsyncIterator[None]:
        """Checks what is due, inside the block; of a machine's workers the first one does."""
        due = [asyncio.create_task(self._run(), name="checks")] if self._worker.first else []
        try:
            yield
        finally:
            tasks = (*due, *self._following.values(), *self._running.values())
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while name := await self._tools.claim_due():
                    await self._one_due(name)
            except Exception as error:  # noqa: BLE001  # without this task no changed tool would ever be seen
                event("checks_paused", level=logging.WARNING, code=platform_error(error, route="checks").code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wake.wait()

    async def _one_due(self, name: str) -> None:
        while len(self._running) >= AT_ONCE:
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
        self._begun(name)

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._running.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, PlatformError):
            event("unexpected_error", level=logging.ERROR, error=error, route="checks")

    async def _check(self, server_name: str) -> None:
        for _ in range(TRIES):
            entry = await self._entries.by_name(EVERYTHING, server_name)
            if entry is None or entry.url is None or entry.url == self._own:
                return
            number = await self._tools.begin(entry)
            if number is not None and await self._tools.record(entry, number, *await self._told(entry, entry.url)):
                return
        raise Unavailable("The server is registered or checked again and again: try again later.")

    async def _told(self, entry: Entry, url: str) -> tuple[Era, tuple[Definition, ...]]:
        if entry.package is None:
            return await self._ask(await self._place(entry, url))
        return await self._run_once(entry, await self._credential(entry, url))

    async def with_header(self, entry: Entry, header: tuple[str, str]) -> int:
        """Ask a server for its tools with a credential of a customer; how many there are.

        What one customer is shown changes nothing for the others: only a server of its own is pinned by that, where it
        could not be asked before.

        Raises:
            Unavailable: it has no address, does not answer, or not with tools.
        """
        if entry.url is None:
            raise Unavailable("This server has no address yet: it runs nowhere that the platform knows of.")
        number = await self._tools.begin(entry)
        if entry.package is None:
            era, found = await self._ask(Place(entry.url, entry.operated, header))
        else:
            era, found = await self._run_once(entry, header)
        if entry.customer is not None and number is not None and not (await self._tools.of_entry(entry)).checked:
            await self._tools.record(entry, number, era, found)  # where it was overtaken, that other check counts
        return len(found)

    async def _run_once(self, entry: Entry, credential: tuple[str, str] | None) -> tuple[Era, tuple[Definition, ...]]:
        """What a package says of its tools, run for that alone."""
        assert entry.package is not None and entry.url is not None  # noqa: S101, PT018 - of a package
        wanted = Wanted(entry.server_name, entry.url, entry.package, entry.customer, credential)
        async with self._runners.tried(wanted, entry.approval) as child:
            return child.era, child.definitions

    async def _place(self, entry: Entry, url: str) -> Place:
        known = await self._credential(entry, url) if entry.kind == "external" else None
        if known is not None:
            return Place(url, entry.operated, known)
        # A list needs no scope: this token can do nothing else.
        grant = Grant("marketplace", "service", url, frozenset(), entry.customer, "checks")
        return Place(url, entry.operated, ("authorization", f"Bearer {self._mint.upstream(grant)}"))

    async def _credential(self, entry: Entry, url: str) -> tuple[str, str] | None:
        """The customer's at an approved server of its own, else the operator's: never that of one of many customers,
        who may each be shown something else."""
        own = None
        if entry.customer is not None and entry.approval == "approved":
            own = await self._connections.header(entry.customer, entry.server_name, url)
        return own or await self._connections.header(None, entry.server_name, url)

    async def _ask(self, place: Place) -> tuple[Era, tuple[Definition, ...]]:
        first = await ask_modern(self._outgoing, place, LIST, {})
        if first.result is not None and "resultType" in first.result:
            return "modern", await self._pages(first, lambda params: ask_modern(self._outgoing, place, LIST, params))
        session = await initialize(self._outgoing, place)
        first = await ask_legacy(self._outgoing, place, LIST, {}, session)
        return "legacy", await self._pages(
            first, lambda params: ask_legacy(self._outgoing, place, LIST, params, session)
        )

    async def _pages(self, reply: Reply, ask: Any) -> tuple[Definition, ...]:
        tools: list[Any] = []
        for _ in range(MAX_PAGES):
            if reply.result is None or not isinstance(reply.result.get("tools"), list):
                raise Unavailable("The server does not list its tools: its operator has to look into it.")
            tools += reply.result["tools"]
            cursor = reply.result.get("nextCursor")
            if not cursor or len(tools) > MAX_TOOLS:
                return read_definitions(tools)
            reply = await ask({"cursor": cursor})
        raise Unavailable("The server's list of tools does not end.")


async def checked_route(routes: Routes, checks: Checks, caller: Principal, server_name: str) -> Route:
    """The route of a caller to a server whose tools are known: one that was never asked is asked now."""
    route = await routes.route(caller, server_name)
    if route.checked:
        return route
    await checks.any(server_name)
    return await routes.fresh(caller, server_name)
