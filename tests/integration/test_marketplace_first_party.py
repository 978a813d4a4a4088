"""The platform's own business servers: in the catalogue, installed and called like any other."""

from __future__ import annotations

from typing import Any

import pytest

from servers.marketplace.catalogue.own import FIRST_PARTY, first_party_address
from servers.marketplace.first_party.tax.tools import InvoiceTotals, VatIdChecked
from shared.client import Upstream
from shared.errors import NotFound, PlatformError
from tests.marketplace_rig import Credential, Market

TAX = "io.0711/tax"


async def through(market: Market, token: str, tool: str, result: Any, **arguments: Any) -> Any:
    async with Upstream(f"{market.base}/servers/{TAX}/mcp", key=token) as upstream:
        return await upstream.call(tool, arguments, result)


async def test_the_tax_server_is_listed_installed_pinned_and_called_through_the_gateway(market: Market) -> None:
    token = await market.user_token("acme")
    with pytest.raises(NotFound):
        await through(market, token, "check_vat_id", VatIdChecked, vat_id="DE136695976")
    await market.call(token, "install_mcp", server_name=TAX)
    checked = await through(market, token, "check_vat_id", VatIdChecked, vat_id="DE 136 695 976")
    assert (checked.acceptable, checked.check_digit, checked.number) == (True, "valid", "DE136695976")
    assert "ISO 7064 MOD 11,10" in checked.sources
    lines = [{"quantity": "999999999.9999", "unit_price": "999999999.9999", "percent": "19"}] * 500
    totals = await through(market, token, "calculate_invoice", InvoiceTotals, lines=lines)
    assert totals.net == "499999999999900000000.00"
    review = await market.call(await market.operator(), "check_mcp", server_name=TAX)
    assert {tool["state"] for tool in review["tools"]} == {"approved"}


async def test_a_first_party_server_refuses_tokens_of_others_and_those_who_have_not_installed_it(
    market: Market,
) -> None:
    address = first_party_address(market.settings, "tax")
    assert (await market.http.post(address, json={})).status_code == 401
    async with Upstream(address, key=await market.user_token("acme")) as upstream:  # a token for the marketplace
        with pytest.raises(PlatformError) as caught:
            await upstream.call("check_vat_id", {"vat_id": "DE136695976"})
    assert caught.value.status == 401
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    key, operator = Credential(made.client_id, made.client_secret), market.credential("operator")
    assert (await market.ask_token(operator, resource=address, customer="acme")).status_code == 400
    await market.call(await market.user_token("acme"), "install_mcp", server_name=TAX)
    told = (await market.ask_token(operator, resource=address, customer="acme")).json()
    assert told["scope"] == "tax:use"
    past_the_gateway = await market.ask_token(key, resource=address)
    assert past_the_gateway.status_code == 400, "nothing would count these calls"
    assert "through the gateway" in past_the_gateway.json()["error_description"]
    assert set(FIRST_PARTY) == {"tax"}
