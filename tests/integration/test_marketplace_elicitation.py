"""Questions that servers put to callers during a call: passed through the gateway, in both eras and both ways."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult
from starlette.types import Receive, Scope, Send

from tests.integration.test_marketplace_lifecycle import ORDERS, approve
from tests.integration.test_marketplace_lifecycle import submit as submit_address
from tests.integration.test_marketplace_runners import PLAIN, SMALL, installed
from tests.marketplace_rig import Market, answer_json, running_market
from tests.stdio_server import server as small

ERAS = ["legacy", "2026-07-28"]
DOORS = {"alone": (f"/servers/{ORDERS}/mcp", ""), "together": ("/mcp", "com-example-orders__")}


class Upstream:
    """The official SDK's server over HTTP; `only_legacy`: one that knows nothing of the newer era."""

    def __init__(self, *, only_legacy: bool) -> None:
        self._only_legacy = only_legacy
        self._app = small.streamable_http_app()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._app.router.lifespan_context(self._app):
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = dict(scope["headers"])
        if self._only_legacy and told.get(b"mcp-protocol-version") == b"2026-07-28":
            await answer_json(send, {"error": "unsupported version"}, 400)
            return
        await self._app(scope, receive, send)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
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
    url = await market.add_app(Upstream(only_legacy=kind == "http legacy"))
    await submit_address(market, await market.operator(), url)
    await approve(market)
    token = await market.user_token("acme")
    await market.call(token, "install_mcp", server_name=ORDERS)
    return market, token


@asynccontextmanager
async def client_at(market: Market, token: str, mode: str, path: str, *, answers: bool = True) -> AsyncIterator[Any]:
    """The official SDK's client; it answers questions with a colour."""
    asked: list[str] = []

    async def on_question(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"colour": "red"})

    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60, verify=False) as http,
        Client(
            streamable_http_client(market.base + path, http_client=http), mode=mode,
            elicitation_callback=on_question if answers else None,
        ) as client,
    ):  # fmt: skip
        client.asked = asked
        yield client


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["http", "http legacy", "stdio"])
async def test_a_question_of_a_server_reaches_the_caller_and_its_answer_the_server(
    stack: AsyncExitStack, database: Any, tmp_path: Path, kind: str, mode: str, door: str
) -> None:
    if kind == "http legacy" and mode != "legacy":
        pytest.skip("the newer era is not translated for servers that ask in the older one: see the next test")
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
