"""Arguments derived from each tool's own schema, right and wrong, against every server as it runs.

`SCHEMA_CASES=10000 make test TEST=tests/e2e/test_schema_cases.py` sends ten thousand to each tool; a usual run
sends a few, another set on each day. `SCHEMA_TOOLS=embed,ocr` asks these alone, and `--log-cli-level=INFO` shows
each tool as it is done.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from servers.cradle.images.running import RunningInstance
from servers.marketplace.catalogue.own import FIRST_PARTY
from shared.client import StaticKey
from shared.serving.failures import META
from tests.e2e.conftest import Running
from tests.e2e.test_servers import EVERY, a_customer_without_files, address_of, operator_tokens
from tests.schema_cases import Case, cases_of
from tests.serving_rig import envelope, headers_for

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("SCHEMA_CASES", "40"))
SEED = int(os.environ.get("SCHEMA_SEED", datetime.date.today().toordinal()))
TOOLS = frozenset(filter(None, os.environ.get("SCHEMA_TOOLS", "").split(",")))
AT_ONCE = 8
BY_APPROVAL = frozenset({"propose_change", "show_change", "apply_change"})
"""Tools of an instance whose scope its key has not: only the marketplace calls them, so each case ends at the door.
`tests/integration/test_marketplace_approvals_cases.py` sends cases as the marketplace does."""
LOG = logging.getLogger(__name__)
Send = Callable[[str, Case], Awaitable[tuple[int, Any]]]


def body_of(tool: str, case: Case) -> bytes:
    """The request; what UTF-8 cannot hold goes as JSON's escapes."""
    return json.dumps(envelope("tools/call", {"name": tool, "arguments": case})).encode()


def said(answer: bytes) -> Any:
    lines = [line[5:] for line in answer.splitlines() if line.startswith(b"data:")]
    return orjson.loads(lines[-1] if lines else answer)


def fault_of(status: int, message: Case) -> str | None:
    """Why an answer is none that a caller should ever get."""
    text = orjson.dumps(message).decode()
    if status >= 500 or status in {401, 403}:  # a caller who is let in no more has shown nothing
        return f"HTTP {status}"
    if "Traceback" in text or '.py"' in text:
        return "a traceback"
    if message.get("error", {}).get("code") == -32603 or '"code":"internal"' in text:
        return "an internal error"
    return None


async def faults_of(send: Send, tool: str, cases: list[Case]) -> list[tuple[str, Case]]:
    """The cases whose answers nobody should get, with the reason."""
    gate, found = asyncio.Semaphore(AT_ONCE), []

    async def ask(case: Case) -> None:
        async with gate:
            status, message = await send(tool, case)
            while (wait_s := message.get("result", {}).get("_meta", {}).get(META, {}).get("retry_after")) is not None:
                await asyncio.sleep(wait_s)
                status, message = await send(tool, case)
        if (fault := fault_of(status, message)) is not None:
            found.append((fault, case))

    await asyncio.gather(*(ask(case) for case in cases))
    LOG.info("%s: %d cases, %d faults", tool, len(cases), len(found))
    return found


async def tools_of(session: aiohttp.ClientSession, url: str, key: str) -> list[Case]:
    """Every tool of a server, page after page."""
    tools, cursor = [], None
    while True:
        body = orjson.dumps(envelope("tools/list", {"cursor": cursor} if cursor else {}))
        async with session.post(url, data=body, headers=headers_for(key, "tools/list")) as answer:
            result = said(await answer.read())["result"]
        tools += result["tools"]
        cursor = result.get("nextCursor")
        if cursor is None:
            return tools


@pytest.mark.requirement("I-01", "I-04")
@pytest.mark.parametrize("server", EVERY)
async def test_no_argument_makes_a_tool_crash(
    platform: Running, instance: RunningInstance, session: aiohttp.ClientSession, server: str
) -> None:
    url = instance.url if server == "instance" else address_of(platform.settings, server)
    keys = StaticKey(instance.access_key) if server == "instance" else operator_tokens(platform.settings)
    for_a_customer = server == "cradle" or server in FIRST_PARTY
    acting_for = await a_customer_without_files(platform.settings) if for_a_customer else None

    async def send(tool: str, case: Case) -> tuple[int, Any]:
        headers = headers_for(await keys.token(url, acting_for), "tools/call", tool)
        async with session.post(url, data=body_of(tool, case), headers=headers) as answer:
            return answer.status, said(await answer.read())

    faults = {}
    for tool in await tools_of(session, url, await keys.token(url, acting_for)):
        if TOOLS and tool["name"] not in TOOLS:
            continue
        if server == "instance" and tool["name"] in BY_APPROVAL:
            assert (await send(tool["name"], {}))[0] == 403
            continue
        cases = cases_of(tool["inputSchema"], CASES, SEED)
        if found := await faults_of(send, tool["name"], cases):
            faults[tool["name"]] = found[:3]
    assert not faults, faults
    log = platform.settings.home / "logs" / f"{'marketplace' if server in FIRST_PARTY else server}.log"
    assert server == "instance" or b"unexpected_error" not in log.read_bytes()
