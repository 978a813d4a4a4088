"""Searching the catalogue by meaning, with cradle's real model behind it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.tools import embedding
from servers.marketplace.catalogue import meaning
from servers.marketplace.tools.catalogue import ServersFound
from shared.auth import RemoteKeys, TokenVerifier
from shared.serving import Server
from tests.integration.test_marketplace_lifecycle import sql
from tests.marketplace_rig import Market, free_port, listening

SERVERS = {
    "com.example/invoices": "Books incoming bills of suppliers and pays them.",
    "com.example/weather": "Tells whether it will rain tomorrow, and how warm it gets.",
    "com.example/warehouse": "Counts the goods that lie in stock and orders what runs out.",
}


@pytest.fixture
def market_settings() -> dict[str, Any]:
    return {"cradle_port": free_port()}


async def add(market: Market, name: str, text: str, customer: str | None = None) -> None:
    await sql(
        market,
        "INSERT INTO catalogue_entries "
        "(server_name, title, description, version, kind, customer_id, approval, registered_by) "
        "VALUES ($1, $1, $2, '1', 'external', $3, 'approved', 'test')",
        name, text, customer,
    )  # fmt: skip


async def search(market: Market, token: str, question: str) -> tuple[list[str], str]:
    answer = await market.call(token, "search_mcps", ServersFound, question=question, limit=2)
    return [each.entry.server_name for each in answer.servers], answer.note


def cradle(market: Market, running: EmbeddingService) -> Server:
    """Cradle's real tool and model, behind its real check of tokens."""
    settings = market.settings
    keys = RemoteKeys(settings.url("marketplace") + "/.well-known/jwks.json")
    verifier = TokenVerifier(settings.resource("cradle"), settings.url("marketplace"), keys)
    server = Server("cradle", settings, verifier=verifier)
    held: Any = SimpleNamespace(embedding=running, settings=settings)
    embedding.register(server, lambda: held, lambda *_: None)
    return server


async def test_servers_are_found_by_what_they_are_for_and_by_words_while_cradle_is_away(
    market: Market, service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in SERVERS.items():
        await add(market, name, text)
    await add(market, "com.bolt/secret", "Keeps the accounts payable of Bolt.", "bolt")
    acme, bolt = await market.user_token("acme"), await market.user_token("bolt")
    names, note = await search(market, acme, "rain tomorrow")
    assert note
    assert names == []  # written past the store, which notes the words of what it stores
    async with listening(cradle(market, service).asgi(), market.settings.cradle_port, market.settings):
        names, note = await search(market, acme, "accounts payable")
        assert (names[0], note) == ("com.example/invoices", "")
        assert "com.bolt/secret" not in names
        assert (await search(market, acme, "umbrella forecast"))[0][0] == "com.example/weather"
        assert (await search(market, bolt, "accounts payable"))[0][0] == "com.bolt/secret"
        changed = "UPDATE catalogue_entries SET description = $2, updated_at = now() WHERE server_name = $1"
        await sql(market, changed, "com.example/weather", "Pays invoices: accounts payable for suppliers.")
        assert (await search(market, acme, "accounts payable"))[0][0] == "com.example/weather"
        await sql(
            market, "UPDATE catalogue_entries SET approval = 'suspended' WHERE server_name = 'com.example/weather'"
        )
        assert "com.example/weather" not in (await search(market, acme, "accounts payable"))[0]
        monkeypatch.setattr(meaning, "READ_AT_ONCE", 2)
        for number in range(5):
            await add(market, f"com.example/extra{number}", f"Something else, number {number}.")
        assert (await search(market, acme, "something"))[1]
        await search(market, acme, "something")
        assert (await search(market, acme, "something"))[1] == ""
