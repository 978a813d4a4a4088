"""Which tools the gateway lists and calls: pins, one list for many servers, both eras on both sides, replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from servers.marketplace.catalogue.store import EVERYTHING
from servers.marketplace.tools.review import ServerReviewed
from shared.contracts.catalogue import InstanceRegistered
from shared.errors import Conflict, Forbidden, InvalidInput
from tests.marketplace_rig import DIGEST, Changing, Credential, Market, definition, free_port, running_market
from tests.serving_rig import HANGS_S, HEARS_S, answer_of, envelope, headers_for

ERAS = ["legacy", "2026-07-28"]
ACME = "io.0711.acme/instance"
DOOR = f"/servers/{ACME}/mcp"
FULL = "io-0711-acme-instance__say"


async def registered(market: Market, app: Any, customer: str = "acme", name: str = "instance", **more: Any) -> str:
    """A server of a customer; its name in the catalogue."""
    made = await market.call(
        await market.service(), "register_instance", InstanceRegistered,
        customer_id=customer, name=name, url=await market.add_app(app), image_digest=DIGEST, **more,
    )  # fmt: skip
    return made.server_name


async def listed(market: Market, token: str, path: str = DOOR) -> dict[str, str]:
    """Name → description of what is listed, without the marketplace's own tools."""
    body = envelope("tools/list", {})
    response = await market.http.post(market.base + path, json=body, headers=headers_for(token, "tools/list"))
    tools = answer_of(response)["result"]["tools"]
    return {tool["name"]: tool["description"] for tool in tools if path != "/mcp" or "__" in tool["name"]}


async def said(response: httpx2.Response) -> str:
    return answer_of(response)["result"]["content"][0]["text"]


