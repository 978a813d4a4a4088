"""Servers over stdio: run as bounded children, only when and as the operator allows, and called like any other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from servers.marketplace.runners.package import Package, package_of
from servers.marketplace.tools.connections import Connected
from servers.marketplace.tools.review import ServerReviewed
from servers.marketplace.tools.usage import Usage
from shared.contracts.catalogue import CatalogueEntry
from shared.errors import Conflict, InvalidInput, NotFound, Unavailable
from tests.integration.test_marketplace_lifecycle import ORDERS, approve, refusal
from tests.marketplace_rig import Credential, Market, running_market

SMALL = str(Path(__file__).parents[1] / "stdio_server.py")
PLAIN = str(Path(__file__).parents[1] / "plain_stdio_server.py")
ERAS = ["legacy", "2026-07-28"]
Running = Callable[..., Any]


@pytest.fixture
async def running(database: Any, tmp_path: Path) -> AsyncIterator[Running]:
    """Starts a marketplace whose operator allows one command, for the package `pypi:small@1.0`."""
    made = await database("servers.marketplace", "shared")
    async with AsyncExitStack() as stack:

        async def start(*command: str, told: dict[str, Any] | None = None, **changes: Any) -> Market:
            command = command or (sys.executable, PLAIN)
            allowed = {"pypi:small@1.0": {"command": command, "variables": ["KEY"], **(told or {})}}
            settings = {"runner_commands": allowed, "runner_uid": 0, "runner_start_s": 60.0, **changes}
            market = await stack.enter_async_context(running_market(tmp_path, made.urls, **settings))
            await market.add_customers()
            return market

        yield start


def package(**changes: Any) -> dict[str, Any]:
    """As in a server.json."""
    return {
        "registryType": "pypi", "identifier": "small", "version": "1.0", "transport": {"type": "stdio"},
        "environmentVariables": [{"name": "KEY", "isSecret": True, "description": "A key."}],
    } | changes  # fmt: skip


async def submit(market: Market, token: str, **changes: Any) -> CatalogueEntry:
    told = {"server_name": ORDERS, "title": "Small", "description": "Small.", "version": "1.0", "package": package()}
    return await market.call(token, "submit_mcp", CatalogueEntry, **(told | changes))


async def installed(market: Market, *customers: str) -> list[str]:
    """The package is approved and installed; a token of each customer."""
    await submit(market, await market.operator())
    await approve(market)
    tokens = [await market.user_token(customer) for customer in customers or ("acme",)]
    for token in tokens:
        await market.call(token, "install_mcp", server_name=ORDERS)
    return tokens


@asynccontextmanager
async def sdk_client(market: Market, token: str, mode: str, path: str = f"/servers/{ORDERS}/mcp") -> Any:
    async with httpx2.AsyncClient(
        headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=60, verify=False
    ) as http:
        async with Client(streamable_http_client(market.base + path, http_client=http), mode=mode) as client:
            yield client


async def said(market: Market, token: str, tool: str = "say", **arguments: Any) -> str:
    """The text that a tool answers, through the gateway."""
    response = await market.post_call(token, tool, f"/servers/{ORDERS}/mcp", **arguments)
    assert response.status_code == 200, response.text
    lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
    answer = orjson.loads(lines[-1].removeprefix("data: "))
    return answer["result"]["content"][0]["text"] if "result" in answer else f"error: {answer['error']['message']}"


async def gone(*pids: int) -> None:
    """Wait until none of these processes is there; a zombie is none."""
    async with asyncio.timeout(30):
        while any(map(alive, pids)):
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


async def until(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("server", [SMALL, PLAIN], ids=["both-eras", "legacy-only"])
async def test_a_package_is_called_in_both_eras_and_listed_from_what_was_approved(
    running: Running, mode: str, server: str
) -> None:
    market = await running(sys.executable, server)
    (token,) = await installed(market)
    async with sdk_client(market, token, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        first, second = await client.call_tool("say", {}), await client.call_tool("say", {})
    assert tools[0] == "say"
    assert first.content == second.content  # one process
    async with sdk_client(market, token, mode, "/mcp") as client:
        again = await client.call_tool("com-example-orders__say", {})
    assert again.content == first.content
    usage = await market.call(token, "get_usage", Usage)
    assert usage.total.calls == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_errors_and_cancellation_of_a_package_pass_through(
    running: Running, mode: str, tmp_path: Path
) -> None:
    market = await running(sys.executable, SMALL)
    (token,) = await installed(market)
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, note: str | None) -> None:
        told.append((done, total, note))

    async with sdk_client(market, token, mode) as client:
        result = await client.call_tool("count", {"steps": 3}, progress_callback=on_progress)
        assert result.content[0].text == "3"
        assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
        assert (await client.call_tool("fail", {})).is_error
        started, cancelled = tmp_path / "started", tmp_path / "cancelled"
        call = asyncio.create_task(client.call_tool("wait", {"started": str(started), "cancelled": str(cancelled)}))
        await until(started)
        call.cancel()
        await until(cancelled)
        await asyncio.gather(call, return_exceptions=True)
        assert (await client.call_tool("count", {"steps": 1})).content[0].text == "1"  # the same process goes on
