"""The orchestrator over standard input and output, as Claude Code starts it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.serving_rig import envelope

DEADLINE_S = 240


async def ask(home: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of `0711 serve orchestrator --stdio`, in the order of the requests' ids."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "servers", "serve", "orchestrator", "--stdio", "--home", str(home),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("P0711_")} | PORTS,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    answers = []
    async with asyncio.timeout(DEADLINE_S):
        for request in requests:
            process.stdin.write(orjson.dumps(request) + b"\n")
            await process.stdin.drain()
            answers.append(orjson.loads(await process.stdout.readline()))
        process.stdin.close()
        await process.wait()
    return answers


PORTS = {"P0711_MARKETPLACE_PORT": "1", "P0711_CRADLE_PORT": "1"}  # nobody listens there


@pytest.mark.requirement("M-01", "M-03")
async def test_tools_are_listed_while_the_platform_is_down(tmp_path: Path) -> None:
    (answer,) = await ask(tmp_path, envelope("tools/list", {}))
    assert "initialize_customer" in {tool["name"] for tool in answer["result"]["tools"]}


@pytest.mark.requirement("M-04")
async def test_a_call_while_the_platform_is_down_says_how_to_start_it(tmp_path: Path) -> None:
    (answer,) = await ask(tmp_path, envelope("tools/call", {"name": "list_customers", "arguments": {}}))
    assert answer["result"]["isError"]
    assert "0711 up" in answer["result"]["content"][0]["text"]


@pytest.mark.requirement("M-01")
async def test_a_client_of_the_older_era_is_answered_too(tmp_path: Path) -> None:
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }  # fmt: skip
    (answer,) = await ask(tmp_path, hello)
    assert answer["result"]["protocolVersion"] == "2025-11-25"
    assert "initialize_customer" in answer["result"]["instructions"]
