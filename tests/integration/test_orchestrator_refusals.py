"""What an order names of the catalogue is checked before its customer is registered; cradle is away here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.orchestrator_rig import DIGEST, Rig, databases_of, running_rig, settings_in

OWN = {"company_name": "Kunde GmbH", "contact_email": "a@example.com", "data_sources": ["bucket:eingang"]}


@pytest.fixture
async def rig(database: Any, tmp_path: Any) -> AsyncIterator[Rig]:
    async with running_rig(settings_in(tmp_path / "home"), await databases_of(database)) as running:
        yield running


async def instance_of(rig: Rig, customer_id: str) -> str:
    """The catalogue's name of a customer's instance."""
    marketplace = rig.services.upstreams.marketplace
    named = {"customer_id": customer_id, "company_name": customer_id, "contact_email": "a@example.com"}
    await marketplace.call("register_customer", named)
    told = {"customer_id": customer_id, "name": "instance", "image_digest": DIGEST, "tools": []}
    return (await marketplace.call("register_instance", told, customer=customer_id))["server_name"]


@pytest.mark.requirement("T-01")
async def test_another_customers_server_is_refused_as_an_unknown_one_and_everybodys_is_not(rig: Rig) -> None:
    async def refusal(server_name: str) -> tuple[str, str]:
        result = (await rig.call("initialize_customer", OWN | {"mcps": [server_name]}))["result"]
        return result["_meta"]["0711/error"]["code"], result["content"][0]["text"].replace(server_name, "NAME")

    foreign = await instance_of(rig, "fremd")
    unknown = await refusal("io.0711.nirgendwo/instance")
    assert unknown[0] == "invalid_input"
    assert "list_marketplace_mcps" in unknown[1]
    assert await refusal(foreign) == unknown
    for name in ("io.0711/tax", await instance_of(rig, "kunde")):
        assert (await refusal(name))[0] == "unavailable"  # it is one; cradle is asked next
