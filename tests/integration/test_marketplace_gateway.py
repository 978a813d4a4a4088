"""The gateway: calls through to real servers in both eras, and upstreams that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt
import orjson
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from servers.marketplace.tools.usage import MonthlyStatement, Usage
from shared.errors import NotFound, Unavailable
from tests.marketplace_rig import Credential, Market, answering, free_port
from tests.serving_rig import HANGS_S, envelope, headers_for

ERAS = ["legacy", "2026-07-28"]
ACME = "io.0711.acme/instance"


@pytest.fixture
def market_settings() -> dict[str, Any]:
    """Its calls may take longer than anything here waits for."""
    return {"call_deadline_s": 3 * HANGS_S, "max_body_bytes": 100_000}


@asynccontextmanager
async def sdk_client(market: Market, token: str, mode: str, server_name: str = ACME) -> AsyncIterator[Client]:
    """The official SDK's client at the gateway."""
    async with httpx2.AsyncClient(
        headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=HANGS_S, verify=False
    ) as http:
        transport = streamable_http_client(f"{market.base}/servers/{server_name}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.requirement("M-01", "A-02")
@pytest.mark.parametrize("mode", ERAS)
async def test_a_tool_is_called_through_in_both_eras_and_the_callers_token_stays_behind(
    market: Market, mode: str
) -> None:
    url, seen = await market.add_upstream()
    name = await market.add_instance("acme", url)
    token = await market.user_token("acme", "customer_user")
    async with sdk_client(market, token, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        said = await client.call_tool("say", {})
    assert tools == ["say", "count", "wait"]
    subject = jwt.decode(token, options={"verify_signature": False})["sub"]
    assert said.structured_content == {"text": f"{subject} customer_user acme dataset:read"}
    others = {"cookie": f"t={token}", "x-api-key": token, "proxy-authorization": f"Bearer {token}", "x-a2": token}
    body, place = envelope("tools/call", {"name": "say", "arguments": {}}), f"{market.base}/servers/{name}/mcp"
    headers = headers_for(token, "tools/call", "say") | others
    answer = await market.http.post(f"{place}?access_token={token}", json=body, headers=headers)
    assert answer.status_code == 200
    assert len(seen.tokens) >= 2
    assert not [each for each in seen.requests if token in each]
    audiences = {jwt.decode(each.split()[1], options={"verify_signature": False})["aud"] for each in seen.tokens}
    assert audiences == {url}


@pytest.mark.requirement("M-05")
@pytest.mark.parametrize("mode", ERAS)
async def test_progress_passes_through_in_both_eras(market: Market, mode: str) -> None:
    url, _ = await market.add_upstream()
    await market.add_instance("acme", url)
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, note: str | None) -> None:
        told.append((done, total, note))

    async with sdk_client(market, await market.user_token("acme"), mode) as client:
        result = await client.call_tool("count", {"steps": 3}, progress_callback=on_progress)
    assert result.structured_content == {"text": "3"}
    assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.requirement("M-05")
@pytest.mark.parametrize("mode", ERAS)
async def test_a_cancelled_call_stops_the_work_at_the_upstream(market: Market, mode: str) -> None:
    url, seen = await market.add_upstream()
    await market.add_instance("acme", url)
    async with sdk_client(market, await market.user_token("acme"), mode) as client:
        call = asyncio.create_task(client.call_tool("wait", {}))
        await asyncio.wait_for(seen.started.wait(), HANGS_S)
        call.cancel()
        await asyncio.wait_for(seen.cancelled.wait(), HANGS_S)
        await asyncio.gather(call, return_exceptions=True)


async def test_a_caller_that_hangs_up_stops_the_work_at_the_upstream(market: Market) -> None:
    url, seen = await market.add_upstream()
    await market.add_instance("acme", url)
    token = await market.user_token("acme")
    call = asyncio.create_task(market.post_call(token, "wait", f"/servers/{ACME}/mcp"))
    await asyncio.wait_for(seen.started.wait(), HANGS_S)
    call.cancel()
    await asyncio.wait_for(seen.cancelled.wait(), HANGS_S)


@pytest.mark.requirement("T-01")
async def test_what_is_unknown_not_installed_or_anothers_looks_alike(market: Market) -> None:
    url, seen = await market.add_upstream()
    theirs = await market.add_instance("bolt", url)
    token = await market.user_token("acme")
    answers = [
        await market.post_call(token, "say", f"/servers/{name}/mcp")
        for name in (theirs, "io.0711.bolt/other", "io.0711/cradle", "..%2f..%2fetc", "io.0711/none", "%00", "a" * 5000)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert seen.tokens == []


@pytest.mark.requirement("T-01")
async def test_after_an_uninstall_the_server_is_not_called_any_more(market: Market) -> None:
    url, seen = await market.add_upstream()
    name = await market.add_instance("acme", url)
    token = await market.user_token("acme")
    await market.call(token, "uninstall_mcp", server_name=name)
    with pytest.raises(NotFound):
        await market.call_through(token, name, "say")
    assert seen.tokens == []


async def test_the_operator_calls_an_instance_for_its_customer_who_is_not_billed_for_it(market: Market) -> None:
    url, _ = await market.add_upstream()
    name = await market.add_instance("acme", url)
    said = await market.call_through(await market.operator(), name, "say")
    assert said.text.endswith("platform_admin acme dataset:read")
    token = await market.user_token("acme")
    assert (await market.call(token, "get_usage", Usage)).total.calls == 0
    await market.call_through(token, name, "say")
    assert (await market.call(token, "get_usage", Usage)).total.calls == 1


@pytest.mark.requirement("A-02", "A-05")
async def test_a_token_for_another_server_or_without_the_scope_is_refused_with_a_challenge(market: Market) -> None:
    url, seen = await market.add_upstream()
    name = await market.add_instance("acme", url)
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    key = Credential(made.client_id, made.client_secret)
    direct = await market.post_call(await market.token(key, resource=url), "say", f"/servers/{name}/mcp")
    assert direct.status_code == 401
    assert 'error="invalid_token"' in direct.headers["www-authenticate"]
    narrow = await market.post_call(await market.token(key, scope="catalogue:read"), "say", f"/servers/{name}/mcp")
    assert narrow.status_code == 403
    assert 'error="insufficient_scope", scope="gateway:call"' in narrow.headers["www-authenticate"]
    assert seen.tokens == []


@pytest.mark.requirement("A-05")
async def test_a_method_that_the_gateway_does_not_take_is_told_to_callers_with_a_token_alone(market: Market) -> None:
    url, seen = await market.add_upstream()
    place = f"{market.base}/servers/{await market.add_instance('acme', url)}/mcp"
    bearer = {"authorization": f"Bearer {await market.user_token('acme')}"}
    for method in ("PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        assert (await market.http.request(method, place)).status_code == 401, method
        refused = await market.http.request(method, place, headers=bearer)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST, GET, DELETE"), method
    assert seen.tokens == []


async def test_a_disabled_users_token_no_longer_calls_through(market: Market) -> None:
    url, seen = await market.add_upstream()
    name = await market.add_instance("acme", url)
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    token = await market.token(Credential(made.client_id, made.client_secret))
    await market.call(await market.operator(), "disable_user", user_id=made.user_id)
    assert (await market.post_call(token, "say", f"/servers/{name}/mcp")).status_code == 401
    assert seen.tokens == []


async def test_an_upstream_that_is_down_or_not_yet_there_gives_one_clear_error(market: Market) -> None:
    down = await market.add_instance("acme", f"http://127.0.0.1:{free_port()}/mcp")
    nowhere = await market.add_instance("bolt", None)
    for customer, name in (("acme", down), ("bolt", nowhere)):
        token = await market.user_token(customer)
        response = await market.post_call(token, "say", f"/servers/{name}/mcp")
        assert response.status_code == 503
        assert response.json()["id"] == 1
        with pytest.raises(Unavailable):
            await market.call_through(token, name, "say")


def hurried(market: Market) -> None:
    """From now on a call may take five seconds."""
    object.__setattr__(market.settings, "call_deadline_s", 5.0)


async def nothing() -> AsyncIterator[bytes]:
    yield b""


async def much() -> AsyncIterator[bytes]:
    for _ in range(1000):
        yield b"x" * 100_000


async def events_without_end() -> AsyncIterator[bytes]:
    while True:
        yield b": " + b"x" * 1000 + b"\n\n"


async def silence() -> AsyncIterator[bytes]:
    yield b": begun\n\n"
    await asyncio.Event().wait()


JSON, SSE = {"content-type": "application/json"}, {"content-type": "text/event-stream"}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"location": "http://127.0.0.1:1/"}, nothing),
        (307, {"location": "http://169.254.169.254/"}, nothing),
        (401, {"www-authenticate": "Bearer realm=upstream"}, nothing),
        (403, {}, nothing),
        (500, JSON, nothing),
        (200, JSON, much),
        (200, JSON, silence),
    ],
    ids=["redirect", "redirect to metadata", "401", "403", "500", "100 MB", "hangs"],
)
@pytest.mark.requirement("I-12")
async def test_an_upstream_that_misbehaves_gives_one_clear_error(
    market: Market, status: int, headers: dict[str, str], body: Any
) -> None:
    name = await market.add_instance("acme", await market.add_app(answering(status, headers, body)))
    token = await market.user_token("acme")
    hurried(market)
    response = await market.post_call(token, "say", f"/servers/{name}/mcp")
    assert response.status_code in {503, 504}
    assert response.json()["error"]["data"]["0711/error"]["retryable"] is True
    assert "location" not in response.headers
    assert "www-authenticate" not in response.headers


