"""The database `platform`, opened on first use: a process over stdio may be there before the platform is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.settings import Settings

SIZE = 12
"""Connections to it."""


class PlatformDatabase:
    """`shared.postgres.database.Database` once the databases are set up; until then its calls say what to do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Database | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def session(self, customer: str | None = None, *, platform: bool = False) -> AsyncIterator[Any]:
        """One transaction; see `Database.session`.

        Raises:
            Unavailable: the databases are not set up yet, or do not answer.
        """
        database = self._opened or await self._open()
        async with database.session(customer, platform=platform) as connection:
            yield connection

    async def healthy(self) -> bool:
        """Whether the database answers now.

        Raises:
            Unavailable: the databases are not set up yet.
        """
        database = self._opened or await self._open()
        return await database.healthy()

    async def close(self) -> None:
        """Close every connection."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def _open(self) -> Database:
        async with self._lock:
            if self._opened is None:
                database = Database(database_urls(self._settings, "platform").app, size=SIZE)
                await database.open()
                self._opened = database
            return self._opened
