"""A marketplace of several worker processes, started as an operator starts it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil

from servers.local.platform import environment
from servers.marketplace.bootstrap import bootstrap
from shared.postgres.urls import DatabaseUrls, write
from shared.settings import Settings
from tests.conftest import ROOT
from tests.marketplace_rig import Market
from tests.serving_rig import HANGS_S, free_port

WORKERS = 2


class Workers(Market):
    """A market whose supervisor is `process`. Its `http` keeps no connection: a request goes to whichever has fewer."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, *market: Any) -> None:
        super().__init__(*market)
        self.process = process
        self.log = log

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return sorted(child.pid for child in psutil.Process(self.process.pid).children())

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines of an event."""
        lines = [orjson.loads(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in lines if line.get("event") == name]

    async def pinned(self, pid: int) -> httpx2.AsyncClient:
        """A client with one connection, to this worker: the others stand still while it connects."""
        others = [psutil.Process(each) for each in self.pids if each != pid]
        client = httpx2.AsyncClient(trust_env=False, timeout=HANGS_S, limits=httpx2.Limits(max_connections=1))
        await self._stack.enter_async_context(client)
        for other in others:
            other.suspend()
        try:
            assert (await client.get(self.base + "/health")).status_code == 200
        finally:
            for other in others:
                other.resume()
        return client


@asynccontextmanager
async def supervised(settings: Settings, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`0711 serve marketplace` in a process of its own, which may end by itself; killed at the end of the block."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "servers", "serve", "marketplace", cwd=ROOT, env=environment(settings), stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def workers_of(home: Path, urls: DatabaseUrls, **changes: Any) -> AsyncIterator[Workers]:
    """A marketplace of two workers, once it is ready."""
    settings = Settings(home=home, marketplace_port=free_port(), marketplace_workers=WORKERS, **changes)
    write(home, {"user_registry": urls})
    await bootstrap(settings)
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(supervised(settings, home / "log"))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=HANGS_S, limits=limits))
        market = Workers(process, home / "log", settings, urls, http, stack)
        await until_healthy(market)
        yield market


async def until_healthy(market: Workers) -> None:
    """Wait for a process that tells nobody else."""
    async with asyncio.timeout(HANGS_S):
        while True:
            try:
                if (await market.http.get(market.base + "/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                assert market.process.returncode is None, market.log.read_text()
                await asyncio.sleep(0.05)
