"""The catalogue of a running marketplace: who sees, registers and installs what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.marketplace.catalogue import catalogue
from servers.marketplace.catalogue.store import CatalogueStore
from shared.contracts.catalogue import (
    CataloguePage,
    CustomerRegistered,
    InstanceRegistered,
    ServerInstalled,
    ServerUninstalled,
)
from shared.errors import Conflict, InvalidInput, NotFound
from tests.marketplace_rig import DIGEST, Credential, Market, refusal

OWN = ["io.0711/cradle", "io.0711/marketplace", "io.0711/orchestrator", "io.0711/tax"]
ACME = {"customer_id": "acme", "company_name": "Acme GmbH", "contact_email": "it@acme.example"}


async def names(market: Market, token: str, tool: str = "list_marketplace_mcps", **arguments: Any) -> list[str]:
    page = await market.call(token, tool, CataloguePage, **arguments)
    return [entry.server_name for entry in page.entries]


async def test_the_platforms_servers_are_listed_in_the_order_of_their_names_page_by_page(market: Market) -> None:
    token = await market.user_token("acme")
    assert await names(market, token) == OWN
    first = await market.call(token, "list_marketplace_mcps", CataloguePage, limit=2)
    second = await market.call(token, "list_marketplace_mcps", CataloguePage, limit=2, cursor=first.next_cursor)
    assert [entry.server_name for entry in (*first.entries, *second.entries)] == OWN
    assert second.next_cursor is None
    with pytest.raises(InvalidInput):
        await market.call(token, "list_marketplace_mcps", cursor="x' OR 1=1")


async def test_a_search_finds_names_descriptions_and_tools(market: Market) -> None:
    await market.add_instance("acme", None)
    token = await market.user_token("acme")
    assert await names(market, token, query="EMBEDDINGS") == ["io.0711/cradle"]
    assert await names(market, token, query="count") == ["io.0711.acme/instance"]
    assert await names(market, token, query="100%_'") == []
    for german in ("Umsatzsteuer", "mehrwertst", "Rechnung"):
        assert await names(market, token, query=german) == ["io.0711/tax"]
    for nothing in ({"query": "wetter"}, {"tool_name": "weather"}):
        page = await market.call(token, "list_marketplace_mcps", CataloguePage, **nothing)
        assert (page.entries, "search_mcps" in page.note) == ([], True)


async def test_no_answer_holds_more_servers_than_an_agent_takes_and_the_rest_is_on_the_next_page(
    market: Market,
) -> None:
    service, operator = await market.service(), await market.operator()
    for customer in ("acme", "bolt"):
        for number in range(8):
            await market.call(
                service, "register_instance", InstanceRegistered, customer_id=customer, name=f"instance-{number}",
                image_digest=DIGEST, tools=[f"tool_{each:02}_{'x' * 40}" for each in range(30)],
            )  # fmt: skip
    seen, cursor = [], None
    while True:
        page = await market.call(operator, "list_marketplace_mcps", CataloguePage, cursor=cursor, limit=100)
        assert len(page.model_dump_json()) < 45_000
        seen += [entry.server_name for entry in page.entries]
        if (cursor := page.next_cursor) is None:
            break
    assert len(seen) == len(set(seen)) == 16 + len(OWN)


@pytest.mark.requirement("F-10")
async def test_registering_a_customer_twice_changes_nothing_and_another_under_its_id_is_a_conflict(
    market: Market,
) -> None:
    token = await market.service()
    again = await market.call(token, "register_customer", CustomerRegistered, **ACME)
    assert again.already_there
    with pytest.raises(Conflict):
        await market.call(token, "register_customer", **(ACME | {"company_name": "Acme Corporation"}))


@pytest.mark.requirement("F-10")
async def test_registering_an_instance_twice_changes_nothing_and_a_new_image_replaces_the_old(market: Market) -> None:
    token = await market.service()
    arguments = {"customer_id": "acme", "name": "instance", "image_digest": DIGEST, "tools": ["say"]}
    first = await market.call(token, "register_instance", InstanceRegistered, **arguments)
    url = "http://127.0.0.1:9312/mcp"
    with_url = await market.call(token, "register_instance", InstanceRegistered, **arguments, url=url)
    again = await market.call(token, "register_instance", InstanceRegistered, **arguments)
    assert [made.already_there for made in (first, with_url, again)] == [False, False, True]
    newer = arguments | {"image_digest": "sha256:" + "1" * 64}
    assert not (await market.call(token, "register_instance", InstanceRegistered, **newer)).already_there
    page = await market.call(await market.user_token("acme"), "list_installed_mcps", CataloguePage)
    (entry,) = page.entries
    assert (entry.server_name, entry.version, entry.reachable) == ("io.0711.acme/instance", "1" * 16, True)


async def test_two_servers_do_not_share_an_address_and_forbidden_addresses_are_refused(market: Market) -> None:
    token = await market.service()
    await market.add_instance("acme", "http://127.0.0.1:9312/mcp")
    arguments = {"customer_id": "bolt", "name": "instance", "image_digest": DIGEST}
    for url in ("http://127.0.0.1:9312/mcp", market.settings.resource("cradle")):
        with pytest.raises(Conflict):
            await market.call(token, "register_instance", **arguments, url=url)
    with pytest.raises(InvalidInput):
        await market.call(token, "register_instance", **arguments, url="http://169.254.169.254/mcp")
    with pytest.raises(NotFound):
        await market.call(token, "register_instance", **(arguments | {"customer_id": "nobody"}))


async def test_installing_and_taking_away_may_be_repeated(market: Market) -> None:
    token = await market.user_token("acme")
    install = [await market.call(token, "install_mcp", ServerInstalled, server_name="io.0711/cradle") for _ in "ab"]
    assert [each.already_there for each in install] == [False, True]
    assert install[0].endpoint == market.base + "/servers/io.0711/cradle/mcp"
    assert await names(market, token, "list_installed_mcps") == ["io.0711/cradle"]
    gone = [await market.call(token, "uninstall_mcp", ServerUninstalled, server_name="io.0711/cradle") for _ in "ab"]
    assert [each.was_installed for each in gone] == [True, False]
    assert await names(market, token, "list_installed_mcps") == []


@pytest.mark.requirement("T-01")
async def test_another_customers_entries_look_unknown_to_every_tool(market: Market) -> None:
    theirs = await market.add_instance("bolt", "http://127.0.0.1:9312/mcp")
    token = await market.user_token("acme")
    assert await names(market, token) == OWN
    assert await names(market, token, query="bolt") == []
    for tool in ("install_mcp", "uninstall_mcp"):
        errors = [
            (await refusal(market.call(token, tool, server_name=name))).as_dict()
            for name in (theirs, "io.0711.nobody/instance")
        ]
        assert errors[0] == errors[1]
        assert errors[0]["code"] == "not_found"


@pytest.mark.requirement("T-01")
async def test_a_token_for_one_customer_cannot_register_for_another(market: Market) -> None:
    token = await market.token(market.credential("orchestrator"), customer="acme")
    errors = [
        (
            await refusal(
                market.call(token, "register_instance", customer_id=customer, name="instance", image_digest=DIGEST)
            )
        ).as_dict()
        for customer in ("bolt", "nobody")
    ]
    assert errors[0] == errors[1]


@pytest.mark.requirement("T-01")
async def test_a_token_for_another_customers_instance_is_refused_like_one_for_an_unknown_address(
    market: Market,
) -> None:
    await market.add_instance("bolt", "http://127.0.0.1:9312/mcp")
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    key = Credential(made.client_id, made.client_secret)
    answers = [
        await market.ask_token(key, resource=url)
        for url in ("http://127.0.0.1:9312/mcp", "http://127.0.0.1:9313/mcp", market.settings.resource("instance"))
    ]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    own = await market.add_user("customer_user", "bolt", "bert@bolt.example")
    given = await market.ask_token(Credential(own.client_id, own.client_secret), resource="http://127.0.0.1:9312/mcp")
    assert given.json()["scope"] == "dataset:read"


async def test_the_registry_lists_in_the_official_form(market: Market) -> None:
    token = await market.user_token("acme")
    headers = {"authorization": f"Bearer {token}"}
    page = (await market.http.get(market.base + "/v0.1/servers?limit=1&search=cradle", headers=headers)).json()
    (listed,) = page["servers"]
    assert listed["server"]["name"] == "io.0711/cradle"
    assert listed["server"]["remotes"][0]["type"] == "streamable-http"
    assert page["metadata"] == {"count": 1}
    for limit in ("0", "101", "x", "-1", "9" * 5000, "0100999", "0100" + "9" * 5000):
        refused = await market.http.get(market.base + "/v0.1/servers", params={"limit": limit}, headers=headers)
        assert refused.status_code == 400


async def test_a_customer_has_only_so_many_proposals_that_wait_and_versions_that_are_kept(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST_WAITING", 3)
    acme, bolt, operator = await market.user_token("acme"), await market.user_token("bolt"), await market.operator()

    async def proposed(number: int, token: str = acme, version: str = "1") -> Any:
        asked = {"server_name": f"com.example/s{number}", "title": "S", "description": "Does.", "version": version}
        return await market.call(token, "submit_mcp", url=f"https://s{number}.example.com/mcp", **asked)

    at_once = await asyncio.gather(*(proposed(number) for number in range(6)), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in at_once) == 3
    mine = next(number for number, each in enumerate(at_once) if not isinstance(each, Conflict))
    await proposed(mine, version="2")
    assert (await proposed(10, bolt))["approval"] == "submitted", "another customer's are counted apart"
    await market.call(operator, "review_mcp", server_name=f"com.example/s{mine}", state="rejected")
    await proposed(11)
    async with market.server.services.database.session("acme") as connection:
        await connection.execute(
            "INSERT INTO server_versions (server_name, version, customer_id, title, description, published_at) "
            "SELECT $1, 'old-' || n, 'acme', 'S', 'Does.', now() - interval '1 day' FROM generate_series(1, 600) n",
            f"com.example/s{mine}",
        )
    await proposed(mine, version="3")
    async with market.server.services.database.session("acme") as connection:
        kept = "SELECT count(*), bool_or(version = '3') FROM server_versions WHERE server_name = $1"
        assert tuple(await connection.fetchrow(kept, f"com.example/s{mine}")) == (500, True)


async def test_what_anybody_may_ask_is_asked_of_the_database_once_until_it_changes(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask, operator = [], CatalogueStore.for_everybody, await market.operator()

    async def seen(store: CatalogueStore, limit: int) -> Any:
        asked.append(limit)
        return await ask(store, limit)

    monkeypatch.setattr(CatalogueStore, "for_everybody", seen)
    for path in ("/.well-known/ai-catalog.json", "/mcp/server-card", "/servers/io.0711/tax/mcp/server-card") * 3:
        assert (await market.http.get(market.base + path)).status_code == 200
    assert len(asked) < 9, "remembered, but where a notification of something earlier came meanwhile"
    await market.call(operator, "review_mcp", server_name="io.0711/tax", state="suspended")
    assert (await market.http.get(f"{market.base}/servers/io.0711/tax/mcp/server-card")).status_code == 404
