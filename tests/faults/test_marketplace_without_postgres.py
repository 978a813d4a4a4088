"""The marketplace while its Postgres is away, and after it has come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import Unavailable
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.migrations import migrate
from shared.postgres.provision import provision
from tests.marketplace_rig import Market, free_port, running_market


async def outcome(market: Market) -> tuple[int, int]:
    """The status of a token's request and of health."""
    health = await market.http.get(market.base + "/health")
    return (await market.ask_token(market.credential("orchestrator"))).status_code, health.status_code


@pytest.mark.requirement("F-02")
async def test_without_postgres_calls_end_retryable_and_work_again_once_it_is_back(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", free_port(), {"fsync": "off"})
    server.start()
    try:
        urls = (await provision(server.superuser_url, tmp_path))["user_registry"]
        for package in ("shared", "servers.marketplace"):
            await migrate(urls.owner, package)
        async with running_market(tmp_path, urls) as market:
            token, operator = await market.service(), await market.operator()
            assert await outcome(market) == (200, 200)
            server.stop()
            assert await outcome(market) == (503, 503)
            assert (await market.http.get(market.base + "/.well-known/jwks.json")).status_code == 200
            for tool in ("list_marketplace_mcps", "get_usage", "list_licences"):
                with pytest.raises(Unavailable):
                    await market.call(operator, tool)
            assert (await market.http.get(market.base + "/.well-known/ai-catalog.json")).status_code == 503
            server.start()
            assert await outcome(market) == (200, 200)
            await market.call(token, "list_marketplace_mcps")
            await market.call(operator, "get_usage")
    finally:
        server.remove()
