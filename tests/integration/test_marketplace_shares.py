"""A server that several customers call: what one of them does there is not felt by another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from servers.marketplace.gateway import client, relay
from servers.marketplace.gateway.breaker import FAILURES
from servers.marketplace.tools.review import ServerReviewed
from shared.contracts.catalogue import CatalogueEntry
from tests.marketplace_rig import Market, answer_json, definition, listed
from tests.serving_rig import HANGS_S

CONNECTIONS = 4
SHARED = "com.example/shared"
PLACE = f"/servers/{SHARED}/mcp"


class Slow:
    """An upstream with one tool. It answers no call before it is told to, or each with a status, as the test says."""

    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)
        self.answers, self.status = asyncio.Event(), 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await listed(receive, send, [definition("say")]):
            return
        self.arrived.release()
        await self.answers.wait()
        result = {"resultType": "complete", "content": []}
        await answer_json(send, {"jsonrpc": "2.0", "id": 1, "result": result}, self.status)


@pytest.fixture
def market_settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """With few connections for each host, and calls that take longer than anything here waits for."""
    for module in (client, relay):
        monkeypatch.setattr(module, "CONNECTIONS_PER_HOST", CONNECTIONS)
    return {"call_deadline_s": 3 * HANGS_S}


async def shared_server(market: Market) -> tuple[Slow, str, str]:
    """A server of the catalogue that two customers have installed, and a token of each."""
    slow, operator = Slow(), await market.operator()
    told = {"server_name": SHARED, "title": "Shared", "description": "Says it.", "version": "1"}
    await market.call(operator, "submit_mcp", CatalogueEntry, **told, url=await market.add_app(slow))
    await market.call(operator, "review_mcp", CatalogueEntry, server_name=SHARED, state="review")
    seen = await market.call(operator, "check_mcp", ServerReviewed, server_name=SHARED)
    reviewed = {"state": "approved", "reviewed": seen.reviewed}
    await market.call(operator, "review_mcp", CatalogueEntry, server_name=SHARED, **reviewed)
    acme, bolt = [await market.user_token(name) for name in ("acme", "bolt")]
    for token in (acme, bolt):
        await market.call(token, "install_mcp", server_name=SHARED)
    return slow, acme, bolt


@pytest.mark.requirement("L-02")
async def test_a_customer_whose_calls_stay_open_leaves_connections_to_the_others(market: Market) -> None:
    slow, acme, bolt = await shared_server(market)
    held = [asyncio.create_task(market.post_call(acme, "say", PLACE)) for _ in range(CONNECTIONS // 2)]
    async with asyncio.timeout(HANGS_S):
        for _ in held:
            await slow.arrived.acquire()
        refused = await market.post_call(acme, "say", PLACE)
        theirs = asyncio.create_task(market.post_call(bolt, "say", PLACE))
        await slow.arrived.acquire()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    slow.answers.set()
    assert {answer.status_code for answer in await asyncio.gather(*held, theirs)} == {200}
    assert (await market.post_call(acme, "say", PLACE)).status_code == 200


async def test_calls_of_one_customer_that_a_server_fails_at_close_it_to_no_other(market: Market) -> None:
    slow, acme, bolt = await shared_server(market)
    slow.answers.set()
    slow.status = 500
    for _ in range(FAILURES):
        await market.post_call(acme, "say", PLACE)
    slow.status = 200
    refused = (await market.post_call(acme, "say", PLACE)).text
    assert "several times in a row" in refused
    assert "HTTP status 500" in refused
    assert (await market.post_call(bolt, "say", PLACE)).status_code == 200
