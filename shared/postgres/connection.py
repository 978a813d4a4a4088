"""One connection beside the pool, for what an owner or the superuser does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from shared.postgres.database import DRIVER_ERRORS
from shared.postgres.failures import translated

CONNECT_TIMEOUT_S = 10


@asynccontextmanager
async def connected(
    url: str,
    database: str | None = None,
    *,
    command_timeout_s: float | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Any]:
    """A connection, closed at the end.

    Args:
        database: another one than the URL's.
        command_timeout_s: longest time of one command; default: any.
        settings: of the server, for this connection.

    Raises:
        PlatformError: what a failure of Postgres means, inside the block too.
    """
    address = url if database is None else urlsplit(url)._replace(path=f"/{database}").geturl()
    try:
        connection = await asyncpg.connect(
            address,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=command_timeout_s,
            server_settings=dict(settings or {}),
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (OSError, *DRIVER_ERRORS) as error:
        raise translated(error) from None
