"""Workers of the marketplace that are killed, die again and again, cannot start, or are told to end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send

from servers.marketplace.tools.usage import Usage
from servers.marketplace.workers.supervisor import DEATHS
from shared.settings import Settings
from tests.integration.test_marketplace_runners import gone, until
from tests.marketplace_rig import answer_json, definition, free_port, listed
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for
from tests.workers_rig import WORKERS, Workers, supervised, workers_of

AT_EACH, BEFORE, AFTER = 3, 40, 40


class Slow:
    """An upstream whose answers wait until it is told; `begun` counts the calls that came."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await listed(receive, send, [definition("say")]):
            return
        self.begun += 1
        await self.go_on.wait()
        await answer_json(send, {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "content": []}})


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files of what a test starts."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
async def market(database: Any, tmp_path: Path, scratch: Path) -> AsyncIterator[Workers]:
    made = await database("servers.marketplace", "shared")
    async with workers_of(tmp_path, made.urls) as started:
        await started.add_customers()
        yield started


async def call(market: Workers, client: httpx2.AsyncClient, token: str, server: str) -> bool:
    """Whether a call was answered; False where its connection was lost."""
    body = envelope("tools/call", {"name": "say", "arguments": {}})
    try:
        answer = await client.post(
            f"{market.base}/servers/{server}/mcp", json=body, headers=headers_for(token, "tools/call", "say")
        )
    except httpx2.TransportError:
        return False
    assert answer.status_code == 200, answer.text
    return "result" in answer_of(answer)


@pytest.mark.requirement("L-05")
async def test_a_worker_that_is_killed_loses_its_running_calls_alone_and_is_replaced(market: Workers) -> None:
    upstream = Slow()
    upstream.go_on.set()
    server = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    killed, other = market.pids
    answered: dict[int, int] = {killed: 0, other: 0}
    lost: dict[int, int] = {killed: 0, other: 0}

    async def caller(pid: int, client: httpx2.AsyncClient) -> None:
        calls = 0
        while calls < BEFORE + AFTER:
            served = await call(market, client, token, server)
            calls += served
            answered[pid] += served
            lost[pid] += not served
            if served and pid == killed and answered[killed] == BEFORE:
                os.kill(killed, signal.SIGKILL)

    clients = [(pid, await market.pinned(pid)) for pid in market.pids for _ in range(AT_EACH)]
    async with asyncio.timeout(HANGS_S):
        await asyncio.gather(*(caller(pid, client) for pid, client in clients))
    assert lost[other] == 0
    assert 1 <= lost[killed] <= AT_EACH  # one call of each connection that it had; the next is made anew
    await until(lambda: len(market.pids) == WORKERS)
    assert killed not in market.pids
    (ended,) = market.events("worker_ended")
    assert (ended["code"], ended["level"]) == ("SIGKILL", "error")
    await until(lambda: len(market.events("serving")) == WORKERS + 1)
    counted = 0
    async with asyncio.timeout(HANGS_S):
        while counted < sum(answered.values()):  # what the dead one had noted is taken over by a living one
            counted = (await market.call(token, "get_usage", Usage)).total.calls
    assert counted - sum(answered.values()) <= AT_EACH  # answers that were on their way
    assert counted <= upstream.begun


@pytest.mark.requirement("F-11")
async def test_all_workers_are_not_ready_at_once_and_finish_what_runs_when_they_are_told_to_end(
    market: Workers,
) -> None:
    upstream = Slow()
    server = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    calls = [
        asyncio.create_task(call(market, await market.pinned(pid), token, server)) for pid in market.pids
    ]  # fmt: skip
    await until(lambda: upstream.begun == WORKERS)
    waiting = [await market.pinned(pid) for pid in market.pids]
    market.process.send_signal(signal.SIGTERM)
    for client in waiting:
        async with asyncio.timeout(HANGS_S):
            while (health := await client.get(market.base + "/health")).status_code == 200:
                pass  # the signal is on its way
        assert health.json() == {"status": "draining"}
    assert not any(each.done() for each in calls)
    upstream.go_on.set()
    assert await asyncio.gather(*calls) == [True] * WORKERS
    async with asyncio.timeout(HANGS_S):
        assert await market.process.wait() == 0
    assert {line.get("worker") for line in market.events("stopped")} == {0, 1, None}


