"""Limits of calls, shared by replicas through Postgres or Redis: a user, a customer and a tool each has its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from servers.marketplace.gateway.quotas import Quotas, QuotaStore
from servers.marketplace.gateway.quotas_redis import PREFIX, RedisQuotaStore
from shared.auth import Principal
from shared.errors import InvalidInput, Overloaded, Unavailable
from shared.postgres.database import Database
from shared.settings import Settings
from tests.marketplace_rig import Changing, Market, definition, free_port, running_market
from tests.serving_rig import HANGS_S, envelope, headers_for

NO_LIMIT = 1_000_000


def settings(**limits: int) -> Settings:
    given = dict.fromkeys(("user", "customer", "tool"), NO_LIMIT) | limits
    return Settings(**{f"calls_per_minute_{name}": most for name, most in given.items()})  # pyright: ignore


def caller(subject: str = "usr_anna", customer: str | None = "acme") -> Principal:
    return Principal(subject, "customer_user", frozenset(), customer, "key", 0)


class OneMinute(QuotaStore):
    """The real store; the database's minute is stopped, so that no test runs across the end of one."""

    def __init__(self, database: Database, made: list[int]) -> None:
        super().__init__(database)
        self.made = made

    async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
        async with self._database.session(customer) as connection:
            if customer is None:
                await connection.execute("SELECT set_config('app.platform', 'on', true)")
            await connection.execute("UPDATE quotas SET started = date_trunc('minute', now()) WHERE key = $1", key)
        granted, _ = await super().lease(key, customer, most, block)
        self.made.append(granted)
        return granted, 60.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The replicas' clock, which stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr("servers.marketplace.gateway.quotas.monotonic", lambda: now[0])
    return now


@pytest.fixture
async def store(database: Any, clock: list[float]) -> OneMinute:
    made = await database("servers.marketplace", "shared")
    for customer in ("acme", "bolt"):
        async with made.db.session(customer) as connection:
            await connection.execute(
                "INSERT INTO customers (customer_id, company_name, contact_email) VALUES ($1, $1, 'it@example.com')",
                customer,
            )
    return OneMinute(made.db, [])


class RedisOneMinute(RedisQuotaStore):
    """The real store; its minute is one that never ends."""

    def __init__(self, url: str, made: list[int]) -> None:
        super().__init__(url)
        self.made = made

    async def lease(self, key: str, customer: str | None, most: int, block: int) -> tuple[int, float]:
        await self._redis.hset(PREFIX + key, "minute", 10**9)
        granted, _ = await super().lease(key, customer, most, block)
        self.made.append(granted)
        return granted, 60.0


