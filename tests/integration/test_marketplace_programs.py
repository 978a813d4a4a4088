"""Programs that a user has let in: they see them, and end one that they no longer trust."""

from __future__ import annotations

import pytest

from servers.marketplace.tools.accounts import ProgramList, UserCreated
from shared.errors import NotFound
from tests.integration.test_marketplace_oauth import Browser, anna, asking, let_in, refreshed, registered  # noqa: F401
from tests.marketplace_rig import Credential, Market, refusal


@pytest.mark.requirement("A-04")
async def test_a_user_sees_the_programs_that_they_let_in_and_ends_one_with_its_tokens(
    market: Market,
    anna: UserCreated,  # noqa: F811 - the fixture
) -> None:
    client_id, held = await let_in(market, anna, scope="catalogue:read gateway:call")
    other_client, other = await let_in(market, anna)
    unused = (await registered(market))["client_id"]
    await Browser(market, anna).consent(asking(market, unused))  # a code that nobody has brought
    own = await market.token(Credential(anna.client_id, anna.client_secret))
    stranger = await market.user_token("acme")
    listed = (await market.call(own, "list_programs", ProgramList)).programs
    assert [(each.scopes, each.resource) for each in listed][1] == (["catalogue:read", "gateway:call"], market.resource)
    assert len(listed) == 2
    assert {each.customer_id for each in listed} == {"acme"}
    assert listed[1].answered_at.startswith("http://127.0.0.1:33418")
    ends = listed[1].session_id
    assert (await market.call(stranger, "list_programs", ProgramList)).programs == []
    assert isinstance(await refusal(market.call(stranger, "revoke_program", session_id=ends)), NotFound)
    assert (await market.post_call(held["access_token"], "whoami")).status_code == 200

    await market.call(own, "revoke_program", session_id=ends)
    assert (await market.post_call(held["access_token"], "whoami")).status_code == 401
    assert (await refreshed(market, client_id, held["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await refreshed(market, other_client, other["refresh_token"])).status_code == 200
    assert isinstance(await refusal(market.call(own, "revoke_program", session_id=ends)), NotFound)


async def test_a_person_whose_program_asked_wrongly_gets_a_page_and_no_json(market: Market) -> None:
    client_id = (await registered(market))["client_id"]
    browser = {"accept": "text/html,*/*;q=0.8", "accept-language": "de"}
    evil = {"redirect_uri": "https://evil.example/"}
    for changes, detail in ((evil, "not registered by the client"), ({"client_id": "nobody"}, "nobody")):
        response = await market.http.get(asking(market, client_id, **changes), headers=browser)
        assert (response.status_code, response.headers["content-type"]) == (400, "text/html; charset=utf-8")
        assert "nicht so gefragt, wie es sollte" in response.text
        assert detail in response.text


async def test_the_page_asks_for_nothing_that_nobody_holds(
    market: Market,
    anna: UserCreated,  # noqa: F811 - the fixture
) -> None:
    page = await Browser(market, anna).open(
        asking(market, (await registered(market))["client_id"], scope="catalogue:read usage:write nonsense")
    )
    assert "see the catalogue of servers" in page.text
    assert "usage:write" not in page.text
    assert "nonsense" not in page.text