async def test_which_servers_fail_is_said_to_who_sees_their_usage_and_costs_nothing(market: Market) -> None:
    away, (url, _) = await market.add_app(answering(500, JSON, nothing)), await market.add_upstream()
    names = {"acme": await market.add_instance("acme", away), "bolt": await market.add_instance("bolt", url)}
    tokens = {customer: await market.user_token(customer, "customer_admin") for customer in names}
    for customer, name, count in (("bolt", names["bolt"], 3), ("acme", names["acme"], 2)):
        for _ in range(count):
            await market.post_call(tokens[customer], "say", f"/servers/{name}/mcp")
    operator = await market.operator()
    async with asyncio.timeout(HANGS_S):
        while not (found := await market.call(operator, "get_usage", Usage, failed=True)).rows:
            pass  # the day may end between both
    (row,) = found.rows
    assert (row.customer_id, row.server_name, row.tool) == ("acme", names["acme"], "say")
    assert (row.units.failures, row.units.calls, row.failed_on is None) == (2, 0, False)
    assert (await market.call(tokens["acme"], "get_usage", Usage, failed=True)).rows == [row]
    assert (await market.call(tokens["bolt"], "get_usage", Usage, failed=True)).rows == []
    (served,) = (await market.call(tokens["bolt"], "get_usage", Usage)).rows
    assert (served.units.calls, served.units.failures, served.failed_on) == (3, 0, None)
    assert (await market.call(operator, "get_statement", MonthlyStatement)).customers == 1


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(market: Market, status: int) -> None:
    reached: list[str] = []

    async def trap(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    headers = {"location": await market.add_app(trap)}
    name = await market.add_instance("acme", await market.add_app(answering(status, headers, nothing)))
    response = await market.post_call(await market.user_token("acme"), "say", f"/servers/{name}/mcp")
    assert (response.status_code, reached) == (503, [])


@pytest.mark.parametrize(("body", "code"), [(events_without_end, "unavailable"), (silence, "deadline_exceeded")])
async def test_a_stream_without_end_is_ended_with_an_error_for_the_call(market: Market, body: Any, code: str) -> None:
    name = await market.add_instance("acme", await market.add_app(answering(200, SSE, body)))
    token = await market.user_token("acme")
    hurried(market)
    response = await market.post_call(token, "say", f"/servers/{name}/mcp")
    assert response.status_code == 200
    assert len(response.content) < 200_000
    assert f'"code":"{code}"' in response.text.rsplit("data: ", 1)[1]


@pytest.mark.requirement("I-02")
async def test_a_body_over_the_limit_or_no_message_never_travels_upstream(market: Market) -> None:
    url, seen = await market.add_upstream()
    name = await market.add_instance("acme", url)
    headers = headers_for(await market.user_token("acme"))
    place = f"{market.base}/servers/{name}/mcp"

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 50_000

    for address in (place, market.base + "/mcp"):
        for much_of_it in (b"x" * 20_000_000, parts()):  # a client that sends all of it learns why it is refused
            refused = await market.http.post(address, content=much_of_it, headers=headers)
            assert (refused.status_code, refused.headers["connection"]) == (413, "close")
            assert "send less at once" in refused.json()["error"]["message"]
    refused = await market.http.request("DELETE", place, content=b"{}", headers=headers)
    assert (refused.status_code, refused.headers["connection"]) == (413, "close")
    for body in (b"", b"[]", b"{}", b"\xff\xfe"):
        assert (await market.http.post(place, content=body, headers=headers)).status_code == 400
    assert (await market.http.put(place, content=b"{}", headers=headers)).status_code == 405
    assert seen.tokens == []


@pytest.mark.requirement("A-07")
async def test_what_a_caller_says_of_its_bodys_charset_never_travels_upstream(market: Market) -> None:
    told: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.extend(value for name, value in scope["headers"] if name == b"content-type")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"jsonrpc":"2.0","id":1,"result":{}}'})

    name = await market.add_instance("acme", await market.add_app(app))
    headers = headers_for(await market.user_token("acme"), "ping")
    for kind in ("application/json; charset=utf-7", "text/plain"):
        body = orjson.dumps(envelope("ping", {}))
        place = f"{market.base}/servers/{name}/mcp"
        answer = await market.http.post(place, content=body, headers=headers | {"content-type": kind})
        assert answer.status_code == 200
    assert told
    assert set(told) == {b"application/json"}


