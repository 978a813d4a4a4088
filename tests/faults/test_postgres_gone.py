"""Postgres gone under calls, and restarted under saves."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil
import pytest

from servers.cradle.app import build as build_cradle
from servers.cradle.installations.fingerprint import fingerprint
from servers.cradle.installations.service import InstallationService
from servers.local.platform import MIGRATIONS
from servers.marketplace.tools.registry import CustomerRegistered
from shared.client import Upstream
from shared.client.credentials import FileTokens
from shared.contracts.installation import InstallationParameters
from shared.errors import PlatformError
from shared.postgres import database as postgres
from shared.postgres.database import UNDO_S, Database
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.migrations import migrate
from shared.postgres.provision import provision
from tests.integration.test_installations_versions import ROOM, Embedder, parameters
from tests.marketplace_rig import listening
from tests.orchestrator_rig import Rig, free_port, put_onboarded, running_rig, settings_in
from tests.serving_rig import HANGS_S, envelope, headers_for

pytestmark = pytest.mark.slow

CALLS, APART_S, DEADLINE_S, AT_ONCE = 200, 0.04, 10.0, 8
RECOVERY_S, AGAIN_S = 10, 1
SAVES, CUSTOMERS, RESTARTS = 1000, 20, 6
MUSTER = {"customer_id": "muster", "company_name": "Muster GmbH", "contact_email": "info@example.com"}
Back = Callable[[], Awaitable[None]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres of its own: it is stopped."""
    started = EmbeddedPostgres(tmp_path / "postgres", free_port(), {"fsync": "off"})
    await asyncio.to_thread(started.start)
    yield started
    await asyncio.to_thread(started.remove)


def server_process(server: EmbeddedPostgres) -> psutil.Process:
    assert server._process is not None
    return psutil.Process(server._process.pid)


def processes(server: EmbeddedPostgres) -> list[psutil.Process]:
    return server_process(server).children(recursive=True)


async def ask(
    client: httpx2.AsyncClient, rig: Rig, tokens: dict[str, str], server: Any, tool: str, arguments: dict[str, Any]
) -> str:
    """The code of a call's error, or `ok`. Where its deadline does not end it, nothing does before `HANGS_S`."""
    body = envelope("tools/call", {"name": tool, "arguments": arguments})
    headers = headers_for(tokens[server], "tools/call", tool)
    async with asyncio.timeout(HANGS_S):
        answer = await client.post(rig.settings.resource(server), json=body, headers=headers)
    lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:")]
    told = orjson.loads(lines[-1] if lines else answer.content)
    if "jsonrpc" not in told:
        error = told  # refused before the message was read
    elif "error" in told:
        error = told["error"]["data"]["0711/error"]  # the gateway's own refusal
    else:
        error = told["result"].get("_meta", {}).get("0711/error")
    if error is None:
        return "ok"
    assert error["retryable"], error
    return error["code"]


@pytest.fixture
def _only_its_deadline_ends_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else would end a wait for Postgres takes longer than a test may: so a test on a machine of any load sees
    whether a call's own deadline does, to which only the time for its rollback is added."""
    assert UNDO_S < 1
    for each in ("CONNECT_TIMEOUT_S", "ACQUIRE_TIMEOUT_S"):
        monkeypatch.setattr(postgres, each, 3 * HANGS_S)
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "command_timeout_s", 3 * HANGS_S)


async def gone(server: EmbeddedPostgres) -> Back:
    await asyncio.to_thread(server.stop)
    return lambda: asyncio.to_thread(server.start)


async def silent(server: EmbeddedPostgres) -> Back:
    """Its processes stand still: connections stay open, new ones are taken by the system, and nothing answers."""
    for each in (stopped := [server_process(server), *processes(server)]):
        each.suspend()

    async def back() -> None:
        for each in stopped:
            each.resume()

    return back


