"""Tokens of accounts, keys and sign-ins that have ended, at the servers that only verify them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.auth import RemoteKeys, StandingCallers, TokenVerifier
from shared.auth.ended import ENDED, PATH, mark
from shared.errors import Unauthenticated
from shared.settings import Settings
from tests.marketplace_rig import Credential, Market, free_port
from tests.serving_rig import HANGS_S


@asynccontextmanager
async def at_cradle(settings: Settings, keys: str, issuer: str) -> AsyncIterator[StandingCallers]:
    """What cradle verifies with; its keys come from one address, and what has ended from another."""
    source = RemoteKeys(keys + "/.well-known/jwks.json")
    verifier = StandingCallers(TokenVerifier.of(settings, "cradle", source), issuer)
    try:
        yield verifier
    finally:
        await verifier.aclose()
        await source.aclose()


async def refused(verifier: StandingCallers, token: str) -> None:
    """Wait until a token passes no more."""
    async with asyncio.timeout(HANGS_S):
        while True:
            try:
                await verifier.verify(token)
            except Unauthenticated as error:
                assert error.message == "This account has ended."  # noqa: PT017 - any other would be the token's end
                return
            await asyncio.sleep(0.05)


@pytest.mark.requirement("A-04")
async def test_what_has_ended_is_refused_by_other_servers_before_its_tokens_end(market: Market) -> None:
    operator, cradle = await market.operator(), market.settings.resource("cradle")
    ended = await market.add_user("customer_admin", "acme", "ended@acme.example")
    stays = await market.add_user("customer_admin", "acme", "stays@acme.example")
    tokens = [await market.token(Credential(each.client_id, each.client_secret), resource=cradle)
              for each in (ended, stays)]  # fmt: skip
    async with at_cradle(market.settings, market.base, market.base) as verifier:
        assert [(await verifier.verify(each)).subject for each in tokens] == [ended.user_id, stays.user_id]
        await market.call(operator, "disable_user", user_id=ended.user_id)
        await refused(verifier, tokens[0])
        assert (await verifier.verify(tokens[1])).subject == stays.user_id
        own = await market.token(Credential(stays.client_id, stays.client_secret))
        await market.call(own, "revoke_api_key", key_id=stays.client_id)
        await refused(verifier, tokens[1])
    async with at_cradle(market.settings, market.base, market.base) as fresh:  # a first call waits for the list
        with pytest.raises(Unauthenticated):
            await fresh.verify(tokens[0])
    listed = (await market.http.get(market.base + PATH)).text
    assert mark(ended.user_id) in listed
    assert mark(stays.client_id) in listed
    assert mark(stays.user_id) not in listed
    assert not any(name in listed for name in (ended.user_id, stays.client_id, "acme"))


async def test_a_marketplace_that_does_not_say_who_has_ended_stops_no_other_server(market: Market) -> None:
    user = await market.add_user("customer_admin", "acme", "anna@acme.example")
    token = await market.token(
        Credential(user.client_id, user.client_secret), resource=market.settings.resource("cradle")
    )
    async with at_cradle(market.settings, market.base, f"http://127.0.0.1:{free_port()}") as verifier:
        assert (await verifier.verify(token)).subject == user.user_id
    assert (await market.http.get(market.base + PATH)).json() == {ENDED: []}
