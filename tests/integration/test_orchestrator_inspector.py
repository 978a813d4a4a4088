"""The MCP Inspector's command line with the `.mcp.json` of `0711 connect`, as it was written.

It needs Node 22 or newer and npm's `@modelcontextprotocol/inspector@2.12.0`, named by
`INSPECTOR="/path/to/node /path/to/node_modules/.bin/mcp-inspector"`.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import ROOT
from tests.orchestrator_rig import databases_of, put_onboarded, running_rig, settings_in

COMMAND = shlex.split(os.environ.get("INSPECTOR", ""))
PORTS = ("orchestrator_port", "marketplace_port", "cradle_port")
DEADLINE_S = 240
pytestmark = [
    pytest.mark.slow,
    pytest.mark.requirement("M-07"),
    pytest.mark.skipif(not COMMAND, reason="INSPECTOR does not name Node and the MCP Inspector"),
]


async def run(folder: Path, *command: str, **settings: str) -> bytes:
    """The output of a command in a folder, with these settings and no other ones."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("P0711_")} | settings
    child = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment | {"PYTHONPATH": str(ROOT), "MCP_INSPECTOR_SECRET_STORE": "memory"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        out, error = await child.communicate()
    assert child.returncode == 0, (out + error).decode()[-2000:]
    return out


async def test_the_inspector_lists_and_calls_tools_with_what_connect_wrote(database: Any, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "project"
    folder.mkdir()
    settings = settings_in(home)
    async with running_rig(settings, await databases_of(database)) as rig:
        await put_onboarded(rig.store, "muster")
        ports = {f"P0711_{name.upper()}": str(getattr(settings, name)) for name in PORTS}
        await run(folder, sys.executable, "-m", "servers", "connect", "--write", "--home", str(home), **ports)
        inspect = (*COMMAND, "--cli", "--config", ".mcp.json", "--server", "0711", "--format", "json", "--method")
        listed = orjson.loads(await run(folder, *inspect, "tools/list"))["result"]["tools"]
        own = (await rig.request("tools/list", {}, None))["result"]["tools"]
        assert [tool["name"] for tool in listed] == [tool["name"] for tool in own]
        called = orjson.loads(await run(folder, *inspect, "tools/call", "--tool-name", "list_customers"))["result"]
        assert [line["customer_id"] for line in called["structuredContent"]["customers"]] == ["muster"]
