"""What concerns a whole platform is done by one command at a time: a backup would keep half of a customer that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from shared.errors import Conflict, Unavailable
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.lease import Lease
from shared.settings import Settings


@asynccontextmanager
async def the_whole(superuser_url: str) -> AsyncIterator[None]:
    """Hold the platform for a backup, an erasure or a customer's return; given up with the process, however it ends.

    Raises:
        Conflict: another one has it.
        Unavailable: Postgres does not answer.
    """
    lease = Lease(superuser_url, "the whole platform")
    try:
        if not await lease.hold():
            raise Conflict(
                "A backup is being made, or a customer is being erased or restored. Call again when that has ended."
            )
        yield
    finally:
        await lease.close()


def superuser_of(settings: Settings) -> str:
    """The superuser's address on the Postgres server of a platform that stands.

    Raises:
        Unavailable: there is none.
    """
    if settings.postgres_url is not None:
        return settings.postgres_url.get_secret_value()
    with suppress(Unavailable):
        return EmbeddedPostgres(settings.home / "postgres", settings.postgres_port).superuser_url
    raise Unavailable("There is no database in this home folder. Start the platform: 0711 up")
