"""F-11 on a whole platform: what `0711 up` is told by SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from servers.local.status import status
from shared.contracts.embedding import EmbeddingResult
from tests.e2e.conftest import Running, platform_in
from tests.e2e.test_servers import token_for

pytestmark = pytest.mark.slow

ENDED_S = 45
"""Three servers, one after the other, each of which may drain for up to 20 s; what runs here takes a few."""
LOADED_S = 120
CALLS, TEXTS = 4, 16
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


async def ready(http: httpx2.AsyncClient, url: str) -> bool:
    """Whether a server says that it takes calls."""
    try:
        return (await http.get(f"{url}/health")).status_code == 200
    except httpx2.HTTPError:
        return False


async def embedded_over_mcp(platform: Running, number: int) -> int:
    texts = [f"Anfrage {number}, Text {each}: " + "Die Leuchte hat die Schutzart IP66. " * 12 for each in range(TEXTS)]
    answer = await platform.agent.orchestrator("embed", {"texts": texts}, EmbeddingResult)
    return answer.count


async def embedded_over_rest(http: httpx2.AsyncClient, url: str, headers: dict[str, str], number: int) -> int:
    texts = [f"Anfrage {number}, Text {each}: " + "Die Klemme hält 6 A. " * 16 for each in range(TEXTS)]
    answer = await http.post(url, json={"input": texts, "model": MODEL}, headers=headers)
    assert answer.status_code == 200, answer.text[:300]
    return len(answer.json()["data"])


@pytest.mark.requirement("F-11")
async def test_a_platform_that_is_told_to_end_is_not_ready_at_once_and_finishes_what_runs(
    tmp_path: Path, made_before: dict[str, Path]
) -> None:
    up = platform_in(tmp_path / "home", tmp_path, made_before)
    async with up as platform, httpx2.AsyncClient(timeout=60) as http:
        settings = platform.settings
        doors = [settings.url(name) for name in ("orchestrator", "marketplace", "cradle")]
        assert all([await ready(http, url) for url in doors])
        async with asyncio.timeout(LOADED_S):
            while not (await status(settings))[1]:  # noqa: ASYNC110  # the model is still being loaded
                await asyncio.sleep(0.5)
        bearer = {"authorization": f"Bearer {await token_for(settings, settings.resource('marketplace'))}"}
        calls = [asyncio.create_task(embedded_over_mcp(platform, each)) for each in range(CALLS)]
        route = f"{settings.url('marketplace')}/v1/embeddings"
        calls += [asyncio.create_task(embedded_over_rest(http, route, bearer, each)) for each in range(CALLS)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        platform.process.send_signal(signal.SIGTERM)
        while await ready(http, doors[0]):
            pass  # the signal is on its way
        running = [each for each in calls if not each.done()]
        assert running, "every call was over before the platform was told"
        assert await asyncio.gather(*calls) == [TEXTS] * len(calls)
        async with asyncio.timeout(ENDED_S):
            assert await platform.process.wait() == 0
        assert not any([await ready(http, url) for url in doors])