@contextlib.contextmanager
def redis_server(folder: Path, port: int) -> Iterator[str]:
    """A Redis that keeps nothing; its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server (Debian's package redis-server)")
    told = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([program, *told], stdout=subprocess.PIPE, text=True)
    try:
        assert any("Ready to accept connections" in line for line in process.stdout or ())
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.communicate(timeout=HANGS_S)


@pytest.fixture
async def redis(tmp_path: Path, clock: list[float]) -> AsyncIterator[RedisOneMinute]:
    with redis_server(tmp_path, free_port()) as url:
        made = RedisOneMinute(url, [])
        yield made
        await made.close()


@pytest.fixture(params=["store", "redis"])
def each_store(request: pytest.FixtureRequest) -> OneMinute | RedisOneMinute:
    return request.getfixturevalue(request.param)


Store = OneMinute | RedisOneMinute


async def passed(quotas: list[Quotas], who: Principal, tool: str, times: int) -> int:
    """How many of so many calls pass, spread over replicas."""

    async def one(number: int) -> bool:
        try:
            await quotas[number % len(quotas)].take(who, "server", tool)
        except Overloaded as error:
            return not 0 < (error.retry_after or 0) <= 60
        return True

    return sum(await asyncio.gather(*map(one, range(times))))


async def test_three_replicas_together_let_no_more_pass_than_the_limit_and_ask_seldom(
    each_store: OneMinute | RedisOneMinute,
) -> None:
    replicas = [Quotas(settings(customer=100), each_store) for _ in range(3)]
    assert await passed(replicas, caller(), "say", 300) == 100
    assert sum(each for each in each_store.made if each <= 5) == 100
    asked = len(each_store.made)
    assert await passed(replicas, caller(), "say", 50) == 0
    assert len(each_store.made) == asked, "a limit that is reached is known until its minute ends"


async def test_users_tools_and_customers_are_counted_each_for_itself(each_store: Store) -> None:
    quotas = [Quotas(settings(user=5, tool=8), each_store)]
    assert await passed(quotas, caller("usr_anna"), "say", 9) == 5
    assert await passed(quotas, caller("usr_ben"), "say", 9) == 3
    assert await passed(quotas, caller("usr_cleo"), "other", 9) == 5
    assert await passed(quotas, caller("usr_anna", "bolt"), "say", 9) == 5
    assert await passed(quotas, caller("usr_anna", None), "say", 9) == 5


async def test_the_next_minute_begins_anew(store: OneMinute, clock: list[float]) -> None:
    quotas = Quotas(settings(user=20), QuotaStore(store._database))
    assert await passed([quotas], caller(), "say", 30) == 20
    clock[0] += 61
    async with store._database.session("acme") as connection:
        await connection.execute("UPDATE quotas SET started = started - interval '1 minute'")
    assert await passed([quotas], caller(), "say", 30) == 20


async def test_a_lease_that_is_late_for_its_minute_hands_nothing_out_twice(store: OneMinute) -> None:
    plain = QuotaStore(store._database)
    assert (await plain.lease("user:acme:usr_anna", "acme", 20, 20))[0] == 20
    async with store._database.session("acme") as connection:
        await connection.execute("UPDATE quotas SET started = started + interval '1 minute'")
    assert (await plain.lease("user:acme:usr_anna", "acme", 20, 20))[0] == 0


async def test_what_was_counted_hours_ago_is_forgotten(store: OneMinute) -> None:
    await store.lease("user:acme:usr_anna", "acme", 20, 1)
    async with store._database.session("acme") as connection:
        await connection.execute("UPDATE quotas SET started = started - interval '2 hours'")
    await store.lease("user:acme:usr_ben", "acme", 20, 1)
    async with store._database.session("acme") as connection:
        assert [row["key"] for row in await connection.fetch("SELECT key FROM quotas")] == ["user:acme:usr_ben"]


@pytest.mark.requirement("F-02")
async def test_without_a_database_what_is_leased_still_passes_and_then_nothing(store: OneMinute) -> None:
    quotas = Quotas(settings(user=40), store)
    await quotas.take(caller(), "server", "say")
    await store._database.close()
    await quotas.take(caller(), "server", "say")
    with pytest.raises(Unavailable):
        await quotas.take(caller(), "server", "say")


async def test_redis_counts_each_minute_anew_and_forgets_it(redis: RedisOneMinute) -> None:
    plain, key = RedisQuotaStore, "user:acme:usr_anna"
    granted, left_s = await plain.lease(redis, key, "acme", 20, 15)
    assert (granted, 0 < left_s <= 60) == (15, True)
    assert 0 < await redis._redis.ttl(PREFIX + key) <= 120
    await redis._redis.hincrby(PREFIX + key, "minute", 1)
    assert (await plain.lease(redis, key, "acme", 20, 15))[0] == 5, "late for its minute: nothing twice"
    await redis._redis.hincrby(PREFIX + key, "minute", -2)
    assert (await plain.lease(redis, key, "acme", 20, 15))[0] == 15


async def test_without_a_redis_what_is_leased_still_passes_then_nothing_and_then_all_again(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(tmp_path, port) as url:
        redis = RedisQuotaStore(url)
        quotas = Quotas(settings(user=40), redis)
        await quotas.take(caller(), "server", "say")
    await quotas.take(caller(), "server", "say")
    with pytest.raises(Unavailable, match="P0711_REDIS_URL"):
        await Quotas(settings(user=40), redis).take(caller(), "server", "say")
    with redis_server(tmp_path, port):
        await Quotas(settings(user=40), redis).take(caller(), "server", "say")
        await redis.close()
    with pytest.raises(InvalidInput, match="P0711_REDIS_URL"):
        RedisQuotaStore("http://127.0.0.1")


async def test_a_marketplace_with_redis_counts_there(database: Any, tmp_path: Path) -> None:
    made = await database("servers.marketplace", "shared")
    with redis_server(tmp_path, free_port()) as url:
        async with running_market(tmp_path / "home", made.urls, redis_url=url) as market:
            await market.add_customers()
            await market.call(await market.user_token("acme"), "whoami")
        redis = RedisQuotaStore(url)
        keys = {key.decode().split(":")[2] async for key in redis._redis.scan_iter(PREFIX + "*")}
        await redis.close()
    assert keys == {"user", "customer", "tool"}
    async with made.db.session("acme") as connection:
        assert await connection.fetch("SELECT key FROM quotas") == []


@pytest.fixture
def market_settings() -> dict[str, Any]:
    return {"calls_per_minute_tool": 1}


async def test_a_caller_over_its_limit_gets_429_and_when_to_come_back_and_the_upstream_is_not_asked(
    market: Market,
) -> None:
    upstream = Changing(definition("say"), definition("shout"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    for path, say, shout in (
        (f"/servers/{name}/mcp", "say", "shout"),
        ("/mcp", "io-0711-acme-instance__say", "io-0711-acme-instance__shout"),
    ):
        answers = [await market.post_call(token, tool, path) for tool in (say, say, shout)]
        refused = [each for each in answers if each.status_code == 429]
        assert refused, "two calls of one tool in one minute"
        assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)
        assert all(each.json()["error"]["data"]["0711/error"]["code"] == "overloaded" for each in refused)
    assert upstream.requests.count("tools/call") <= 4
    own = [await market.post_call(token, "whoami") for _ in range(3)]
    assert 429 in [each.status_code for each in own]


async def test_what_wants_no_answer_counts_too_where_it_travels_upstream(market: Market) -> None:
    upstream = Changing(definition("say"), era="legacy")
    name = await market.add_instance("acme", await market.add_app(upstream))
    headers = {"authorization": f"Bearer {await market.user_token('acme')}"}
    said = {"jsonrpc": "2.0", "method": "notifications/said"}
    url = f"{market.base}/servers/{name}/mcp"
    answers = [await market.http.post(url, json=said, headers=headers) for _ in range(5)]
    assert 429 in [each.status_code for each in answers]
    assert upstream.requests.count("notifications/said") == sum(each.status_code == 202 for each in answers)


async def test_a_body_that_only_another_reader_understands_is_refused_and_so_calls_nothing_uncounted(
    market: Market,
) -> None:
    headers = headers_for(await market.user_token("acme"), "tools/call", "whoami")
    said = orjson.dumps(envelope("tools/call", {"name": "whoami", "arguments": {}}))
    for body in (said[:-1] + b',"x":NaN}', said[:-1] + b',"x":"\\ud800"}', b"[" + said + b"]", b"{}", b""):
        answer = await market.http.post(market.base + "/mcp", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (400, -32700, None), body


async def test_rest_is_counted_like_a_call_of_the_tool_of_the_same_meaning(market: Market) -> None:
    headers = {"authorization": f"Bearer {await market.user_token('acme')}"}
    for path in ("/v1/embeddings", "/v1/vision"):
        answers = [await market.http.post(market.base + path, json={}, headers=headers) for _ in range(3)]
        refused = [each for each in answers if each.status_code == 429]
        assert refused
        assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)


@pytest.mark.requirement("Z-03")
async def test_what_a_caller_writes_into_a_call_is_not_stored_with_its_count(market: Market) -> None:
    name = await market.add_instance("acme", await market.add_app(Changing(definition("say"))))
    token = await market.user_token("acme")
    await market.post_call(token, "secret_of_acme")
    method = "secret/of-acme"
    body, headers = envelope(method, {}), headers_for(token, method)
    await market.http.post(f"{market.base}/servers/{name}/mcp", json=body, headers=headers)
    connection = await asyncpg.connect(market.urls.owner)
    try:
        await connection.execute("SELECT set_config('app.platform', 'on', false)")
        keys = [row["key"] for row in await connection.fetch("SELECT key FROM quotas")]
    finally:
        await connection.close()
    assert {"tool:acme:marketplace:*", f"tool:acme:{name}:*"} <= set(keys)
    assert not [key for key in keys if "secret" in key]
