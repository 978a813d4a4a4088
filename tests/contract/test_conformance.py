"""The official conformance suite of MCP, on every server and through the relay: the scenarios that need no fixture.

It needs Node 22 or newer and the suite, npm's `@modelcontextprotocol/conformance@0.2.0-alpha.12`, named by
`CONFORMANCE="/path/to/node /path/to/node_modules/@modelcontextprotocol/conformance/dist/index.js"`.
The suite sends no token, so each server stands behind a door that adds one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace.app import build as build_marketplace
from shared.auth import Principal
from shared.settings import Settings
from tests.marketplace_rig import Market, free_port, listening, running_market
from tests.security.test_tokens_and_scopes import servers

COMMAND = shlex.split(os.environ.get("CONFORMANCE", ""))
SCENARIOS = {
    "2025-11-25": ["server-initialize", "ping", "tools-list", "dns-rebinding-protection"],
    "2026-07-28": ["server-stateless", "tools-list", "caching", "http-header-validation", "dns-rebinding-protection"],
}
NEEDS_FIXTURE = "Not testable"
"""How the suite says that a check needs a tool of its own, which these servers do not have."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.requirement("M-02"),
    pytest.mark.skipif(not COMMAND, reason="CONFORMANCE does not name Node and the official conformance suite"),
]


class Everyone:
    """Lets everyone in with these scopes."""

    def __init__(self, scopes: frozenset[str]) -> None:
        self._scopes = scopes

    async def verify(self, token: str) -> Principal:
        return Principal("usr_suite", "platform_admin", self._scopes, "acme", "key", 9e9)


def with_token(app: Any, token: str) -> ASGIApp:
    """The application, which gets this token with each request."""

    class Door:
        lifespan = staticmethod(app.lifespan)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            added = [*scope.get("headers", []), (b"authorization", f"Bearer {token}".encode())]
            await app({**scope, "headers": added}, receive, send)

    return Door()


async def failures(url: str, revision: str, scenario: str, folder: Path) -> list[str]:
    """What the suite says is wrong; it has to have checked something."""
    arguments = ["server", "--url", url, "--scenario", scenario, "--spec-version", revision, "-o", str(folder)]
    child = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await child.communicate()
    found = [json.loads(path.read_text()) for path in folder.rglob("checks.json")]  # noqa: ASYNC240
    checks = [check for each in found for check in each]
    assert checks, said.decode()[-2000:]
    wrong = [(check["id"], str(check.get("errorMessage"))) for check in checks if check["status"] == "FAILURE"]
    return [f"{scenario} {name}: {text}" for name, text in wrong if not text.startswith(NEEDS_FIXTURE)]


async def conforms(url: str, folder: Path, without: str = "") -> None:
    wrong = []
    for revision, scenarios in SCENARIOS.items():
        for scenario in (each for each in scenarios if each != without):
            wrong += await failures(url, revision, scenario, folder / f"{revision}-{scenario}")
    assert wrong == []


@pytest.mark.parametrize("name", ["orchestrator", "cradle", "instance"])
async def test_a_server_conforms(name: str, tmp_path: Path) -> None:
    server = servers(tmp_path)[name]
    scopes = frozenset(spec.scope for spec in server.mcp.specs.values())
    object.__setattr__(server._access, "verifier", Everyone(scopes))
    server._lifespan = None  # what the scenarios ask needs no database and no model
    port = free_port()
    async with listening(with_token(server.asgi(), "any"), port, Settings(home=tmp_path)):
        # An instance runs under whatever name its owner gives it, so it knows no wrong one; every call carries a key.
        without = "dns-rebinding-protection" if name == "instance" else ""
        await conforms(f"http://127.0.0.1:{port}/mcp", tmp_path / "results", without)


@asynccontextmanager
async def open_market(market: Market, token: str) -> AsyncIterator[str]:
    """A replica of the marketplace that needs no token; its address."""
    port = free_port()
    app = with_token(build_marketplace(market.settings, market.urls).asgi(), token)
    async with listening(app, port, market.settings):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def market(database: Any, tmp_path: Path) -> AsyncIterator[Market]:
    made = await database("servers.marketplace", "shared")
    async with running_market(tmp_path / "home", made.urls) as running:
        await running.add_customers()
        yield running


@pytest.mark.parametrize("through", [False, True], ids=["the marketplace itself", "through the relay"])
async def test_the_marketplace_conforms_and_so_does_a_server_behind_it(
    market: Market, tmp_path: Path, through: bool
) -> None:
    url, _ = await market.add_upstream()
    name = await market.add_instance("acme", url)
    token = await market.token(market.credential("operator"), customer="acme")
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_market(market, token))
        await conforms(f"{base}/servers/{name}/mcp" if through else f"{base}/mcp", tmp_path / "results")
