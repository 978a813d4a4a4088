"""`/servers/{name}/mcp` where server and caller share no era of the protocol: what crosses over, and what does not."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.integration.test_marketplace_elicitation import ERAS, client_at, market_with, stack
from tests.integration.test_marketplace_gateway_tools import listed
from tests.integration.test_marketplace_lifecycle import ORDERS
from tests.marketplace_rig import Changing, Market, answering, definition
from tests.serving_rig import answer_of, envelope, headers_for

__all__ = ["stack"]
DOOR = f"/servers/{ORDERS}/mcp"
GREETING = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}  # fmt: skip
OTHER = {"legacy": "http modern", "2026-07-28": "http legacy"}


@pytest.mark.requirement("M-01")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["http", "http legacy", "http modern"])
async def test_a_server_answers_callers_of_both_eras_with_tools_resources_and_prompts(
    stack: AsyncExitStack, database: Any, tmp_path: Path, kind: str, mode: str
) -> None:
    market, token = await market_with(stack, database, tmp_path, kind)
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, note: str | None) -> None:
        told.append((done, total, note))

    assert {"tools", "resources", "prompts"} <= set(await capabilities(market, token, mode))
    async with client_at(market, token, mode, DOOR) as client:
        assert "say" in [tool.name for tool in (await client.list_tools()).tools]
        counted = await client.call_tool("count", {"steps": 3}, progress_callback=on_progress)
        assert counted.content[0].text == "3"
        (resource,) = (await client.list_resources()).resources
        (content,) = (await client.read_resource(resource.uri)).contents
        assert content.text == "grey cable"
        (prompt,) = (await client.list_prompts()).prompts
        (message,) = (await client.get_prompt(prompt.name, {"thing": "cable"})).messages
        assert message.content.text == "Praise the cable."
        with pytest.raises(MCPError):
            await client.read_resource("orders://none")
    assert told == [(step, 3, f"step {step}") for step in (1, 2, 3)]


@pytest.mark.parametrize("mode", ERAS)
async def test_what_does_not_cross_over_is_refused_in_a_sentence_and_does_not_travel(
    stack: AsyncExitStack, database: Any, tmp_path: Path, mode: str
) -> None:
    market, token = await market_with(stack, database, tmp_path, OTHER[mode])
    session = await greeted(market, token) if mode == "legacy" else {}
    method = "resources/subscribe" if mode == "legacy" else "subscriptions/listen"
    body = {"jsonrpc": "2.0", "id": 5, "method": method, "params": {}} if session else envelope(method, {})
    headers = headers_for(token) | session if session else headers_for(token, method)
    answer = answer_of(await market.http.post(market.base + DOOR, json=body, headers=headers))
    assert answer["error"]["code"] == -32601
    assert "tools, resources, prompts" in answer["error"]["message"]
    if session:
        for ending in ("GET", "DELETE"):
            assert (await market.http.request(ending, market.base + DOOR, headers=headers)).status_code == 405


async def test_a_session_between_the_eras_that_is_over_or_made_up_is_refused_so_that_its_caller_greets_again(
    stack: AsyncExitStack, database: Any, tmp_path: Path
) -> None:
    market, token = await market_with(stack, database, tmp_path, "http modern")
    body = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "order", "arguments": {"thing": "x"}}}
    headers = headers_for(token) | {"mcp-session-id": "between.made-up"}
    refused = await market.http.post(market.base + DOOR, json=body, headers=headers)
    assert refused.status_code == 404
    assert "initialize a new one" in refused.text


async def test_callers_that_share_a_session_upstream_do_not_share_ids_in_it(market: Market) -> None:
    upstream = Changing(definition("say"), era="legacy")
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    for path, tool in ((f"/servers/{name}/mcp", "say"), ("/mcp", "io-0711-acme-instance__say")):
        await listed(market, token, path)
        upstream.messages.clear()
        body = envelope("tools/call", {"name": tool, "_meta": {"progressToken": 5}}) | {"id": 5}
        headers = headers_for(token, "tools/call", tool)
        answers = [await market.http.post(market.base + path, json=body, headers=headers) for _ in "ab"]
        assert [answer_of(answer)["id"] for answer in answers] == [5, 5]
        called = [each for each in upstream.messages if each["method"] == "tools/call"]
        assert len({each["id"] for each in called}) == 2
        assert len({each["params"]["_meta"]["progressToken"] for each in called}) == 2


async def test_a_server_that_fails_is_not_taken_for_one_of_the_newer_era_only(market: Market) -> None:
    upstream = Changing(definition("say"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    place, token = f"{market.base}/servers/{name}/mcp", await market.user_token("acme")
    await listed(market, token, f"/servers/{name}/mcp")
    for refuses in ({"initialize": 503}, {"initialize": 401}, {"initialize": 400, "server/discover": 503}):
        upstream.refuses = refuses
        failed = await market.http.post(place, json=GREETING, headers=headers_for(token))
        assert failed.status_code == 503
        assert "mcp-session-id" not in failed.headers
    upstream.refuses = {"initialize": 400}
    greeted = await market.http.post(place, json=GREETING, headers=headers_for(token))
    assert answer_of(greeted)["result"]["capabilities"] == {"tools": {}, "prompts": {}}
    upstream.requests.clear()
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    session = {"mcp-session-id": greeted.headers["mcp-session-id"]}
    assert answer_of(await market.http.post(place, json=ping, headers=headers_for(token) | session))["result"] == {}
    assert upstream.requests == []  # what the gateway can say itself does not travel


async def capabilities(market: Market, token: str, mode: str) -> dict[str, Any]:
    """What the server says that it can, to a caller of this era."""
    method = "initialize" if mode == "legacy" else "server/discover"
    body = GREETING if mode == "legacy" else envelope(method, {})
    headers = headers_for(token) if mode == "legacy" else headers_for(token, method)
    answer = await market.http.post(market.base + DOOR, json=body, headers=headers)
    return answer_of(answer)["result"]["capabilities"]


async def greeted(market: Market, token: str) -> dict[str, str]:
    """The session that a caller of the older era gets."""
    answer = await market.http.post(market.base + DOOR, json=GREETING, headers=headers_for(token))
    assert answer_of(answer)["result"]["protocolVersion"] == "2025-11-25"
    return {"mcp-session-id": answer.headers["mcp-session-id"]}


@pytest.mark.requirement("A-09")
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_an_answer_in_an_encoding_that_nobody_asked_for_is_not_passed_on_unseen(
    market: Market, kind: str
) -> None:
    hidden = b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}'

    async def packed() -> AsyncIterator[bytes]:
        yield gzip.compress(hidden if kind.endswith("json") else b"data: " + hidden + b"\n\n")

    told = {"content-type": kind, "content-encoding": "gzip"}
    await market.add_instance("acme", await market.add_app(answering(200, told, packed)))
    answer = await market.post_call(await market.user_token("acme"), "io-0711-acme-instance__say", "/mcp")
    assert (answer.status_code, "another encoding" in answer.text) == (503, True)
