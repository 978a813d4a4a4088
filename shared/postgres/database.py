"""A pool of connections to one database, and transactions on it for one customer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Self

import asyncpg

from shared.errors import PlatformError, Unavailable
from shared.postgres.failures import translated

CUSTOMER_SETTING = "app.customer"
SET_CUSTOMER = f"SELECT set_config('{CUSTOMER_SETTING}', $1, true)"  # as SET LOCAL: ends with the transaction
SET_PLATFORM = "SELECT set_config('app.platform', 'on', true)"
SET_LOGIN = "SELECT set_config('app.login', $1, true)"
CONNECT_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 15.0
HEALTHY_WITHIN_S = 1.5  # servers ask each other for two seconds
UNDO_S = 0.5
"""A call that is over waits so long for its rollback; then its connection is cut, which rolls back as well."""

# Of what a session's block may raise: other errors of the system, such as a missing file, are the caller's own.
# `InternalClientError` is what asyncpg says of a connection that broke in the middle of a message.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
DATABASE_ERRORS = (*DRIVER_ERRORS, ConnectionError, TimeoutError)


class Database:
    """One database, used with the application's role.

    Connections are made on first use, at most `size`, and dropped when the server closes them: after a restart of the
    server the next call connects anew.

    Args:
        url: `DatabaseUrls.app` of the database.
        size: most connections at a time.
        command_timeout_s: longest time one statement may take.
    """

    def __init__(self, url: str, *, size: int = 8, command_timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._url = url
        self._size = size
        self._command_timeout_s = command_timeout_s
        self._pool: asyncpg.Pool | None = None

    @property
    def url(self) -> str:
        """The address, for a `Lease` beside the pool."""
        return self._url

    async def open(self) -> None:
        """Prepares the pool. Connects to nothing yet, so it succeeds while the server is down."""
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._size,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._command_timeout_s,
                max_inactive_connection_lifetime=60.0,
                server_settings={"application_name": "0711"},
            )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for running transactions, at most a few seconds, and closes every connection."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), ACQUIRE_TIMEOUT_S)
        except (TimeoutError, OSError, *DRIVER_ERRORS):
            pool.terminate()

    @contextlib.asynccontextmanager
    async def session(
        self, customer: str | None = None, *, platform: bool = False, login: str | None = None
    ) -> AsyncIterator[asyncpg.Connection]:
        """One transaction; it is committed at the end of the block, or rolled back where the block raises.

        Row-level security shows the rows of `customer`, and none where it is not given. The policies must read the
        setting as `nullif(current_setting('app.customer', true), '')`: after a transaction it is empty, not absent.

        Args:
            platform: shows what policies show to `app.platform`, usually every customer's rows: for the platform's own
                work and its administrators.
            login: shows the rows that policies find by `app.login`: what somebody is known by before a customer is.

        Raises:
            Conflict, InvalidInput, Forbidden: the database refuses a row.
            Unavailable, Overloaded, DeadlineExceeded, StorageFull: the same call may succeed later.
        """
        pool = self._pool  # `close` takes it away from under a transaction that it waits for
        if pool is None:
            raise Unavailable("The database is not open yet. Try again in a moment.", retry_after=1.0)
        try:
            connection = await self._acquire(pool)
            try:
                async with _transaction(connection):
                    if customer is not None:
                        await connection.execute(SET_CUSTOMER, customer)
                    if platform:
                        await connection.execute(SET_PLATFORM)
                    if login is not None:
                        await connection.execute(SET_LOGIN, login)
                    yield connection
            finally:
                await self._release(pool, connection)
        except DATABASE_ERRORS as error:
            raise translated(error) from None

    def of(self, customer: str | None) -> contextlib.AbstractAsyncContextManager[asyncpg.Connection]:
        """`session` for the rows of a customer; of None, for the platform's."""
        return self.session(customer, platform=customer is None)

    async def healthy(self) -> bool:
        """True when the database answers now, within `HEALTHY_WITHIN_S`: who asks for the health waits no longer."""
        try:
            async with asyncio.timeout(HEALTHY_WITHIN_S), self.session() as connection:
                return await connection.fetchval("SELECT 1") == 1
        except (TimeoutError, PlatformError):
            return False

    async def _acquire(self, pool: asyncpg.Pool) -> Any:
        try:
            return await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable(
                "The database gave no connection in time: all are busy, or it hangs. Try again.", retry_after=1.0
            ) from None
        except (OSError, *DRIVER_ERRORS) as error:
            raise translated(error) from None

    async def _release(self, pool: asyncpg.Pool, connection: Any) -> None:
        """Gives the connection back; one that is broken is dropped, which is no failure of the caller's work."""
        with contextlib.suppress(*DRIVER_ERRORS, OSError):
            await pool.release(connection, timeout=CONNECT_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _transaction(connection: Any) -> AsyncIterator[None]:
    transaction = connection.transaction()
    try:
        await transaction.start()
        yield
    except BaseException:
        try:
            async with asyncio.timeout(UNDO_S):
                await transaction.rollback()
        except (OSError, TimeoutError, *DRIVER_ERRORS):
            connection.terminate()
        raise
    try:
        await transaction.commit()
    except (asyncio.CancelledError, TimeoutError):
        connection.terminate()  # else giving it back waits for the answer; whether it was committed is unknown anyhow
        raise
