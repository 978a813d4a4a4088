"""A name that one process at a time holds, for as long as its connection to the database lives."""

from __future__ import annotations

import contextlib
from typing import Any

import asyncpg

from shared.postgres.database import DATABASE_ERRORS, DRIVER_ERRORS
from shared.postgres.failures import translated

# The lock is granted again and counted again to the session that has it, so one statement takes it and proves it.
HOLD = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
TIMEOUT_S = 5
# A holder whose machine or network is gone says no goodbye: after about a minute the server gives its lease away.
SERVER_SETTINGS = {
    "application_name": "0711 lease",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class Lease:
    """An advisory lock of Postgres on a connection of its own.

    Args:
        url: of the database; not through a pooler that gives every transaction another connection.
        name: what is held.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Any = None

    async def hold(self) -> bool:
        """Take the lease, or make sure that it is still held. False: another process holds it. Waits for no other.

        Raises:
            Unavailable, DeadlineExceeded: the database does not answer, so nobody knows who holds it.
        """
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(
                    self._url,
                    timeout=TIMEOUT_S,
                    command_timeout=TIMEOUT_S,
                    server_settings=SERVER_SETTINGS,
                )
            return await self._connection.fetchval(HOLD, self._name)
        except (OSError, *DATABASE_ERRORS) as error:
            lost, self._connection = self._connection, None
            if lost is not None:
                lost.terminate()
            raise translated(error) from None

    async def close(self) -> None:
        """Give the lease up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, *DRIVER_ERRORS):
                await connection.close(timeout=TIMEOUT_S)