@pytest.mark.requirement("T-06")
async def test_a_session_id_is_sealed_for_its_caller(market: Market) -> None:
    got: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend(value for name, value in scope["headers"] if name == b"mcp-session-id")
        headers = [(b"content-type", b"application/json"), (b"mcp-session-id", b"upstream-session")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"jsonrpc":"2.0","id":1,"result":{}}'})

    name = await market.add_instance("acme", await market.add_app(app))
    place, one, two = f"{market.base}/servers/{name}/mcp", *[await market.user_token("acme") for _ in "ab"]
    body = envelope("initialize", {})
    first = await market.http.post(place, json=body, headers=headers_for(one))
    sealed = first.headers["mcp-session-id"]
    assert "upstream-session" not in sealed
    session = {"mcp-session-id": sealed}
    assert (await market.http.post(place, json=body, headers=headers_for(one) | session)).status_code == 200
    assert (await market.http.post(place, json=body, headers=headers_for(two) | session)).status_code == 404
    assert got == [b"upstream-session"]


async def test_the_marketplace_does_not_call_itself(market: Market) -> None:
    token = await market.user_token("acme")
    await market.call(token, "install_mcp", server_name="io.0711/marketplace")
    response = await market.post_call(token, "whoami", "/servers/io.0711/marketplace/mcp")
    assert response.status_code == 400
