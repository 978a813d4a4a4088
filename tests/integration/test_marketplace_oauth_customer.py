"""A program that an operator or a partner lets in acts for the customer that is named on the consent page."""

from __future__ import annotations

import pytest

from servers.marketplace.tools.accounts import ProgramList
from servers.marketplace.tools.catalogue import ServerInstalled
from shared.errors import Forbidden
from tests.integration.test_marketplace_oauth import Browser, asking, by_code, refreshed, registered
from tests.marketplace_rig import Market

SCOPES = "catalogue:read catalogue:install"
CRADLE = "io.0711/cradle"


async def test_a_program_of_the_operator_acts_for_the_customer_that_was_named(market: Market) -> None:
    user = await market.add_user("platform_admin", None, "operator@0711.example")
    client_id = (await registered(market))["client_id"]
    browser = Browser(market, user)
    browser.form["customer"] = " acme "
    back = await browser.consent(asking(market, client_id, scope=SCOPES))
    got = (await by_code(market, client_id, back["code"])).json()
    again = (await refreshed(market, client_id, got["refresh_token"])).json()
    for token in (got["access_token"], again["access_token"]):
        done = await market.call(token, "install_mcp", ServerInstalled, server_name=CRADLE)
        assert done.customer_id == "acme"
        (listed,) = (await market.call(token, "list_programs", ProgramList)).programs
        assert listed.customer_id == "acme"


async def test_a_program_for_which_none_was_named_is_told_where_to_name_one(market: Market) -> None:
    user = await market.add_user("platform_admin", None, "operator@0711.example")
    client_id = (await registered(market))["client_id"]
    browser = Browser(market, user)
    browser.form["customer"] = ""
    back = await browser.consent(asking(market, client_id, scope=SCOPES))
    token = (await by_code(market, client_id, back["code"])).json()["access_token"]
    with pytest.raises(Forbidden, match="or name one where the program is let in"):
        await market.call(token, "install_mcp", server_name=CRADLE)


async def test_a_customer_that_is_not_the_accounts_own_is_refused_like_an_unknown_one(market: Market) -> None:
    users = [await market.add_user("partner_admin", None, "partner@0711.example")]
    users += [await market.add_user("customer_user", "acme", "user@acme.example")]
    client_id = (await registered(market))["client_id"]
    for user in users:
        browser = Browser(market, user)
        await browser.open(asking(market, client_id))
        for customer in ("globex", "unknown", "' OR 1=1", "x" * 5000):
            response = await browser.answer(customer=customer)
            assert response.status_code == 403
            assert "This account acts for no customer with this id." in response.text
