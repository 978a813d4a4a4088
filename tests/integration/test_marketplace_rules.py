"""Rules about arguments at a running marketplace: set by the operator, decided at every way through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from servers.marketplace.rules.store import MAX_RULES
from servers.marketplace.tools.access import AccessExplained
from servers.marketplace.tools.rules import ArgumentRule, ArgumentRuleList
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.integration.test_marketplace_gateway_tools import sdk_client
from tests.marketplace_rig import Changing, Market, definition, free_port, listening, running_market
from tests.serving_rig import HEARS_S, answer_of, envelope, headers_for

SHORT = "size(args.texts) <= 2"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until the replica has heard of a change."""
    async with asyncio.timeout(HEARS_S):
        while not await holds():
            pass


class Gate:
    """A server of a customer behind the gateway, and someone who calls it."""

    def __init__(self, market: Market, upstream: Changing, name: str, token: str) -> None:
        self.market = market
        self.upstream = upstream
        self.name = name
        self.token = token

    async def set(self, condition: str = SHORT, tool: str = "say", **more: Any) -> ArgumentRule:
        told = {"server_name": self.name, "tool_name": tool, "condition": condition} | more
        made = await self.market.call(await self.market.operator(), "set_argument_rule", ArgumentRule, **told)
        await self.counts(made.rule_id, True)
        return made

    async def remove(self, rule_id: str) -> None:
        await self.market.call(await self.market.operator(), "remove_argument_rule", rule_id=rule_id)
        await self.counts(rule_id, False)

    async def counts(self, rule_id: str, counts: bool) -> None:
        await until(lambda: self._has(rule_id, counts))

    async def _has(self, rule_id: str, counts: bool) -> bool:
        return any(rule_id in each for each in await self.explained()) == counts

    async def explained(self, **more: Any) -> list[str]:
        answer = await self.market.call(
            self.token, "explain_access", AccessExplained, server_name=self.name, tool_name="say", **more
        )
        assert answer.allowed == all(each.allowed for each in answer.steps)
        return [f"{each.allowed} {each.reason}" for each in answer.steps if each.step == "condition"]

    async def alone(self, **arguments: Any) -> httpx2.Response:
        """A call at the server's own address."""
        return await self.market.post_call(self.token, "say", f"/servers/{self.name}/mcp", **arguments)

    async def together(self, **arguments: Any) -> httpx2.Response:
        """A call in the one list of all tools."""
        return await self.market.post_call(self.token, "io-0711-acme-instance__say", **arguments)


