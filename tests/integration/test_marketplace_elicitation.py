"""Questions that servers put to callers during a call: passed through the gateway, in both eras and both ways."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult
from starlette.types import Receive, Scope, Send

from tests.integration.test_marketplace_lifecycle import ORDERS, approve
from tests.integration.test_marketplace_lifecycle import submit as submit_address
from tests.integration.test_marketplace_runners import PLAIN, SMALL, installed
from tests.marketplace_rig import Market, answer_json, running_market
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for
from tests.stdio_server import server as small

ERAS = ["legacy", "2026-07-28"]
DOORS = {"alone": (f"/servers/{ORDERS}/mcp", ""), "together": ("/mcp", "com-example-orders__")}


class Upstream:
    """The official SDK's server over HTTP.

    Args:
        era: the one that it speaks; None: both.
    """

    def __init__(self, era: str | None) -> None:
        self._era = era
        self._app = small.streamable_http_app()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._app.router.lifespan_context(self._app):
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        era = "modern" if dict(scope["headers"]).get(b"mcp-protocol-version") == b"2026-07-28" else "legacy"
        if self._era not in {None, era}:
            await answer_json(send, {"error": "unsupported version"}, 400)
            return
        await self._app(scope, receive, send)


@pytest.fixture
async def stack(database: Any) -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as held:
        yield held


async def market_with(stack: AsyncExitStack, database: Any, home: Path, kind: str) -> tuple[Market, str]:
    """A marketplace with one server, and a token of a customer that has installed it."""
    made = await database("servers.marketplace", "shared")
    command = [sys.executable, PLAIN if kind == "stdio legacy" else SMALL]
    allowed = {"pypi:small@1.0": {"command": command, "variables": ["KEY"]}}
    market = await stack.enter_async_context(
        running_market(home, made.urls, runner_commands=allowed, runner_uid=0, runner_start_s=60.0)
    )
    await market.add_customers()
    if kind.startswith("stdio"):
        (token,) = await installed(market)
        return market, token
    url = await market.add_app(Upstream(kind.removeprefix("http").strip() or None))
    await submit_address(market, await market.operator(), url)
    await approve(market)
    token = await market.user_token("acme")
    await market.call(token, "install_mcp", server_name=ORDERS)
    return market, token


class Patient(httpx2.AsyncHTTPTransport):
    """Comes again where the gateway could not find out in time who is calling, as it asks callers to: of such a request
    nothing was read. On a machine with every processor taken the registry's three seconds pass."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        while True:
            response = await super().handle_async_request(request)
            if response.status_code != 503 or b"The registry does not answer now" not in await response.aread():
                return response
            await asyncio.sleep(float(response.headers["retry-after"]))


@asynccontextmanager
async def client_at(market: Market, token: str, mode: str, path: str, *, answers: bool = True) -> AsyncIterator[Any]:
    """The official SDK's client; it answers questions with a colour."""
    asked: list[str] = []

    async def on_question(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"colour": "red"})

    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=HANGS_S, transport=Patient()) as http,
        Client(
            streamable_http_client(market.base + path, http_client=http), mode=mode,
            elicitation_callback=on_question if answers else None,
        ) as client,
    ):  # fmt: skip
        client.asked = asked
        yield client


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["http", "http legacy", "http modern", "stdio"])
async def test_a_question_of_a_server_reaches_the_caller_and_its_answer_the_server(
    stack: AsyncExitStack, database: Any, tmp_path: Path, kind: str, mode: str, door: str
) -> None:
    market, token = await market_with(stack, database, tmp_path, kind)
    path, prefix = DOORS[door]
    async with client_at(market, token, mode, path) as client:
        result = await client.call_tool(prefix + "order", {"thing": "cable"})
        assert result.content[0].text == "red cable"
        assert client.asked == ["Which colour?"]
        assert (await client.call_tool(prefix + "say", {})).is_error is not True
    async with client_at(market, token, mode, path, answers=False) as client:
        with pytest.raises(Exception, match="licit"):  # one clear refusal, in the caller's own era
            assert_good(await client.call_tool(prefix + "order", {"thing": "cable"}))


def assert_good(result: Any) -> None:
    """Raise the text of a tool's error."""
    if result.is_error:
        raise AssertionError(result.content[0].text)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("mode", ERAS)
async def test_a_server_without_the_newer_era_asks_in_the_middle_of_a_call_and_what_is_not_passed_on_is_refused(
    stack: AsyncExitStack, database: Any, tmp_path: Path, mode: str, door: str
) -> None:
    market, token = await market_with(stack, database, tmp_path, "stdio legacy")
    path, prefix = DOORS[door]
    async with client_at(market, token, mode, path) as client:
        asked = await client.call_tool(prefix + "ask", {"method": "elicitation/create"})
        answer = orjson.loads(asked.content[0].text)
        assert (answer["action"], answer["content"]) == ("accept", {"colour": "red"})
        assert client.asked == ["Which colour?"]
        for method in ("sampling/createMessage", "roots/list"):
            refused = orjson.loads((await client.call_tool(prefix + "ask", {"method": method})).content[0].text)
            assert refused == {"code": -32601, "message": f"This client answers no {method}."}
    async with client_at(market, token, mode, path, answers=False) as client:
        asked = await client.call_tool(prefix + "ask", {"method": "elicitation/create"})
        assert orjson.loads(asked.content[0].text)["code"] == -32601


async def test_a_question_is_answered_by_who_was_asked_alone_and_a_paused_call_goes_on_as_it_began(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    market, token = await market_with(stack, database, tmp_path, "stdio legacy")
    other = await market.user_token("acme")

    async def call(token: str, **more: Any) -> dict[str, Any]:
        params = {"name": "ask", "arguments": {"method": "elicitation/create"}} | more
        body = envelope("tools/call", params)
        body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {"form": {}}}
        response = await market.http.post(
            f"{market.base}/servers/{ORDERS}/mcp", json=body, headers=headers_for(token, "tools/call", "ask")
        )
        return answer_of(response)

    asked = (await call(token))["result"]
    assert (asked["resultType"], list(asked["inputRequests"])) == ("input_required", ["question"])
    again = {
        "requestState": asked["requestState"],
        "inputResponses": {"question": {"action": "accept", "content": {"colour": "blue"}}},
    }
    for told, who in ((again, other), (again | {"arguments": {"method": "roots/list"}}, token)):
        assert "is over" in (await call(who, **told))["error"]["message"]
    done = (await call(token, **again))["result"]
    assert orjson.loads(done["content"][0]["text"])["content"] == {"colour": "blue"}
    assert done["resultType"] == "complete"
    assert "is over" in (await call(token, **again))["error"]["message"]  # used once