@pytest.mark.requirement("F-02")
@pytest.mark.parametrize("ends", [gone, silent])
@pytest.mark.usefixtures("_only_its_deadline_ends_a_call")
async def test_with_postgres_gone_under_200_calls_each_ends_in_time_and_all_is_well_once_it_is_back(
    ends: Callable[[EmbeddedPostgres], Awaitable[Back]], server: EmbeddedPostgres, tmp_path: Path
) -> None:
    urls = await provision(server.superuser_url, tmp_path / "home")
    for name, packages in MIGRATIONS.items():
        for package in packages:
            await migrate(urls[name].owner, package)
    no_model = {"embedding_model": "intfloat/multilingual-e5-large", "embedding_revision": "a" * 40}  # none is asked
    settings = settings_in(tmp_path / "home").model_copy(update={"call_deadline_s": DEADLINE_S, **no_model})
    # No call waits for another one's connection, and none takes one that its server is closing: it does so after 5 s.
    unlimited = httpx2.Limits(max_connections=None, keepalive_expiry=1.0)
    async with (
        running_rig(settings, urls) as rig,
        listening(build_cradle(settings)[0].asgi(), settings.cradle_port, settings),
        httpx2.AsyncClient(limits=unlimited, timeout=3 * HANGS_S) as client,
    ):
        await put_onboarded(rig.store, "muster")
        held = FileTokens(settings, "operator")
        marketplace = await held.token(settings.resource("marketplace"), None)
        async with Upstream(settings.resource("marketplace"), key=marketplace) as upstream:
            await upstream.call("register_customer", MUSTER, CustomerRegistered)
        cradle = await held.token(settings.resource("cradle"), "muster")
        tokens = {"orchestrator": rig.token, "marketplace": marketplace, "cradle": cradle}
        async with Database(urls["installation_configs"].app) as database:
            await InstallationService(database).save("muster", parameters(), Embedder())
        kinds = [
            ("orchestrator", "list_customers", {}),
            ("orchestrator", "get_customer", {"customer_id": "muster"}),
            ("orchestrator", "build_image", {"customer_id": "muster"}),
            ("marketplace", "list_marketplace_mcps", {}),
            ("marketplace", "get_usage", {}),
            ("cradle", "get_installation_params", {}),
            ("cradle", "list_installation_params", {}),
            ("cradle", "list_deployments", {}),
        ]

        turns = asyncio.Semaphore(AT_ONCE)

        async def call(number: int) -> str:
            await asyncio.sleep(number * APART_S)  # its time begins when it is sent, not while others are
            return await ask(client, rig, tokens, *kinds[number % len(kinds)])

        async def in_turn(number: int) -> str:
            async with turns:  # a machine that computes slowly has no more of them at once than it ends in time
                return await ask(client, rig, tokens, *kinds[number % len(kinds)])

        def calls(number: int) -> list[asyncio.Task[str]]:
            return [asyncio.create_task(call(each)) for each in range(number)]

        async def well(number: int) -> bool:
            return set(await asyncio.gather(*map(in_turn, range(number)))) == {"ok"}

        assert await well(len(kinds))
        under_way = calls(CALLS)
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        back = await ends(server)
        try:
            assert set(await asyncio.gather(*under_way)) <= {"ok", "unavailable", "deadline_exceeded", "overloaded"}
            later = await asyncio.gather(*calls(CALLS))
            assert set(later) <= {"unavailable", "deadline_exceeded", "overloaded"}
        finally:
            await back()
        for _ in range(RECOVERY_S // AGAIN_S):
            if await well(len(kinds)):
                break
            await asyncio.sleep(AGAIN_S)  # a caller's pause before it tries again
        assert await well(CALLS), f"not within {RECOVERY_S} seconds, were each call over at once"


@pytest.mark.requirement("F-02")
@pytest.mark.parametrize("at", ["a statement", "the commit"])
@pytest.mark.usefixtures("_only_its_deadline_ends_a_call")
async def test_a_call_that_is_over_does_not_wait_for_a_silent_postgres(
    at: str, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    database = Database((await provision(server.superuser_url, tmp_path / "home"))["platform"].app)
    await database.open()
    async with database.session() as connection:
        await connection.execute("SELECT 1")

    async def call() -> None:
        async with asyncio.timeout(None) as deadline, database.session() as connection:
            stopped.append(await silent(server))
            deadline.reschedule(asyncio.get_running_loop().time() + 0.5)  # before it, a busy machine would end the call
            if at == "a statement":
                await connection.execute("SELECT 1")

    stopped: list[Back] = []
    over = asyncio.create_task(call())
    ended, _ = await asyncio.wait({over}, timeout=HANGS_S)
    for back in stopped:  # only now Postgres answers again
        await back()
    assert ended
    assert stopped
    assert isinstance(over.exception(), TimeoutError | PlatformError)
    await database.close()


@pytest.mark.requirement("F-03")
async def test_of_a_thousand_saves_under_restarts_each_acknowledged_one_is_there_once(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Saves go on until each is acknowledged. The restarts come faster than every five seconds: by their number."""
    urls = (await provision(server.superuser_url, tmp_path / "home"))["installation_configs"]
    await migrate(urls.owner, ROOM)
    database, embedder, chance = Database(urls.app), Embedder(), random.Random(1)  # noqa: S311
    await database.open()
    service = InstallationService(database)
    acknowledged: dict[str, list[tuple[str, int]]] = {f"kunde-{number}": [] for number in range(CUSTOMERS)}
    left = [(f"kunde-{number % CUSTOMERS}", parameters(revision=f"r{number}")) for number in range(SAVES)]
    refused = 0

    async def save(customer: str, wanted: InstallationParameters) -> None:
        nonlocal refused
        while True:
            try:
                made = await service.save(customer, wanted, embedder)
            except PlatformError as error:
                if not error.retryable:
                    raise
                refused += 1
                await asyncio.sleep(0.05)  # a caller's pause before it tries again
            else:
                acknowledged[customer].append((made.fingerprint, made.version))
                return

    async def client() -> None:
        while left:
            await save(*left.pop())

    async def restart() -> None:
        for number in range(RESTARTS):
            at = SAVES - (number + 1) * SAVES // (RESTARTS + 1)
            while len(left) > at:  # noqa: ASYNC110  the number of saves is what it waits for
                await asyncio.sleep(0.01)
            if chance.random() < 0.5:
                processes(server)[0].send_signal(signal.SIGQUIT)  # immediate: it recovers from its log
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)

    try:
        await asyncio.gather(restart(), *(client() for _ in range(16)))
        assert refused > RESTARTS
        for customer, told in acknowledged.items():
            there = [(each.fingerprint, each.version) for each in await service.history(customer)]
            assert sorted(told) == sorted(there)
            assert sorted(version for _, version in there) == list(range(1, SAVES // CUSTOMERS + 1))
            assert len({mark for mark, _ in there}) == len(there)
        assert sum(map(len, acknowledged.values())) == SAVES
        assert fingerprint(parameters(revision="r0")) in {mark for mark, _ in acknowledged["kunde-0"]}
    finally:
        await database.close()
