"""People who sign in at an identity provider of the operator's: what its tokens open, and what none opens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from servers.marketplace.oauth import ASSERTION
from servers.marketplace.providers.issuer import DISCOVERY
from servers.marketplace.tools.accounts import WhoAmI
from shared.errors import InvalidInput
from shared.settings import load
from tests.marketplace_rig import Market, running_market
from tests.oidc_rig import OURS, Provider, by_secret, jwk
from tests.serving_rig import listening


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def market(database: Any, tmp_path: Any, provider: Provider) -> AsyncIterator[Market]:
    made = await database("servers.marketplace", "shared")
    trusted = {provider.issuer: {"audience": OURS, "domains": ["acme.example"]}}
    async with (
        running_market(tmp_path, made.urls, identity_providers=trusted) as running,
        listening(provider, provider.port, running.settings),
    ):
        await running.add_customers()
        yield running


async def sign_in(market: Market, assertion: str, **form: str) -> httpx2.Response:
    told = {"grant_type": ASSERTION, "assertion": assertion, "resource": market.resource} | form
    return await market.http.post(market.base + "/oauth/token", data=told)


@pytest.mark.requirement("A-01")
async def test_who_signs_in_at_the_provider_acts_as_the_account_of_that_address(
    market: Market, provider: Provider
) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    given = await sign_in(market, provider.token())
    assert given.status_code == 200, given.text
    assert given.headers["cache-control"] == "no-store"
    me = await market.call(given.json()["access_token"], "whoami", WhoAmI)
    assert (me.subject, me.role, me.customer_id) == (made.user_id, "customer_user", "acme")
    narrow = await sign_in(market, provider.token(), scope="catalogue:read users:write")
    assert narrow.json()["scope"] == "catalogue:read"
    assert (await sign_in(market, provider.token(), customer="bolt")).json()["error"] == "invalid_target"
    told = (await market.http.get(market.base + "/.well-known/oauth-authorization-server")).json()
    assert ASSERTION in told["grant_types_supported"]
    await market.call(await market.operator(), "disable_user", user_id=made.user_id)
    assert (await sign_in(market, provider.token())).json()["error"] == "invalid_grant"


@pytest.mark.requirement("A-01")
@pytest.mark.filterwarnings("ignore:The (RSA|HMAC) key is")
async def test_every_token_that_is_no_fresh_one_of_the_provider_for_the_platform_gets_the_same_refusal(
    market: Market, provider: Provider
) -> None:
    for email in ("anna@acme.example", "eve@bolt.example"):
        await market.add_user("customer_admin", "acme", email)
    now, other, good = int(time.time()), Provider(), provider.claims()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    provider.keys += [
        jwk(weak, "weak"),
        jwk(provider.private, "encrypts", use="enc"),
        {"kty": "oct", "k": "AAAA", "kid": "oct"},
    ]
    provider.keys.append(jwk(provider.private, "pss", alg="PS256"))
    forged = {
        "another audience": provider.token(aud="somebody-else"),
        "two audiences": provider.token(aud=[OURS, "somebody-else"]),
        "another issuer": provider.token(iss=other.issuer),
        "no issuer": provider.token(iss=None),
        "over": provider.token(iat=now - 120, exp=now - 60),
        "lives two hours": provider.token(exp=now + 7200),
        "not yet": provider.token(nbf=now + 600),
        "no end": provider.token(exp=None),
        "an end as a text": provider.token(exp=str(now + 600)),
        "a beginning as a text": provider.token(iat=str(now)),
        "an address that nobody has verified": provider.token(email_verified=False),
        "an address of which it is not said": provider.token(email_verified=None),
        "verified as a text": provider.token(email_verified="true"),
        "no address": provider.token(email=None),
        "a list of addresses": provider.token(email=["anna@acme.example"]),
        "an address at another's domain": provider.token(email="eve@bolt.example"),
        "a domain that only ends so": provider.token(email="anna@not-acme.example"),
        "two addresses": provider.token(email="anna@acme.example,eve@bolt.example"),
        "another key": other.token(iss=provider.issuer),
        "an unknown key": provider.signed(good, "two"),
        "no key": provider.signed(good, None),
        "a weak key": jwt.encode(good, weak, "RS256", {"kid": "weak"}),
        "a key for something else": provider.signed(good, "encrypts"),
        "another algorithm than the key's": provider.signed(good, "pss"),
        "a secret": jwt.encode(good, b"\0\0\0", "HS256", {"kid": "oct"}),
        "the public key as a secret": by_secret(good, provider),
        "none": jwt.encode(good, None, "none", {"kid": "one"}),
        "a key in its header": other.signed(provider.claims(), jwk=jwk(other.private, "one")),
        "keys at an address in its header": other.signed(provider.claims(), jku=other.issuer + "/keys"),
        "a crit": provider.signed(good, crit=["b64"], b64=True),
        "no token": "hello",
        "nothing": "",
        "a token of the platform": await market.operator(),
        "too long": provider.token(more="x" * 9000),
    }
    answers = {name: await sign_in(market, token) for name, token in forged.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(forged, 400)
    assert len({answer.content for answer in answers.values()}) == 1
    assert answers["none"].json()["error"] == "invalid_grant"
    assert (await sign_in(market, provider.token())).status_code == 200


@pytest.mark.requirement("A-03")
async def test_a_provider_that_is_away_or_is_another_opens_nothing_and_is_asked_seldom(
    market: Market, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.add_user("customer_user", "acme", "anna@acme.example")
    now = [1000.0]
    monkeypatch.setattr("shared.auth.keys.monotonic", lambda: now[0])
    unsafe = f"http://0.0.0.0:{provider.port}/keys"  # which leads here, as an address of any other machine would there
    for about in ({"issuer": "https://other.example"}, {"jwks_uri": unsafe}, {"jwks_uri": None}):
        right, provider.about = provider.about, provider.about | about
        assert (await sign_in(market, provider.token())).status_code == 503
        provider.about, now[0] = right, now[0] + 6
    provider.asked.clear()
    assert (await sign_in(market, provider.token())).status_code == 200
    for _ in range(20):
        assert (await sign_in(market, provider.signed(provider.claims(), "unknown"))).status_code == 400
    assert provider.asked == [DISCOVERY, "/keys"]
    private, provider.private = provider.private, ec.generate_private_key(ec.SECP256R1())
    provider.keys, now[0] = [jwk(provider.private, "next")], now[0] + 6
    assert (await sign_in(market, provider.signed(provider.claims(), "next", "ES256"))).status_code == 200
    provider.private = private
    assert (await sign_in(market, provider.token())).status_code == 400, "a key that is gone signs nothing"


async def test_without_a_provider_no_token_signs_in(market: Market, provider: Provider) -> None:
    market.server.services.oauth._assertions._issuers.clear()
    await market.add_user("customer_user", "acme", "anna@acme.example")
    assert (await sign_in(market, provider.token())).json()["error"] == "invalid_grant"
    assert provider.asked == []


@pytest.mark.parametrize(
    "told",
    [
        '{"http://login.example": {"audience": "a", "domains": ["x.example"]}}',
        '{"https://login.example": {"audience": "a", "domains": []}}',
        '{"https://login.example": {"audience": "a", "domains": ["*"]}}',
        '{"https://login.example": {"audience": "", "domains": ["x.example"]}}',
        '{"https://login.example": {"audience": "a", "domains": ["x.example"], "passwords": false}}',
        '{"https://login.example": {"audience": "a", "domains": ["x.example"], "client_secret": ""}}',
    ],
)
def test_a_provider_without_tls_an_audience_or_domains_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P0711_IDENTITY_PROVIDERS", told)
    with pytest.raises(InvalidInput, match="P0711_IDENTITY_PROVIDERS"):
        load()
