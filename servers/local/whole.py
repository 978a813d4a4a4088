"""What concerns a whole platform is done by one command at a time: a backup would keep half of a customer that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import Conflict
from shared.postgres.lease import Lease


@asynccontextmanager
async def the_whole(superuser_url: str) -> AsyncIterator[None]:
    """Hold the platform for a backup or an erasure; given up with the process, however it ends.

    Raises:
        Conflict: another one has it.
        Unavailable: Postgres does not answer.
    """
    lease = Lease(superuser_url, "the whole platform")
    try:
        if not await lease.hold():
            raise Conflict("A backup is being made, or a customer is being erased. Call again when that has ended.")
        yield
    finally:
        await lease.close()
