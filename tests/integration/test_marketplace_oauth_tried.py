"""What is tried against OAuth: names that change what a page shows, codes and tokens that many use at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from servers.marketplace.tools.accounts import UserCreated
from tests.integration.test_marketplace_oauth import (  # noqa: F401
    BACK,
    Browser,
    anna,
    asking,
    by_code,
    let_in,
    refreshed,
    refused_soon,
    registered,
)
from tests.marketplace_rig import Market, answer_json, running_market


@pytest.mark.requirement("I-04")
async def test_a_programs_name_moves_and_hides_nothing_of_the_page(
    market: Market,
    anna: UserCreated,  # noqa: F811 - the fixture
) -> None:
    document: dict[str, Any] = {"client_name": " Cla\u202eude\u2066\U000e0041\u200b", "redirect_uris": [BACK]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_json(send, document, 200)

    document["client_id"] = (await market.add_app(app)).removesuffix("/mcp") + "/client"
    for client_id in (
        document["client_id"],
        (await registered(market, client_name=document["client_name"]))["client_id"],
    ):
        browser = Browser(market, anna)
        await browser.open(asking(market, client_id))
        assert "<h1>Claude wants to connect</h1>" in browser.page


@pytest.mark.requirement("A-06")
async def test_of_a_code_or_refresh_token_that_is_used_many_times_at_once_at_most_one_use_counts_and_all_ends(
    market: Market,
    anna: UserCreated,  # noqa: F811 - the fixture
) -> None:
    async with running_market(market.settings.home, market.urls) as replica:
        client_id = (await registered(market))["client_id"]
        code = (await Browser(market, anna).consent(asking(market, client_id)))["code"]
        places = [market, replica] * 4
        resource = {"resource": market.resource}
        used = await asyncio.gather(*(by_code(each, client_id, code, **resource) for each in places))
        assert [each.status_code for each in used].count(200) <= 1
        for each in (one for one in used if one.status_code == 200):
            kept = each.json()
            assert (await refreshed(market, client_id, kept["refresh_token"])).json()["error"] == "invalid_grant"
        client_id, held = await let_in(market, anna)
        used = await asyncio.gather(*(refreshed(each, client_id, held["refresh_token"], **resource) for each in places))
        assert [each.status_code for each in used].count(200) <= 1
        for each in (one for one in used if one.status_code == 200):
            last = await refreshed(replica, client_id, each.json()["refresh_token"], **resource)
            assert last.json()["error"] == "invalid_grant"
        assert await refused_soon(market, held["access_token"])
