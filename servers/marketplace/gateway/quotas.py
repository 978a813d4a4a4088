"""How many calls a minute a user, a customer and each tool of a customer may make, over all replicas together.

A replica leases calls in blocks from Postgres (or Redis, where one is set) and hands them out from memory, so that most
calls ask nobody. What of a block is left at the end of its minute is lost: a limit may be reached a little early, and
is never passed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from servers.marketplace.changes import soon
from shared.auth import Principal
from shared.errors import Overloaded
from shared.postgres.database import Database
from shared.postgres.queries import load_queries
from shared.settings import Settings

queries: Any = load_queries("servers.marketplace", "quotas.sql")

BLOCKS = 20
"""A machine's workers lease a twentieth of a limit at a time, each its part of that."""
KEPT = 50_000
NO_TOOL = "*"
"""Counts all that calls no known tool of a server: what a caller writes is never stored."""


@dataclass(slots=True)
class Lease:
    """Calls of one key that may still pass here, until `ends` (monotonic seconds). `spent`: the minute has no more."""

    left: int
    ends: float
    spent: bool


class Leases(Protocol):
    """What hands out blocks."""

    async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
        """Up to `block` calls of what the running minute still has of `most`, and the seconds that are left of it."""
        ...


class QuotaStore:
    """Hands out blocks, counted in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
        """Up to `block` calls of what the running minute still has of `most`, and the seconds that are left of it."""
        async with self._database.of(customer) as connection:
            row = await queries.lease(connection, key=key, customer_id=customer, most=most, block=block)
            await queries.forget_old(connection)
        return row["granted"], row["left_s"]


class Quotas:
    """Lets calls pass or refuses them."""

    def __init__(self, settings: Settings, store: Leases) -> None:
        self._store = store
        self._user = settings.calls_per_minute_user
        self._customer = settings.calls_per_minute_customer
        self._tool = settings.calls_per_minute_tool
        self._blocks = BLOCKS * settings.marketplace_workers
        self._leases: dict[str, Lease] = {}
        self._asking: dict[str, asyncio.Task[Lease]] = {}

    async def take(self, caller: Principal, server_name: str, tool: str) -> None:
        """Count one call of a tool; services of the platform itself are not limited.

        Args:
            tool: a name that the platform knows, never one as it came from a caller; else `NO_TOOL`.

        Raises:
            Overloaded: the user, the customer or the tool has had its calls of this minute; says when the next begins.
            Unavailable: nothing is leased here, and the database does not answer.
        """
        if caller.role == "service":
            return
        owner = caller.customer
        await self._one(f"user:{owner}:{caller.subject}", owner, self._user)
        if owner is not None:
            await self._one(f"customer:{owner}", owner, self._customer)
        await self._one(f"tool:{owner}:{server_name}:{tool}", owner, self._tool)

    async def _one(self, key: str, owner: str | None, most: int) -> None:
        lease = self._leases.get(key)
        while lease is None or lease.left == 0 or monotonic() >= lease.ends:
            left_s = lease.ends - monotonic() if lease is not None and lease.spent else 0.0
            if left_s > 0:
                raise Overloaded("Too many calls in this minute: wait for the next.", retry_after=round(left_s, 1))
            lease = await self._leased(key, owner, most)
        lease.left -= 1

    async def _leased(self, key: str, owner: str | None, most: int) -> Lease:
        """A new block; callers at the same time share one question."""
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, owner, most))
            task.add_done_callback(lambda done: self._asking.pop(key, None))
        return await soon(asyncio.shield(task))

    async def _ask(self, key: str, owner: str | None, most: int) -> Lease:
        granted, left_s = await self._store.lease(key, owner, most, max(1, most // self._blocks))
        if len(self._leases) >= KEPT:
            self._leases.clear()
        lease = self._leases[key] = Lease(granted, monotonic() + left_s, spent=granted == 0)
        return lease
