"""Metered units equal served units while the marketplace is killed again and again (kill -9, no warning)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from servers.marketplace.bootstrap import bootstrap
from servers.marketplace.metering.store import UsageStore
from servers.marketplace.tools.usage import MonthlyStatement, Usage
from shared.contracts.usage import UsageRecorded
from shared.ids import new_handle
from shared.metering.meter import Meter
from shared.metering.spool import Spool
from shared.metering.units import CRADLE, Units
from shared.postgres.urls import write
from shared.settings import Settings
from tests.conftest import ROOT
from tests.marketplace_rig import Changing, Market, definition, free_port, running_market
from tests.serving_rig import HANGS_S, answer_of
from tests.unit.test_metering import SAY

PROCESS = """
import asyncio, pathlib, sys
from servers.marketplace.app import build
from shared.serving import serve
from shared.settings import Settings
home, port = sys.argv[1:]
settings = Settings(home=pathlib.Path(home), marketplace_port=int(port), log_level="ERROR")
app = build(settings).asgi()
ready = lambda *_: print("ready", flush=True)
asyncio.run(serve([(app, int(port))], settings, "marketplace", on_ready=ready))
"""
AT_ONCE = 4


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[Any]:
    """The marketplace as a process of its own; it is killed at the end of the block."""
    args = [str(settings.home), str(settings.marketplace_port)]
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, *args, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert started.stdout is not None
    try:
        async with asyncio.timeout(HANGS_S):
            assert await started.stdout.readline() == b"ready\n"
        yield started
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGKILL)
        await started.wait()


async def call(market: Market, token: str, server: str) -> bool:
    try:
        answer = await market.post_call(token, "say", f"/servers/{server}/mcp")
    except httpx2.TransportError:
        return False
    return answer.status_code == 200 and "result" in answer_of(answer)


async def metered(market: Market, token: str) -> int:
    return (await market.call(token, "get_usage", Usage)).total.calls


@pytest.mark.requirement("L-05")
@pytest.mark.slow
async def test_metered_calls_equal_served_calls_across_kills(database: Any, tmp_path: Path) -> None:
    urls = (await database("servers.marketplace", "shared")).urls
    settings, upstream = Settings(home=tmp_path, marketplace_port=free_port()), Changing(definition("say"))
    write(tmp_path, {"user_registry": urls})
    await bootstrap(settings)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=HANGS_S))
        market = Market(settings, urls, http, stack)
        async with process(settings):
            await market.add_customers()
            server = await market.add_instance("acme", await market.add_app(upstream))
            token = await market.user_token("acme")
            assert all([await call(market, token, server) for _ in range(25)])
        answered = 25  # killed while idle, before the first batch had to be written: nothing is lost
        async with process(settings):
            assert await metered(market, token) == answered
        async with process(settings):  # a kill right after a flush: nothing is counted twice
            assert await metered(market, token) == answered
            answered += await killed_under_load(market, token, server, stack)
        async with process(settings):
            counted = await metered(market, token)
            served = upstream.requests.count("tools/call")
            assert answered <= counted <= served
            assert counted - answered <= AT_ONCE  # answers that were on their way when it was killed
            assert await metered(market, token) == counted


async def killed_under_load(market: Market, token: str, server: str, stack: AsyncExitStack) -> int:
    """Calls at once, with the process killed by its port after a few dozen answers; how many were answered."""
    import psutil

    answers = 0
    (owner,) = {
        each.pid for each in psutil.net_connections("tcp")
        if each.status == "LISTEN" and each.laddr.port == market.settings.marketplace_port
    }  # fmt: skip

    async def client() -> None:
        nonlocal answers
        while await call(market, token, server):
            answers += 1
            if answers == 60:
                psutil.Process(owner).kill()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    assert answers >= 60
    return answers


@pytest.mark.requirement("L-05")
async def test_a_batch_that_was_added_before_a_crash_is_not_added_again(database: Any, tmp_path: Path) -> None:
    made = await database("servers.marketplace", "shared")
    await with_customer(made.db)
    spool, store = Spool(tmp_path), UsageStore(made.db)
    Meter(spool, store).served(SAY.customer, SAY.server, SAY.tool, Units(calls=3, bytes=9))
    spool.detach()()
    (batch,) = spool.batches()
    assert await store.add(batch.batch_id, batch.sums())  # and here the process died: the file is still there
    await Meter(Spool(tmp_path), store).flush()
    assert list(spool.batches()) == []
    async with made.db.session("acme") as connection:
        assert await connection.fetchval("SELECT sum(calls) FROM usage") == 3
    async with made.db.session("bolt") as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage") == 0


@pytest.mark.requirement("L-05")
async def test_usage_that_another_server_counted_is_added_once_and_kept_names_are_never_forgotten(
    database: Any, tmp_path: Path
) -> None:
    made = await database("servers.marketplace", "shared")
    async with running_market(tmp_path, made.urls) as market:
        await market.add_customers()
        service, batches = await market.service(), {True: new_handle("use"), False: new_handle("use")}
        line = {"customer_id": "acme", "day": "2026-11-26", "tool": "process_documents", "calls": 1, "tokens": 700}
        for kept, batch_id in batches.items():
            for added in (True, False):
                told = await market.call(
                    service, "record_usage", UsageRecorded, batch_id=batch_id, lines=[line], kept=kept
                )
                assert told.added is added
        async with made.db.session(platform=True) as connection:
            await connection.execute("UPDATE usage_batches SET added_at = added_at - interval '91 days'")
        await market.call(service, "record_usage", UsageRecorded, batch_id=new_handle("use"), lines=[])
        again = await market.call(
            service, "record_usage", UsageRecorded, batch_id=batches[True], lines=[line], kept=True
        )
        assert not again.added
        async with made.db.session(platform=True) as connection:
            left = {row["batch_id"] for row in await connection.fetch("SELECT batch_id FROM usage_batches")}
            rows = await connection.fetch("SELECT customer_id, server_name, tool, calls, tokens FROM usage")
        assert batches[True] in left
        assert batches[False] not in left
        assert [tuple(row) for row in rows] == [("acme", CRADLE, "process_documents", 2, 1400)]
        answer = await market.post_call(await market.operator(), "record_usage", batch_id=new_handle("use"), lines=[])
        assert answer.status_code == 403


async def with_customer(db: Any) -> None:
    async with db.session(SAY.customer) as connection:
        await connection.execute("INSERT INTO customers VALUES ($1, 'Acme GmbH', 'it@acme.example')", SAY.customer)


def set_aside(folder: Path) -> int:
    return len(list(folder.glob("*.broken")))


async def test_a_damaged_file_of_the_spool_is_set_aside_and_holds_up_no_other(database: Any, tmp_path: Path) -> None:
    made = await database("servers.marketplace", "shared")
    await with_customer(made.db)
    meter = Meter(Spool(tmp_path), UsageStore(made.db))
    for name, lines in (("use_" + "a" * 26, b"\0\0\0\n"), ("use_" + "b" * 26, b'["acme",1]\n'), ("stray", b"")):
        (tmp_path / f"{name}.batch").write_bytes(lines)
    (tmp_path / ("use_" + "c" * 26 + ".batch")).symlink_to(tmp_path / "removed by another replica")
    meter.served(SAY.customer, SAY.server, SAY.tool, Units(calls=3))
    meter.served("erased", SAY.server, SAY.tool, Units(calls=5))
    await meter.flush()
    assert set_aside(tmp_path) == 3
    async with made.db.session(platform=True) as connection:
        rows = await connection.fetch("SELECT customer_id, calls FROM usage")
    assert [tuple(row) for row in rows] == [("acme", 3)]  # and nothing of a customer that is gone comes back


@pytest.mark.requirement("L-05")
async def test_calls_through_the_gateway_are_metered_for_their_customer_and_billed(
    database: Any, tmp_path: Path
) -> None:
    made = await database("servers.marketplace", "shared")
    async with running_market(tmp_path, made.urls, usage_prices={"calls": "2.00"}) as market:
        await market.add_customers()
        tokens = {name: await market.user_token(name) for name in ("acme", "bolt")}
        url = await market.add_app(Changing(definition("say"), says="x" * 100))
        servers = {"acme": await market.add_instance("acme", url)}
        servers["bolt"] = await market.add_instance("bolt", await market.add_app(Changing(definition("say"))))
        full = servers["acme"].replace("/", "-").replace(".", "-") + "__say"
        for _ in range(3):
            assert await call(market, tokens["acme"], servers["acme"])
        assert await call(market, tokens["bolt"], servers["bolt"])
        assert (await market.post_call(tokens["acme"], full)).status_code == 200
        assert (await market.post_call(tokens["acme"], "nothing", f"/servers/{servers['acme']}/mcp")).status_code == 400
        usage = await market.call(tokens["acme"], "get_usage", Usage)
        (row,) = usage.rows
        assert (row.customer_id, row.server_name, row.tool) == ("acme", servers["acme"], "say")
        assert (row.units.calls, row.units.bytes > 400) == (4, True)
        everything = await market.call(await market.operator(), "get_usage", Usage, limit=1)
        assert (everything.total.calls, everything.next_start) == (5, 1)
        bill = await market.call(tokens["acme"], "get_statement", MonthlyStatement)
        assert (bill.customers, bill.gpu, bill.charges[0].amount, bill.total) == (2, "250.00", "0.01", "250.01")
        assert (bill.own_gpus, bill.saving, bill.saving_percent) == ("500.00", "250.00", "50.0")
        whole = await market.call(await market.operator(), "get_statement", MonthlyStatement)
        assert (whole.customer_id, whole.gpu, whole.own_gpus) == (None, "500.00", "1000.00")
        spool = market.settings.home / "metering"
        async with asyncio.timeout(HANGS_S):
            while list(spool.glob("*.open")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        spool.rename(tmp_path / "away")
        spool.write_bytes(b"")  # the next line cannot be written
        assert not await call(market, tokens["acme"], servers["acme"]), "what cannot be noted is not handed over"
        spool.unlink()
        assert await call(market, tokens["acme"], servers["acme"])
