"""The meter: counts what is served, before it leaves, and brings it to where usage is kept, in batches.

Calls that act for no customer are the platform's own and are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

from shared.errors import InvalidInput, PlatformError
from shared.metering.spool import Spool
from shared.metering.units import Key, Units
from shared.telemetry import event

FLUSH_S = 2.0


class Store(Protocol):
    """Where usage is kept."""

    async def add(self, batch_id: str, sums: Mapping[Key, Units]) -> object:
        """Add a batch; one that was added before changes nothing."""
        ...


class Meter:
    """Counts into the spool and empties it into the store."""

    def __init__(self, spool: Spool, store: Store) -> None:
        self._spool = spool
        self._store = store
        self._turn = asyncio.Lock()

    def served(self, customer: str | None, server: str, tool: str, units: Units) -> None:
        """Count units that are about to be handed over.

        Raises:
            StorageFull: they cannot be counted and must not be handed over.
        """
        if customer is not None:
            self._spool.append(Key(customer, datetime.now(UTC).date(), server, tool), units)

    async def flush(self) -> None:
        """Bring everything that is in the spool to the store; a batch that is there already changes nothing.

        A file that is none of ours, or was damaged, is set aside under another name, for the operator to look at.

        Raises:
            PlatformError: the store does not take it; it stays in the spool.
        """
        async with self._turn:
            await self._push()  # first what is old: while the store is away, one file grows and not many
            await asyncio.to_thread(self._spool.detach())
            await self._push()

    @contextlib.asynccontextmanager
    async def in_background(self) -> AsyncIterator[None]:
        """Flushes from time to time inside the block, and once more at its end."""
        task = asyncio.create_task(self._run(), name="metering")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._try()

    async def _run(self) -> None:
        while True:
            await self._try()
            await asyncio.sleep(FLUSH_S)

    async def _try(self) -> None:
        try:
            await self.flush()
        except PlatformError as error:
            event("metering_paused", level=logging.WARNING, code=error.code)
        except Exception as error:  # noqa: BLE001  # without this task nothing would ever be billed
            event("unexpected_error", level=logging.ERROR, error=error, route="metering")

    async def _push(self) -> None:
        for batch in await asyncio.to_thread(lambda: list(self._spool.batches())):
            try:
                await self._store.add(batch.batch_id, await asyncio.to_thread(batch.sums))
                await asyncio.to_thread(batch.remove)
            except FileNotFoundError:
                continue  # another replica was faster
            except (ValueError, InvalidInput) as error:  # one file must not hold up what all others tell
                event("spool_file_set_aside", level=logging.ERROR, error=error, route="metering")
                await asyncio.to_thread(batch.set_aside)
