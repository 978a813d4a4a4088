"""A marketplace of several processes behind one port: to whoever calls it is one."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError
from prometheus_client.parser import text_string_to_metric_families

from servers.marketplace.gateway.quotas import Leases, Quotas
from servers.marketplace.runners.pool import Runners
from servers.marketplace.workers.counting import labelled, together
from servers.marketplace.workers.line import Line
from servers.marketplace.workers.supervisor import Supervisor
from servers.marketplace.workers.worker import Worker
from shared.auth import Principal
from shared.settings import Settings
from tests.integration.test_marketplace_elicitation import ERAS, Upstream, client_at
from tests.integration.test_marketplace_lifecycle import ORDERS, approve, keep_notifications_back, submit
from tests.integration.test_marketplace_runners import PLAIN, SMALL, installed, until
from tests.integration.test_marketplace_runners import said as package_says
from tests.marketplace_rig import Changing, Credential, definition
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for
from tests.workers_rig import Workers, workers_of

DOOR = f"/servers/{ORDERS}/mcp"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as held:
        yield held


async def market_in(stack: AsyncExitStack, database: Any, home: Path, **changes: Any) -> Workers:
    made = await database("servers.marketplace", "shared")
    market = await stack.enter_async_context(workers_of(home, made.urls, **changes))
    await market.add_customers()
    return market


async def customer_of(market: Workers, upstream: Any) -> str:
    """A token of a customer that has installed a server at this application."""
    await submit(market, await market.operator(), await market.add_app(upstream))
    await approve(market)
    token = await market.user_token("acme")
    await market.call(token, "install_mcp", server_name=ORDERS)
    return token


async def say(market: Workers, client: httpx2.AsyncClient, token: str, *, modern: bool = True) -> int:
    """The status of a call in either era."""
    path, name = (DOOR, "say") if modern else ("/mcp", "com-example-orders__say")
    body = envelope("tools/call", {"name": name, "arguments": {}})
    if not modern:
        body["params"].pop("_meta")
    headers = headers_for(token, "tools/call", name) if modern else headers_for(token)
    answer = await client.post(market.base + path, json=body, headers=headers)
    assert answer.status_code != 200 or "result" in answer_of(answer)
    return answer.status_code


async def metrics_of(market: Workers, client: httpx2.AsyncClient) -> dict[str, list[Any]]:
    text = (await client.get(market.base + "/metrics")).text
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family.samples for family in families}


@pytest.mark.requirement("M-01")
async def test_each_worker_serves_both_eras_and_tells_the_metrics_of_all(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    market = await market_in(stack, database, tmp_path)
    token = await customer_of(market, Upstream(None))
    clients = [await market.pinned(pid) for pid in market.pids]
    for calls, client in enumerate(clients, 2):
        assert [await say(market, client, token, modern=each % 2 == 0) for each in range(calls)] == [200] * calls
    for client in clients:
        told = await metrics_of(market, client)
        counted = {
            sample.labels["worker"]: sample.value for sample in told["calls"]
            if sample.name == "calls_total" and sample.labels["tool"] == "gateway" and sample.labels["code"] == "ok"
        }  # fmt: skip
        assert sorted(counted.values()) == [2, 3]
        assert {sample.labels["worker"] for sample in told["process_resident_memory_bytes"]} == {"0", "1"}
    assert {line["worker"] for line in market.events("serving")} == {0, 1}


async def test_connections_are_shared_out_evenly(stack: AsyncExitStack, database: Any, tmp_path: Path) -> None:
    import psutil

    market, each = await market_in(stack, database, tmp_path), 8
    clients = [await stack.enter_async_context(httpx2.AsyncClient(trust_env=False)) for _ in range(2 * each)]
    await asyncio.gather(*(client.get(market.base + "/health", timeout=60) for client in clients))
    open_ = Counter(
        connection.pid for connection in psutil.net_connections("tcp")
        if connection.status == "ESTABLISHED" and connection.laddr.port == market.settings.marketplace_port
    )  # fmt: skip
    assert sum(open_[pid] for pid in market.pids) >= 2 * each
    assert min(open_[pid] for pid in market.pids) >= each // 2


@pytest.mark.requirement("A-04")
async def test_what_was_changed_at_one_worker_counts_at_the_other_before_any_notification(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    market = await market_in(stack, database, tmp_path)
    operator, token = await market.operator(), await customer_of(market, Changing(definition("say")))
    user = await market.add_user("customer_admin", "acme", "short@acme.example")
    ends = await market.token(Credential(user.client_id, user.client_secret))
    await keep_notifications_back(market)
    clients = [await market.pinned(pid) for pid in market.pids]
    assert [await say(market, client, held) for client in clients for held in (token, ends)] == [200] * 4
    await market.call(operator, "disable_user", user_id=user.user_id)
    assert [await say(market, client, ends) for client in clients] == [401, 401]
    await market.call(token, "uninstall_mcp", server_name=ORDERS)
    assert [await say(market, client, token) for client in clients] == [404, 404]


async def test_a_caller_has_one_session_with_a_server_of_the_older_era_whichever_worker_it_asks(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    market, upstream = await market_in(stack, database, tmp_path), Changing(definition("say"), era="legacy")
    token = await customer_of(market, upstream)
    clients = [await market.pinned(pid) for pid in market.pids]
    before = len(upstream.sessions)
    assert [await say(market, client, token) for client in clients * 2] == [200] * 4
    assert len(upstream.sessions) == before + 1
    assert upstream.requests.count("tools/call") == 4


async def test_a_customer_has_one_process_of_a_package_whichever_worker_it_asks(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    allowed = {"pypi:small@1.0": {"command": [sys.executable, SMALL], "variables": ["KEY"]}}
    market = await market_in(
        stack, database, tmp_path, runner_commands=allowed, runner_uid=0, runner_start_s=60.0, runner_children=1
    )
    (token,) = await installed(market)
    told = []
    for pid in market.pids:
        market.http = await market.pinned(pid)
        told += [await package_says(market, token) for _ in range(2)]
    assert len({text.split(" ")[0] for text in told}) == 1


@pytest.mark.requirement("M-05")
async def test_a_caller_that_hangs_up_ends_its_call_whichever_worker_makes_it(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    allowed = {"pypi:small@1.0": {"command": [sys.executable, SMALL], "variables": ["KEY"]}}
    market = await market_in(
        stack, database, tmp_path, runner_commands=allowed, runner_uid=0, runner_start_s=60.0
    )  # fmt: skip
    (token,) = await installed(market)
    for pid in market.pids:
        market.http, notes = await market.pinned(pid), (tmp_path / f"started-{pid}", tmp_path / f"cancelled-{pid}")
        arguments = dict(zip(("started", "cancelled"), map(str, notes), strict=True))
        calling = asyncio.create_task(market.post_call(token, "wait", DOOR, **arguments))
        await until(notes[0].exists)
        assert not notes[1].exists()
        calling.cancel()
        await until(notes[1].exists)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["http legacy", "http modern", "stdio legacy"])
async def test_an_answer_finds_the_worker_that_holds_the_question(
    stack: AsyncExitStack, database: Any, tmp_path: Path, kind: str, mode: str
) -> None:
    """A caller answers over another connection, which the other worker takes: it has fewer."""
    allowed = {"pypi:small@1.0": {"command": [sys.executable, PLAIN], "variables": ["KEY"]}}
    market = await market_in(
        stack, database, tmp_path, runner_commands=allowed, runner_uid=0, runner_start_s=60.0
    )  # fmt: skip
    if kind == "stdio legacy":
        (token,), call = await installed(market), ("ask", {"method": "elicitation/create"})
    else:
        token, call = await customer_of(market, Upstream(kind.removeprefix("http "))), ("order", {"thing": "cable"})
    for path, prefix in ((DOOR, ""), ("/mcp", "com-example-orders__")):
        async with client_at(market, token, mode, path) as client:
            for asked in range(1, 4):
                try:
                    result = await client.call_tool(prefix + call[0], call[1])
                except MCPError as error:
                    error.add_note(market.log.read_text()[-4000:])
                    raise
                assert "red" in result.content[0].text
                assert client.asked == ["Which colour?"] * asked


def test_metrics_of_several_workers_are_one_exposition() -> None:
    text = b'# HELP a_total What.\n# TYPE a_total counter\na_total{code="{x}"} 1.0\n'
    text += b"# HELP b Bare.\n# TYPE b gauge\nb 2.0\n"
    assert together([labelled(text, 0), labelled(text, 1)]) == (
        b'# HELP a_total What.\n# TYPE a_total counter\na_total{worker="0",code="{x}"} 1.0\n'
        b'a_total{worker="1",code="{x}"} 1.0\n# HELP b Bare.\n# TYPE b gauge\nb{worker="0"} 2.0\nb{worker="1"} 2.0\n'
    )


def test_a_worker_with_more_connections_than_another_leaves_it_the_next_one() -> None:
    worker = Worker(2)
    assert worker.takes(0)
    assert not worker.takes(1)
    worker.number = 1
    assert worker.takes(0)
    assert worker.takes(1)
    assert not worker.takes(2)
    worker.has_ended(0)
    assert worker.takes(2)


def test_workers_together_may_have_few_times_what_one_has_of_connections_to_the_database() -> None:
    assert [Worker(count).share(8) for count in (1, 2, 4, 8, 16)] == [8, 8, 8, 4, 2]


async def test_workers_lease_smaller_blocks_so_that_a_limit_is_not_reached_much_early() -> None:
    asked: list[int] = []

    class Store(Leases):
        async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
            asked.append(block)
            return block, 60.0

    who = Principal("usr_1", "customer_admin", frozenset(), "acme", "key", 2**40)
    for workers in (1, 4):
        settings = Settings(calls_per_minute_user=800, marketplace_workers=workers)
        await Quotas(settings, Store()).take(who, "server", "say")
    assert (asked[0], asked[3]) == (40, 10)


def test_no_two_workers_run_packages_under_the_same_user_id() -> None:
    worker, nobody, given = Worker(3), object(), []
    for worker.number in range(3):
        given.append(Runners(Settings(runner_children=4), nobody, nobody, worker)._free)  # pyright: ignore
    assert given == [{0, 1, 2, 3}, {4}, {5}]


def test_a_worker_that_dies_as_the_others_are_let_go_on_does_not_take_the_supervisor_along() -> None:
    supervisor, lines = Supervisor(2, 30.0), [socket.socketpair() for _ in range(2)]
    try:
        for place, (end, there) in zip(supervisor._places, lines, strict=True):
            place.pid, place.end, place.reached = -1, end, 1
            there.settimeout(5)
        lines[0][1].close()
        supervisor._go_on()
        assert lines[1][1].recv(8) == b"."
    finally:
        supervisor.tidy()


async def test_a_worker_whose_supervisor_has_just_died_goes_on_to_its_end() -> None:
    here, there = socket.socketpair()
    line = Line(there)
    here.close()
    async with asyncio.timeout(HANGS_S), line.heard():
        await line.in_step()
        await line.in_step()
    line.failed("nobody hears it")
    assert line.alone
    assert line.stop.is_set()