async def test_a_worker_that_dies_again_and_again_ends_the_service_and_says_so(market: Workers) -> None:
    for deaths in range(1, DEATHS + 1):
        newest = max(psutil.Process(market.process.pid).children(), key=lambda each: each.create_time())
        newest.kill()  # one of both at first, then always the one in its place
        await until(lambda: len(market.events("worker_ended")) == deaths)  # noqa: B023  # awaited here
        if deaths < DEATHS:
            await until(lambda: len(market.events("serving")) == WORKERS + deaths)  # noqa: B023
    async with asyncio.timeout(HANGS_S):
        assert await market.process.wait() == 2
    last = market.log.read_text().splitlines()[-1]
    assert re.match(rf"0711: Worker \d of the marketplace has ended {DEATHS} times within a minute", last)
    assert "SIGKILL" in last


async def test_a_worker_that_cannot_run_says_why_and_nothing_goes_on_without_it(
    database: Any, tmp_path: Path, scratch: Path
) -> None:
    made = await database("servers.marketplace", "shared")
    async with workers_of(tmp_path, made.urls) as market:
        market.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(HANGS_S):
            assert await market.process.wait() == 0
    (key,) = (tmp_path / "keys" / "signing").glob("*.pem")
    key.write_text("no key")
    log, settings = tmp_path / "second", Settings(home=tmp_path, marketplace_port=free_port(), marketplace_workers=2)
    async with supervised(settings, log) as process, asyncio.timeout(HANGS_S):
        assert await process.wait() == 2
    assert log.read_text().splitlines()[-1].startswith(f"0711: The key {key} is damaged.")
    assert os.listdir(scratch) == []  # noqa: PTH208  # the folder of the workers' sockets is gone


async def test_neither_a_worker_nor_a_folder_is_left_over_when_the_supervisor_is_killed(
    market: Workers, scratch: Path
) -> None:
    workers = market.pids
    assert len(os.listdir(scratch)) == 1  # noqa: PTH208
    assert psutil.Process(market.process.pid).num_threads() == 1  # or a fork could stop in the middle of another's work
    market.process.kill()
    await gone(*workers)
    assert os.listdir(scratch) == []  # noqa: PTH208


async def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        other = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        await stack.enter_async_context(other)
        port = other.sockets[0].getsockname()[1]
        settings = Settings(home=tmp_path, marketplace_port=port, marketplace_workers=2)
        async with supervised(settings, tmp_path / "log") as process, asyncio.timeout(HANGS_S):
            assert await process.wait() == 2
    assert (tmp_path / "log").read_text() == (
        f"0711: Port {port} is in use: stop what listens there, or set P0711_MARKETPLACE_PORT to another.\n"
    )


async def test_a_worker_that_hangs_is_killed_and_replaced_and_is_missed_meanwhile(
    database: Any, tmp_path: Path, scratch: Path
) -> None:
    made = await database("servers.marketplace", "shared")
    async with workers_of(tmp_path, made.urls, marketplace_worker_silence_s=10.0) as market:
        hung, other = market.pids
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: len(market.events("worker_ended")) == 1)
        (told,), (ended,) = market.events("worker_hangs"), market.events("worker_ended")
        assert (told["worker"], told["level"]) == (ended["worker"], "error")
        await until(lambda: len(market.events("serving")) == WORKERS + 1)
        assert other in market.pids
        assert hung not in market.pids
        async with asyncio.timeout(HANGS_S):
            while (health := (await market.http.get(market.base + "/health")).json())["workers"]["serving"] < WORKERS:
                assert health["dependencies"]["workers"] == f"{health['workers']['serving']} of {WORKERS}"
        assert health["dependencies"]["workers"] == "healthy"
        exposed = (await market.http.get(market.base + "/metrics")).text
        replaced = {
            (each.labels["worker"], each.labels["reason"]): each.value
            for family in text_string_to_metric_families(exposed) if family.name == "workers_replaced"
            for each in family.samples if each.name == "workers_replaced_total"
        }  # fmt: skip
        assert {key: value for key, value in replaced.items() if value} == {(str(told["worker"]), "hung"): 1.0}
        assert len(replaced) == 2 * WORKERS
