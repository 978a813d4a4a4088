"""What a server over stdio may take and leave: memory, processes, files and time, and nothing when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from servers.marketplace.bootstrap import bootstrap
from shared.postgres.urls import write
from shared.settings import Settings
from tests.integration.test_marketplace_runners import PLAIN, Running, alive, gone, installed, running, said, until
from tests.marketplace_rig import Market, free_port
from tests.serving_rig import HANGS_S

__all__ = ["running"]


async def test_a_process_whose_guard_is_killed_ends_too(running: Running, tmp_path: Path) -> None:
    market = await running()
    (token,) = await installed(market)
    seen = orjson.loads(await said(market, token, "surroundings"))
    pid = int((await said(market, token)).split(" ")[0])
    os.kill(seen["parent"], signal.SIGKILL)
    await gone(seen["parent"], pid)
    await until(lambda: not os.path.lexists(seen["cwd"]))


@pytest.mark.parametrize("tool", ["hog", "hog_together", "forks"])
async def test_a_process_that_takes_too_much_is_ended_and_the_marketplace_serves_on(
    running: Running, tool: str, tmp_path: Path
) -> None:
    market = await running(runner_memory_mb=200)
    (token,) = await installed(market)
    before = int((await said(market, token)).split(" ")[0])
    arguments = {"hog_together": {"each_mb": 90}, "forks": {"note": str(tmp_path / "note")}}.get(tool, {})
    answer = await said(market, token, tool, **arguments)
    why = {"hog": "ended", "hog_together": "P0711_RUNNER_MEMORY_MB", "forks": "too many processes"}[tool]
    assert answer.startswith("error")
    assert why in answer
    await gone(before)
    assert int((await said(market, token)).split(" ")[0]) != before


async def test_a_process_that_hangs_costs_one_call_its_deadline_and_is_then_replaced(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.marketplace.runners.child.STILL_THERE_S", 0.5)
    market = await running(call_deadline_s=10.0)
    (token,) = await installed(market)
    before = int((await said(market, token)).split(" ")[0])
    assert "in time" in await said(market, token, "hang")
    await gone(before)
    assert int((await said(market, token)).split(" ")[0]) != before


SERVE = """
import asyncio, json, sys
from servers.marketplace.app import build
from shared.serving import serve
from shared.settings import Settings
settings = Settings(**json.load(sys.stdin))
asyncio.run(serve([(build(settings).asgi(), settings.marketplace_port)], settings, "marketplace"))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_when_the_marketplace_is_killed_nothing_that_it_started_stays(
    database: Any, tmp_path: Path, how: signal.Signals
) -> None:
    made = await database("servers.marketplace", "shared")
    allowed = {"pypi:small@1.0": {"command": [sys.executable, PLAIN], "variables": ["KEY"]}}
    told = {"home": str(tmp_path), "marketplace_port": free_port(), "runner_commands": allowed, "runner_uid": 0}
    settings = Settings(**told)
    write(tmp_path, {"user_registry": made.urls})
    await bootstrap(settings)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVE, stdin=asyncio.subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(told))
        process.stdin.close()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=HANGS_S, verify=False))
            market = Market(settings, made.urls, http, stack)
            await healthy(market)
            await market.add_customers()
            (token,) = await installed(market)
            seen = orjson.loads(await said(market, token, "surroundings"))
            await said(market, token, "leave", note=str(tmp_path / "note"))
        server, left = map(int, (tmp_path / "note").read_text().split())
        assert alive(server)
        assert alive(left)
        process.send_signal(how)
        await process.wait()
        await gone(seen["parent"], server, left)
        await until(lambda: not os.path.lexists(seen["cwd"]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def healthy(market: Market) -> None:
    async with asyncio.timeout(HANGS_S):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if (await market.http.get(market.base + "/health")).status_code == 200:
                    return
            await asyncio.sleep(0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a process another user")
async def test_as_root_each_process_has_a_user_of_its_own_that_reads_no_key_and_starts_few_processes(
    running: Running, tmp_path: Path
) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no python3 that another user can run")
    folder = Path(tempfile.mkdtemp(prefix="0711-test-"))
    try:
        folder.chmod(0o755)  # noqa: ASYNC240
        script = shutil.copy(PLAIN, folder)
        market = await running(python, script, runner_uid=64_711)
        acme, bolt = await installed(market, "acme", "bolt")
        mine, theirs = [orjson.loads(await said(market, token, "surroundings")) for token in (acme, bolt)]
        assert len({mine["uid"], theirs["uid"], 0}) == 3
        assert min(mine["uid"], theirs["uid"]) >= 64_711
        (key,) = (market.settings.home / "keys" / "connections").glob("*.key")
        key.parents[2].chmod(0o755)
        assert "Permission" in await said(market, acme, "read", file=str(key))
        assert "Permission" in await said(market, acme, "read", file=f"/proc/{os.getpid()}/environ")
        assert "ended" in await said(market, acme, "forks", note=str(tmp_path / "note"))
        assert not (tmp_path / "note").exists()
    finally:
        shutil.rmtree(folder)


async def test_a_file_has_a_bound_too(running: Running) -> None:
    market = await running()
    (token,) = await installed(market)
    assert await said(market, token, "fills") == "File too large"