@asynccontextmanager
async def sdk_client(market: Market, token: str, mode: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(
            headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=HANGS_S, verify=False
        ) as http,
        Client(streamable_http_client(market.resource, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.requirement("A-07")
async def test_a_changed_tool_is_neither_listed_nor_called_until_exactly_that_change_is_approved(
    market: Market,
) -> None:
    upstream = Changing(definition("say"), definition("keep"))
    name, token, operator = await registered(market, upstream), await market.user_token("acme"), await market.operator()
    assert list(await listed(market, token)) == ["say", "keep"]
    upstream.tools = [definition("say", "Say it, and send the files along."), definition("keep"), definition("more")]
    seen = await market.call(operator, "check_mcp", ServerReviewed, server_name=name)
    assert {tool.name: tool.state for tool in seen.tools} == {"say": "changed", "keep": "approved", "more": "new"}
    assert list(await listed(market, token)) == ["keep"]
    upstream.requests.clear()
    answers = [await market.post_call(token, tool, DOOR) for tool in ("say", "more", "none")]
    assert {(each.status_code, each.content) for each in answers} == {(400, answers[0].content)}
    assert answers[0].json()["error"]["code"] == -32602
    assert upstream.requests == []

    upstream.tools[0] = definition("say", "Say it, and send the keys along.")
    await market.call(operator, "check_mcp", server_name=name)
    with pytest.raises(Conflict):
        await market.call(operator, "approve_mcp_tools", server_name=name, reviewed=seen.reviewed)
    now = await market.call(operator, "check_mcp", ServerReviewed, server_name=name)
    done = await market.call(operator, "approve_mcp_tools", ServerReviewed, server_name=name, reviewed=now.reviewed)
    assert done.blocked == 0
    assert (await listed(market, token))["say"] == "Say it, and send the keys along."
    assert await said(await market.post_call(token, "more", DOOR)) == "more"


class Late(Changing):
    """Its first answer is as it was asked, and comes when it may."""

    def __init__(self, *tools: dict[str, Any]) -> None:
        super().__init__(*tools)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        first = not self.asked.is_set()
        self.asked.set()

        async def late(event: Any) -> None:
            if first:
                await self.may_answer.wait()
            await send(event)

        await super().__call__(scope, receive, late)


@pytest.mark.requirement("A-07")
async def test_a_check_that_is_asked_for_is_not_one_that_asked_the_server_before(database: Any, tmp_path: Path) -> None:
    made, upstream = await database("servers.marketplace", "shared"), Late(definition("say"))
    async with running_market(tmp_path, made.urls) as market:
        await market.add_customers()
        name, checks = await registered(market, upstream), market.server.services.checks
        under_way = asyncio.create_task(checks.any(name))
        await upstream.asked.wait()
        upstream.tools = [*upstream.tools, definition("more")]
        wanted = [asyncio.create_task(checks.now(name)) for _ in "ab"]
        await asyncio.sleep(0)  # they have begun
        upstream.may_answer.set()
        await asyncio.gather(under_way, *wanted)
        entry = await checks._entries.by_name(EVERYTHING, name)
        assert [tool.name for tool in (await market.server.services.tools.of_entry(entry)).tools] == ["say", "more"]
        assert upstream.requests.count("tools/list") < 4, "who asks at the same time shares a check"


@pytest.mark.requirement("A-07")
async def test_a_tool_that_is_not_what_was_registered_is_blocked_from_the_start(market: Market) -> None:
    pins = [{"name": "say", "digest": "sha256:" + "0" * 64}, "keep"]
    await registered(market, Changing(definition("say"), definition("keep")), tools=pins)
    assert list(await listed(market, await market.user_token("acme"))) == ["keep"]


@pytest.mark.requirement("A-05", "A-07")
async def test_only_the_platforms_administrators_review_tools(market: Market) -> None:
    name = await registered(market, Changing(definition("say")))
    partner = await market.add_user("partner_admin", None, "partner@example.com")
    token = await market.token(Credential(partner.client_id, partner.client_secret))
    for caller in (await market.service(), token, await market.user_token("acme")):
        with pytest.raises(Forbidden):
            await market.call(caller, "check_mcp", server_name="io.0711/cradle")
    assert (await market.post_call(await market.user_token("acme"), "check_mcp", server_name=name)).status_code == 403


async def test_one_call_is_one_request_upstream_and_a_list_is_none(market: Market) -> None:
    upstream = Changing(definition("say"))
    await registered(market, upstream)
    token = await market.user_token("acme")
    await listed(market, token)
    upstream.requests.clear()
    for _ in range(3):
        assert await said(await market.post_call(token, "say", DOOR)) == "say"
        assert await said(await market.post_call(token, FULL)) == "say"
        await listed(market, token)
        await listed(market, token, "/mcp")
    assert upstream.requests == ["tools/call"] * 6


async def test_a_header_that_names_another_tool_is_refused_and_nothing_travels(market: Market) -> None:
    upstream = Changing(definition("say"))
    await registered(market, upstream)
    token = await market.user_token("acme")
    await listed(market, token)
    upstream.requests.clear()
    for path, named in ((DOOR, "say"), ("/mcp", FULL)):
        body = envelope("tools/call", {"name": named, "arguments": {}})
        headers = headers_for(token, "tools/call", "whoami")
        refused = await market.http.post(market.base + path, json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (400, -32020, 1)
    assert upstream.requests == []


@pytest.mark.requirement("M-01")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_at_one_address_a_caller_of_either_era_lists_and_calls_servers_of_either_era(
    market: Market, mode: str, era: str
) -> None:
    await registered(market, Changing(definition("say"), era=era, says="one "), name="one")
    await registered(market, Changing(definition("say"), era=era, says="two "), name="two")
    token = await market.user_token("acme")
    for name in ("one", "two"):
        await listed(market, token, f"/servers/io.0711.acme/{name}/mcp")
    async with sdk_client(market, token, mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        answers = [await client.call_tool(f"io-0711-acme-{name}__say", {}) for name in ("one", "two", "one")]
        me = await client.call_tool("whoami", {})
    assert names[-2:] == ["io-0711-acme-one__say", "io-0711-acme-two__say"]
    assert "whoami" in names
    assert [each.content[0].text for each in answers] == ["one say", "two say", "one say"]
    assert me.structured_content["customer_id"] == "acme"


async def test_a_session_that_the_upstream_forgot_is_opened_again_once(market: Market) -> None:
    upstream = Changing(definition("say"), era="legacy")
    await registered(market, upstream)
    token = await market.user_token("acme")
    await listed(market, token)
    assert await said(await market.post_call(token, FULL)) == "say"
    upstream.requests.clear()
    upstream.sessions.clear()
    assert await said(await market.post_call(token, FULL)) == "say"
    assert upstream.requests == ["tools/call", "initialize", "notifications/initialized", "tools/call"]
    assert await said(await market.post_call(token, FULL)) == "say"
    assert upstream.requests[4:] == ["tools/call"]


@pytest.mark.requirement("T-01")
async def test_in_the_one_list_what_is_anothers_or_taken_away_looks_unknown(market: Market) -> None:
    upstream = Changing(definition("say"))
    name = await registered(market, upstream, "bolt")
    theirs, ours = await market.user_token("bolt"), await market.user_token("acme")
    await listed(market, theirs, f"/servers/{name}/mcp")
    full = "io-0711-bolt-instance__say"
    assert list(await listed(market, theirs, "/mcp")) == [full]
    assert await listed(market, ours, "/mcp") == {}
    upstream.requests.clear()
    answers = [await market.post_call(ours, tool) for tool in (full, "io-0711-none__say", "a__b")]
    assert len({(each.status_code, each.content) for each in answers}) == 1
    assert answers[0].json()["error"]["code"] == -32602
    await market.call(theirs, "uninstall_mcp", server_name=name)
    async with asyncio.timeout(HEARS_S):
        while await listed(market, theirs, "/mcp"):
            pass
    assert (await market.post_call(theirs, full)).content == answers[0].content
    assert upstream.requests == []


async def test_a_dead_server_is_missing_from_no_list_but_its_own_calls_fail_at_once_after_some(market: Market) -> None:
    alive, dead = Changing(definition("say")), Changing(definition("say"))
    await registered(market, alive, name="alive")
    stack, market._stack = market._stack, AsyncExitStack()
    await registered(market, dead, name="dead")
    token = await market.user_token("acme")
    for name in ("alive", "dead"):
        await listed(market, token, f"/servers/io.0711.acme/{name}/mcp")
    await market._stack.aclose()
    market._stack = stack
    both = ["io-0711-acme-alive__say", "io-0711-acme-dead__say"]
    failed = [await market.post_call(token, both[1]) for _ in range(7)]
    assert {each.status_code for each in failed} == {503}
    assert ["retry-after" in each.headers for each in failed] == [False] * 5 + [True] * 2
    assert list(await listed(market, token, "/mcp")) == both
    assert await said(await market.post_call(token, both[0])) == "say"


@pytest.mark.requirement("A-04")
async def test_a_disabled_user_is_refused_on_every_replica_within_five_seconds(market: Market) -> None:
    async with running_market(market.settings.home, market.urls) as replica:
        made = await market.add_user("customer_user", "acme", "anna@acme.example")
        token = await market.token(Credential(made.client_id, made.client_secret))
        operator = await market.operator()
        # The replica has another address, so its tokens name another audience; the account is the same.
        there = await replica.token(Credential(made.client_id, made.client_secret))
        assert (await replica.post_call(there, "whoami")).status_code == 200
        await market.call(operator, "disable_user", user_id=made.user_id)
        for place, held in ((market, token), (replica, there)):
            async with asyncio.timeout(HEARS_S):
                while (await place.post_call(held, "whoami")).status_code != 401:
                    pass


async def test_a_session_opened_on_one_replica_goes_on_at_another(market: Market) -> None:
    upstream = Changing(definition("say"), era="legacy")
    await registered(market, upstream)
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    key = Credential(made.client_id, made.client_secret)
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "say"}}
    first = await market.http.post(market.base + DOOR, json=start, headers=headers_for(await market.token(key)))
    session = {"mcp-session-id": first.headers["mcp-session-id"]}
    async with running_market(market.settings.home, market.urls) as replica:
        headers = headers_for(await replica.token(key)) | session
        assert await said(await replica.http.post(replica.base + DOOR, json=call, headers=headers)) == "say"


@pytest.mark.requirement("I-12")
async def test_a_partners_server_may_not_stand_inside_and_no_socket_is_opened_there(market: Market) -> None:
    made = await market.add_user("partner_admin", None, "partner@example.com")
    token = await market.token(Credential(made.client_id, made.client_secret))
    who = {"company_name": "Third GmbH", "contact_email": "it@third.example"}
    await market.call(token, "register_customer", customer_id="third", **who)
    port = free_port()
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}", "10.0.0.1"):
        with pytest.raises(InvalidInput):
            await market.call(
                token, "register_instance", customer_id="third", name="x", url=f"http://{host}/mcp", image_digest=DIGEST
            )