@pytest.fixture
async def gate(market: Market) -> Gate:
    upstream = Changing(definition("say"), definition("other"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    made = Gate(market, upstream, name, await market.user_token("acme"))
    assert (await made.alone()).status_code == 200
    return made


async def test_a_call_passes_only_where_the_condition_is_true_of_its_arguments(gate: Gate) -> None:
    made = await gate.set()
    for call in (gate.alone, gate.together):
        assert answer_of(await call(texts=["a", "b"]))["result"]["content"][0]["text"] == "say"
        before = len(gate.upstream.requests)
        for arguments in ({"texts": ["a", "b", "secret-canary"]}, {}, {"texts": 3}):
            refused = await call(**arguments)
            assert refused.status_code == 403, arguments
            error = refused.json()["error"]
            assert made.rule_id in error["message"]
            assert SHORT in error["message"]
            assert "canary" not in refused.text
        assert len(gate.upstream.requests) == before, "nothing of a refused call goes upstream"
    other = await gate.market.post_call(gate.token, "other", f"/servers/{gate.name}/mcp", texts=[1, 2, 3])
    assert other.status_code == 200, "another tool has no rule"
    await gate.remove(made.rule_id)
    assert (await gate.alone(texts=["a", "b", "c"])).status_code == 200


async def test_what_is_judged_is_what_travels(gate: Gate) -> None:
    """A body that holds the arguments twice is one message with the last of them, upstream too."""
    await gate.set()
    headers = headers_for(gate.token, "tools/call", "say") | {"content-type": "application/json"}
    few, many = b'{"texts":["a"]}', b'{"texts":["a","b","c"]}'
    once = orjson.dumps(envelope("tools/call", {"name": "say", "arguments": orjson.loads(few)}))
    for first, last, status in ((many, few, 200), (few, many, 403)):
        twice = once.replace(b'"arguments":' + few, b'"arguments":' + first + b',"arguments":' + last)
        url = f"{gate.market.base}/servers/{gate.name}/mcp"
        assert (await gate.market.http.post(url, content=twice, headers=headers)).status_code == status
    assert gate.upstream.arguments == [{}, {"texts": ["a"]}]


async def test_explain_access_says_which_condition_decides_and_repeats_no_argument(gate: Gate) -> None:
    assert await gate.explained(arguments={"texts": []}) == []
    first, second = await gate.set(), await gate.set('!has(args.model) || args.model == "x"')
    told = await gate.explained()
    assert [each.split()[0] for each in told] == ["True", "True"], "without arguments nothing is refused"
    assert all("not given" in each for each in told)
    told = await gate.explained(arguments={"texts": ["secret-canary"], "model": "secret-canary"})
    assert [(each.split()[0], rule.rule_id in each) for each, rule in zip(told, (first, second), strict=True)] == [
        ("True", True), ("False", True),
    ]  # fmt: skip
    assert "canary" not in str(told)
    listed = await gate.market.call(
        await gate.market.operator(), "list_argument_rules", ArgumentRuleList, server_name=gate.name
    )
    assert [(each.rule_id, each.customer_id) for each in listed.rules] == [
        (first.rule_id, "acme"), (second.rule_id, "acme"),
    ]  # fmt: skip


async def test_only_the_operator_sets_rules_and_only_good_ones(gate: Gate) -> None:
    market, operator = gate.market, await gate.market.operator()
    told = {"server_name": gate.name, "tool_name": "say", "condition": SHORT}
    for token in (gate.token, await market.service()):
        with pytest.raises(Forbidden):
            await market.call(token, "set_argument_rule", **told)
    for changes, refused in (
        ({"tool_name": "sya"}, NotFound),
        ({"customer_id": "bolt"}, Conflict),
        ({"customer_id": "nobody"}, NotFound),
        ({"condition": "args.a.map(x, x)"}, InvalidInput),
        ({"server_name": "io.0711/marketplace"}, InvalidInput),
    ):
        with pytest.raises(refused):
            await market.call(operator, "set_argument_rule", **(told | changes))
    made = await gate.set()
    elsewhere = await market.token(market.credential("operator"), customer="bolt")
    with pytest.raises(NotFound):
        await market.call(elsewhere, "remove_argument_rule", rule_id=made.rule_id)
    for _ in range(MAX_RULES - 1):
        await market.call(operator, "set_argument_rule", **told)
    with pytest.raises(Conflict, match="remove_argument_rule"):
        await market.call(operator, "set_argument_rule", **told)


async def test_a_rule_of_one_customer_is_not_the_others_and_everyones_is(market: Market) -> None:
    operator, tax = await market.operator(), "io.0711/tax"
    told = {"server_name": tax, "tool_name": "check_vat_id", "condition": 'args.vat_id.startsWith("DE")'}
    tokens = {customer: await market.user_token(customer) for customer in ("acme", "bolt")}
    for token in tokens.values():
        await market.call(token, "install_mcp", server_name=tax)

    async def rules_of(customer: str) -> int:
        answer = await market.call(
            tokens[customer], "explain_access", AccessExplained, server_name=tax, tool_name="check_vat_id"
        )
        return sum(each.step == "condition" for each in answer.steps)

    async def are(acme: int, bolt: int) -> bool:
        return [await rules_of("acme"), await rules_of("bolt")] == [acme, bolt]

    await market.call(operator, "check_mcp", server_name=tax)
    await market.call(operator, "set_argument_rule", **told, customer_id="acme")
    await until(lambda: are(1, 0))
    await market.call(operator, "set_argument_rule", **told)
    await until(lambda: are(2, 1))


async def test_the_route_beside_a_tool_is_closed_where_a_rule_is_set_on_it(database: Any, tmp_path: Path) -> None:
    made, port = await database("servers.marketplace", "shared"), free_port()
    cradle = {"cradle_url": f"http://127.0.0.1:{port}", "embedding_port": free_port()}
    async with (
        running_market(tmp_path, made.urls, **cradle) as market,
        listening(Changing(definition("embed")), port, market.settings),
    ):
        await market.add_customers()
        token, operator = await market.user_token("acme"), await market.operator()
        headers = {"authorization": f"Bearer {token}"}

        async def closed() -> bool:
            body = {"input": ["a", "b", "c"], "model": "x"}
            answer = await market.http.post(market.base + "/v1/embeddings", json=body, headers=headers)
            assert answer.status_code == 503 or "embed" in answer.json()["message"]  # nothing listens there
            return answer.status_code == 403

        assert not await closed()
        await market.call(operator, "check_mcp", server_name="io.0711/cradle")
        told = {"server_name": "io.0711/cradle", "tool_name": "embed", "condition": SHORT}
        await market.call(operator, "set_argument_rule", **told)
        await until(closed)


REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_argument_that_a_tool_wants_in_a_header_too_is_the_one_that_was_judged(
    market: Market, era: str
) -> None:
    """Whoever reads the header in place of the body reads what the rules were judged on, and gets it from a caller of
    the older era too, who sends none."""
    upstream, told = Changing(definition("say", inputSchema=REGION), era=era), list[dict[str, str]]()

    async def seeing(scope: Any, receive: Any, send: Any) -> None:
        told.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await upstream(scope, receive, send)

    name = await market.add_instance("acme", await market.add_app(seeing))
    token = await market.user_token("acme")
    wanted = "eu" if era == "modern" else None
    for path, tool in ((f"/servers/{name}/mcp", "say"), ("/mcp", "io-0711-acme-instance__say")):
        body = envelope("tools/call", {"name": tool, "arguments": {"region": "eu"}})
        headers = headers_for(token, "tools/call", tool) | {"Mcp-Param-Region": "us", "Mcp-Param-Other": "x"}
        assert (await market.http.post(market.base + path, json=body, headers=headers)).status_code == 200
        assert (told[-1].get("mcp-param-region"), told[-1].get("mcp-param-other")) == (wanted, None)
    async with sdk_client(market, token, "legacy") as client:
        await client.call_tool("io-0711-acme-instance__say", {"region": "eu"})
    assert told[-1].get("mcp-param-region") == wanted


async def test_a_rule_on_an_argument_that_the_tool_does_not_declare_is_refused_with_what_it_does(
    market: Market,
) -> None:
    texts = {"type": "object", "properties": {"texts": {"type": "array"}}}
    upstream = Changing(definition("say", inputSchema=texts))
    gate = Gate(market, upstream, await market.add_instance("acme", await market.add_app(upstream)), "")
    gate.token = await market.user_token("acme")
    assert (await gate.alone()).status_code == 200
    with pytest.raises(InvalidInput, match=r"does not declare; declared are: texts\. "):
        await gate.set("!has(args.text) || size(args.text) <= 2")
    await gate.set()
