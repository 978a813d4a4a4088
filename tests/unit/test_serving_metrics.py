"""What a scrape sees of a server's health and disk, by the route itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from shared.errors import Unavailable
from shared.serving.metrics import measured, metrics_route


def scraped(health: Callable[[], Awaitable[dict[str, Any]]] | None, home: Path) -> dict[str, float]:
    """Series with their labels → value, of this test's server."""
    app = Starlette(routes=[Route("/metrics", metrics_route(partial(measured, "tried", home, health)))])
    answer = TestClient(app, client=("127.0.0.1", 1)).get("/metrics")
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if 'server="tried"' in line]
    return {name: float(value) for name, _, value in lines}


async def test_a_scrape_sees_each_part_as_health_says_it(tmp_path: Path) -> None:
    async def health() -> dict[str, Any]:
        return {"status": "healthy", "dependencies": {"postgres": "healthy", "jobs": "starting"}}

    seen = scraped(health, tmp_path)
    assert seen['part_healthy{part="server",server="tried"}'] == 1
    assert seen['part_healthy{part="postgres",server="tried"}'] == 1
    assert seen['part_healthy{part="jobs",server="tried"}'] == 0
    assert seen['home_free_bytes{server="tried"}'] > 0


@pytest.mark.parametrize("failure", [Unavailable("away"), TimeoutError()])
async def test_a_health_that_cannot_be_told_is_none(tmp_path: Path, failure: Exception) -> None:
    async def health() -> dict[str, Any]:
        raise failure

    assert scraped(health, tmp_path / "not there")['part_healthy{part="server",server="tried"}'] == 0


async def test_a_server_that_says_nothing_of_its_health_is_healthy_while_it_answers(tmp_path: Path) -> None:
    assert scraped(None, tmp_path)['part_healthy{part="server",server="tried"}'] == 1
