"""A lease on a real Postgres: one holder at a time, gone with its connection."""

from __future__ import annotations

import asyncpg
import pytest

from shared.errors import Unavailable
from shared.postgres.lease import Lease
from tests.orchestrator_rig import free_port


@pytest.fixture
async def url(database) -> str:
    return (await database("servers.orchestrator")).urls.app


async def test_one_process_holds_a_lease_until_it_gives_it_up(url: str) -> None:
    first, second = Lease(url, "work"), Lease(url, "work")
    assert await first.hold()
    assert await first.hold()
    assert not await second.hold()
    await first.close()
    assert await second.hold()
    assert not await first.hold()
    await first.close()
    await second.close()


async def test_leases_of_different_names_do_not_exclude_each_other(url: str) -> None:
    first, second = Lease(url, "work"), Lease(url, "other")
    assert await first.hold()
    assert await second.hold()
    await first.close()
    await second.close()


async def test_a_holder_whose_connection_was_cut_learns_who_holds_it_now(url: str) -> None:
    first, second = Lease(url, "work"), Lease(url, "work")
    assert await first.hold()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE application_name = '0711 lease' AND datname = current_database()"
    )
    await connection.close()
    assert await second.hold()
    with pytest.raises(Unavailable):
        await first.hold()
    assert not await first.hold()
    await second.close()
    assert await first.hold()
    await first.close()


async def test_a_database_that_is_away_says_nothing_about_the_holder() -> None:
    lease = Lease(f"postgresql://app@127.0.0.1:{free_port()}/platform", "work")
    with pytest.raises(Unavailable):
        await lease.hold()
    await lease.close()
