"""Finding tools in a long list, and why a call would be let through or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from mcp_types.jsonrpc import INVALID_PARAMS

from servers.marketplace.gateway.finding import ALWAYS_LISTED, found_tools
from servers.marketplace.gateway.own_tools import CALL_TOOL
from servers.marketplace.tools.access import AccessExplained, ToolsFound
from servers.marketplace.tools.accounts import WhoAmI
from servers.marketplace.tools.review import ServerReviewed
from shared.auth import Principal
from shared.contracts.catalogue import SCOPE_OF_TOOL
from shared.errors import InvalidInput, NotFound
from shared.ids import canonical_json
from tests.marketplace_rig import Changing, Market, definition
from tests.serving_rig import answer_of, envelope, headers_for


def test_rare_words_and_words_of_a_name_come_first() -> None:
    tools = [
        definition("get_price", "Answer with the price of a product."),
        definition("get_product", "Answer with a product."),
        definition("list_products", "Answer with products; use get_price for a price."),
        definition("send_mail", "Send a mail."),
    ]
    texts = [canonical_json(each).decode() for each in tools]

    def names(query: str, limit: int = 5) -> list[str]:
        return [each["name"] for each in found_tools(texts, query, limit)]

    assert names("price of a product")[0] == "get_price"
    assert names("prod") == ["get_product", "list_products", "get_price"]
    assert names("MAIL", 1) == ["send_mail"]
    assert names("mailing products")[:2] == ["send_mail", "get_product"], "a longer form of a tool's word fits too"
    assert names("ma") == names("an") == [], "two letters stand for no longer word"
    texts += [canonical_json(definition(each, "Send a mail.")).decode() for each in ALWAYS_LISTED]
    assert names("mail") == ["send_mail"], "what every list has need not be found"
    assert names("nothing like it") == names("") == []


async def test_a_tool_is_found_and_called_while_the_list_stays_small(market: Market) -> None:
    upstream = Changing(
        *(definition(f"tool_{number}", f"Does thing {number}.") for number in range(120)), definition("say")
    )
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    await market.http.post(
        f"{market.base}/servers/{name}/mcp", json=envelope("tools/list", {}), headers=headers_for(token, "tools/list")
    )
    body, headers = envelope("tools/list", {}), headers_for(token, "tools/list")
    small = answer_of(await market.http.post(market.base + "/mcp?tools=search", json=body, headers=headers))["result"]
    assert {tool["name"] for tool in small["tools"]} == ALWAYS_LISTED | {CALL_TOOL}
    assert len(orjson.dumps(small)) < 16_000
    left_out = await market.call(token, "search_tools", ToolsFound, query="list the open invitations")
    assert left_out.tools[0].name == "list_invitations"
    listed = await market.post_call(token, CALL_TOOL, "/mcp?tools=search", name="list_invitations")
    assert answer_of(listed)["result"]["structuredContent"] == {"invitations": []}
    user = await market.user_token("acme", "customer_user")
    theirs = await market.call(user, "search_tools", ToolsFound, query="list the open invitations")
    assert "list_invitations" not in [tool.name for tool in theirs.tools], "what may not be called is not found"
    said = str(market.server.mcp.instructions)
    assert all(name in said for name in ("search_tools", "search_mcps", "explain_access"))
    found = await market.call(token, "search_tools", ToolsFound, query="say something")
    assert (found.tools[0].name, found.searched) == ("io-0711-acme-instance__say", 121)
    assert found.tools[0].input_schema == {"type": "object"}
    called = await market.post_call(token, found.tools[0].name, "/mcp?tools=search")
    assert answer_of(called)["result"]["content"][0]["text"] == "say"
    through = await market.post_call(token, CALL_TOOL, "/mcp?tools=search", name=found.tools[0].name, arguments={})
    assert answer_of(through)["result"]["content"][0]["text"] == "say"
    assert (await market.post_call(user, CALL_TOOL, name="list_invitations")).status_code == 403, "as the tool itself"
    for wrong in (
        {},
        {"name": "whoami", "text": ""},
        {"name": 1},
        {"name": CALL_TOOL},
        {"name": "say", "arguments": []},
        {"name": "io-0711-x__y"},
    ):
        refused = await market.post_call(token, CALL_TOOL, **wrong)
        assert answer_of(refused)["error"]["code"] == INVALID_PARAMS, wrong
    other = await market.call(await market.user_token("bolt"), "search_tools", ToolsFound, query="say")
    assert other.searched == 0
    assert not [tool for tool in other.tools if "__" in tool.name]
    assert "install_mcp" in other.note
    nothing = await market.call(token, "search_tools", ToolsFound, query="zzz")
    assert (nothing.tools, nothing.searched, "other words" in nothing.note, found.note) == ([], 121, True, "")
    nobodys = await market.call(await market.operator(), "search_tools", ToolsFound, query="say")
    assert "token with `customer`" in nobodys.note


async def test_the_explanation_names_what_is_missing_and_hides_what_the_caller_does_not_see(market: Market) -> None:
    upstream = Changing(definition("say"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    await market.post_call(token, "say", f"/servers/{name}/mcp")

    async def explained(held: str, **more: Any) -> list[tuple[str, bool]]:
        answer = await market.call(held, "explain_access", AccessExplained, **{"server_name": name, **more})
        assert answer.allowed == all(each.allowed for each in answer.steps)
        return [(each.step, each.allowed) for each in answer.steps]

    allowed = [("scope", True), ("customer", True), ("rule", True), ("server", True)]
    assert await explained(token) == await explained(token, tool_name="say") == allowed
    assert await explained(token, tool_name="other") == [*allowed[:2], ("rule", False), ("server", True)]
    unknown = await market.call(token, "explain_access", AccessExplained, server_name=name, tool_name="other")
    assert "No tool of this name" in unknown.steps[2].reason
    assert await explained(token, server_name="io.0711/cradle") == [*allowed[:2], ("rule", False), ("server", True)]
    assert (await explained(await market.service(), server_name="io.0711/tax"))[-1] == ("server", False)
    narrow = await market.user_token("acme", scope="catalogue:read")
    assert (await explained(narrow))[0] == ("scope", False)
    user = await market.add_user("customer_user", "acme", "anna@acme.example")
    assert await explained(token, user_id=user.user_id) == allowed
    await market.call(token, "disable_user", user_id=user.user_id)
    assert (await explained(token, user_id=user.user_id))[0] == ("scope", False)
    stranger = await market.user_token("bolt")
    with pytest.raises(NotFound):
        await explained(stranger)
    me = await market.call(stranger, "whoami", WhoAmI)
    with pytest.raises(NotFound):
        await explained(token, user_id=me.subject)
    assert upstream.requests.count("tools/call") == 1, "explaining calls nothing"


async def test_an_explanation_takes_the_name_that_a_list_shows_and_says_what_it_needs_together(market: Market) -> None:
    upstream = Changing(definition("say"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    await market.post_call(token, "say", f"/servers/{name}/mcp")

    async def explained(**asked: Any) -> AccessExplained:
        return await market.call(token, "explain_access", AccessExplained, **asked)

    full = "io-0711-acme-instance__say"
    alone = await explained(tool_name=full)
    assert alone.allowed
    assert alone == await explained(tool_name=full, server_name=name)
    assert alone == await explained(tool_name="say", server_name=name)
    for wrong, needed in (({}, "server_name"), ({"tool_name": "say"}, "full name"), (
        {"server_name": name, "arguments": {"a": 1}}, "tool_name",
    )):  # fmt: skip
        with pytest.raises(InvalidInput, match=needed):
            await explained(**wrong)
    operator = await market.call(await market.operator(), "explain_access", AccessExplained, server_name="io.0711/tax")
    assert "without installing" in operator.steps[2].reason


async def test_a_tool_whose_scope_the_role_lacks_is_neither_listed_nor_called(market: Market) -> None:
    def asking(tool: str, scope: str) -> dict[str, Any]:
        return definition(tool, _meta={SCOPE_OF_TOOL: scope})

    upstream = Changing(asking("search", "dataset:read"), asking("put_update", "dataset:update"), definition("say"))
    name = await market.add_instance("acme", await market.add_app(upstream))
    token, place = await market.user_token("acme"), f"/servers/{name}/mcp"
    await market.post_call(token, "search", place)
    body, headers = envelope("tools/list", {}), headers_for(token, "tools/list")
    listed = answer_of(await market.http.post(market.base + place, json=body, headers=headers))["result"]["tools"]
    assert [tool["name"] for tool in listed] == ["search", "say"]
    refused = answer_of(await market.post_call(token, "put_update", place))["error"]
    assert "Unknown tool" in refused["message"]
    assert upstream.requests.count("tools/call") == 1
    for tool, allowed in (("search", True), ("put_update", False)):
        asked = {"server_name": name, "tool_name": tool}
        told = await market.call(token, "explain_access", AccessExplained, **asked)
        assert (told.allowed, "needs the scope dataset:" in told.steps[3].reason) == (allowed, True)


async def test_a_server_of_many_tools_is_reviewed_part_by_part(market: Market) -> None:
    long = "Reads what was asked for, and nothing else. " * 15
    upstream = Changing(*(definition(f"tool_{number:03}", long) for number in range(120)))
    name = await market.add_instance("acme", await market.add_app(upstream))
    operator = await market.operator()

    async def checked() -> list[ServerReviewed]:
        parts = [await market.call(operator, "check_mcp", ServerReviewed, server_name=name)]
        while (start := parts[-1].next_start) is not None:
            parts.append(await market.call(operator, "check_mcp", ServerReviewed, server_name=name, start=start))
        assert all(len(part.model_dump_json()) < 45_000 for part in parts)
        assert len({part.reviewed for part in parts}) == 1
        return parts

    parts = await checked()
    assert len(parts) > 1
    assert [tool.name for part in parts for tool in part.tools] == [each["name"] for each in upstream.tools]
    await market.call(operator, "approve_mcp_tools", ServerReviewed, server_name=name, reviewed=parts[0].reviewed)
    upstream.tools[1] = definition("tool_001", "Sends what was asked for elsewhere.")
    shown = {tool.name: tool for part in await checked() for tool in part.tools}
    assert {tool.state for tool in shown.values()} == {"approved", "changed"}
    assert (shown["tool_000"].approved_definition, long in shown["tool_000"].seen_definition) == ("", True)
    assert long in shown["tool_001"].approved_definition
    assert "Sends what" in shown["tool_001"].seen_definition


async def test_found_tools_with_large_schemas_are_as_many_as_an_agent_takes(market: Market) -> None:
    schema = {"type": "object", "properties": {f"field_{number:03}": {"type": "string"} for number in range(200)}}
    upstream = Changing(*(definition(f"report_{number:02}", inputSchema=schema) for number in range(20)))
    name = await market.add_instance("acme", await market.add_app(upstream))
    token = await market.user_token("acme")
    await market.post_call(token, "report_00", f"/servers/{name}/mcp")
    found = await market.call(token, "search_tools", ToolsFound, query="report", limit=20)
    assert 1 < len(found.tools) < 20
    assert len(found.model_dump_json()) < 45_000
    assert f"The first {len(found.tools)} fill" in found.note


async def test_what_is_remembered_of_tools_grows_neither_with_tokens_nor_with_users(market: Market) -> None:
    name = await market.add_instance("acme", await market.add_app(Changing(definition("say"))))
    token = await market.user_token("acme")
    assert (await market.post_call(token, "say", f"/servers/{name}/mcp")).status_code == 200
    routes = market.server.services.routes
    one = Principal("usr_one", "customer_user", frozenset({"gateway:call"}), "acme", "key_one", 1.0)
    later, other = replace(one, client_id="ses_two", expires_at=2.0), replace(one, subject="usr_other")
    assert await routes.everything(later) is await routes.everything(one)
    assert await routes.route(later, name) is await routes.route(one, name)
    routes_of_two = [await routes.route(each, name) for each in (one, other)]
    assert [each.grant.subject for each in routes_of_two] == ["usr_one", "usr_other"]
    assert routes_of_two[0].tools["say"] is routes_of_two[1].tools["say"]
    texts = [(await routes.everything(each)).definitions[0] for each in (one, other)]
    assert texts[0] is texts[1]
