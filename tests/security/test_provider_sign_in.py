"""Attacks on signing in through an identity provider: each ends on one clear page, and lets nobody in."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import jwt
import pytest
from starlette.types import Send

from servers.marketplace.providers.issuer import DISCOVERY
from servers.marketplace.providers.sign_in import PATH
from servers.marketplace.tools.accounts import UserCreated
from shared.auth.keys import LARGEST_DOCUMENT
from tests.marketplace_rig import Market
from tests.oidc_rig import (
    LINK,
    OURS,
    Answering,
    Browser,
    Provider,
    anna,
    answer,
    at_consent,
    by_secret,
    jwk,
    market,
    provider,
)
from tests.serving_rig import listening

__all__ = ["anna", "market", "provider"]
COOKIE = "0711-sign-in"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is known of the provider is fetched anew: the clock goes on."""
    now = [1000.0]
    monkeypatch.setattr("shared.auth.keys.monotonic", lambda: now[0])

    def go_on() -> None:
        now[0] += 7200

    return go_on


def refused(page: httpx2.Response, *statuses: int) -> httpx2.Response:
    """The page of an attack: clear, whole, and with nothing to go on with."""
    assert page.status_code in (statuses or (403,)), (page.status_code, page.text)
    assert "<h1>This does not go on</h1>" in page.text
    assert 'role="alert"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for nothing in ('name="proof"', "Traceback", "s3cret", "anna@"):
        assert nothing not in page.text
    return page


async def at_provider(market: Market, provider: Provider, user: str = "anna@acme.example") -> tuple[Browser, str]:
    """A browser that the provider sends back, and the address that it is sent to, not yet opened."""
    browser, _ = await at_consent(market)
    await browser.click(LINK)
    theirs = await browser.http.post(str(browser.page.url), data={"user": user})
    return browser, theirs.headers["location"]


async def attempt(market: Market, provider: Provider) -> httpx2.Response:
    """A whole sign-in; where it ends."""
    browser, place = await at_provider(market, provider)
    return await browser.open(place)


def altered(place: str, **changes: str | None) -> str:
    """The address with other parameters; None: without."""
    query = dict(parse_qsl(urlsplit(place).query)) | changes
    told = {name: value for name, value in query.items() if value is not None}
    return f"{place.partition('?')[0]}?{urlencode(told)}"


@pytest.mark.requirement("A-03")
@pytest.mark.filterwarnings("ignore:The (RSA|HMAC) key is")
async def test_no_forged_or_foreign_id_token_signs_in(market: Market, provider: Provider, anna: UserCreated) -> None:
    other = Provider()
    says: dict[str, tuple[dict[str, Any], str]] = {
        "no nonce": ({"nonce": None}, "nonce"),
        "another sign-in's nonce": ({"nonce": "AAAA"}, "nonce"),
        "another issuer": ({"iss": other.issuer}, "InvalidIssuerError"),
        "another audience": ({"aud": "somebody-else"}, "InvalidAudienceError"),
        "a further audience": ({"aud": [OURS, "somebody-else"]}, "further audiences"),
        "no audience": ({"aud": None}, "MissingRequiredClaimError"),
        "another party": ({"azp": "somebody-else"}, "azp"),
        "over": ({"exp": 1_700_000_000, "iat": 1_699_999_000}, "ExpiredSignatureError"),
        "no end": ({"exp": None}, "MissingRequiredClaimError"),
        "nobody": ({"sub": None}, "MissingRequiredClaimError"),
        "not yet": ({"nbf": 2**33, "exp": 2**34}, "ImmatureSignatureError"),
        "an address that nobody has verified": ({"email_verified": False}, "email_verified"),
        "an address of which it is not said": ({"email_verified": None}, "email_verified"),
        "verified as a text": ({"email_verified": "true"}, "email_verified"),
        "verified by another claim": ({"email_verified": None, "xms_edov": True}, "email_verified"),
        "no address": ({"email": None}, "email"),
        "two addresses": ({"email": ["anna@acme.example"]}, "email"),
        "another customer's person": ({"email": "bob@bolt.example"}, "email"),
        "a domain that only ends so": ({"email": "anna@not-acme.example"}, "email"),
    }
    signs = {
        "none": lambda claims: jwt.encode(claims, None, "none", {"kid": "one"}),
        "the public key as a secret": lambda claims: by_secret(claims, provider),
        "another key": other.signed,
        "a key in its header": lambda claims: other.signed(claims, jwk=jwk(other.private, "one")),
        "keys at an address in its header": lambda claims: other.signed(claims, jku=other.issuer + "/keys"),
        "an unknown key": lambda claims: provider.signed(claims, "two"),
        "no key": lambda claims: provider.signed(claims, None),
        "a crit": lambda claims: provider.signed(claims, crit=["b64"], b64=True),
        "no token": lambda _: "hello",
        "too long": lambda claims: provider.signed(claims | {"more": "x" * 40_000}),
    }
    await market.add_user("customer_admin", "bolt", "bob@bolt.example")
    for name, (provider.says, why) in says.items():
        assert why in refused(await attempt(market, provider)).text, name
    provider.says = {}
    for name, provider.signs in signs.items():
        assert "The token is not valid here" in refused(await attempt(market, provider)).text, name
    provider.signs = provider.signed
    assert (await attempt(market, provider)).status_code == 200


@pytest.mark.requirement("A-03")
async def test_an_address_that_only_the_userinfo_endpoint_tells_is_that_of_who_signed_in(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    provider.thin = True
    page = await attempt(market, provider)
    assert (page.status_code, "You have signed in as anna@acme.example." in page.text) == (200, True)
    attacks: dict[str, tuple[dict[str, Any], str]] = {
        "another person": ({"sub": "another"}, "The userinfo endpoint names another sub."),
        "nobody": ({"sub": None}, "The userinfo endpoint names another sub."),
        "no address": ({"email": None}, "email at one of the domains"),
        "an address that nobody has verified": ({"email_verified": False}, "email_verified"),
        "an address of which it is not said": ({"email_verified": None}, "email_verified"),
        "a domain of another's": ({"email": "bob@bolt.example"}, "email at one of the domains"),
    }
    for name, (provider.tells, why) in attacks.items():
        assert why in refused(await attempt(market, provider)).text, name

    async def refuses(send: Send) -> None:
        await answer(send, 401, {"www-authenticate": "Bearer"}, b"")

    async def says_nothing(send: Send) -> None:
        await answer(send, 200, {"content-type": "text/html"}, b"<h1>hello</h1>")

    provider.answers["/userinfo"] = refuses
    assert "The userinfo endpoint answers 401." in refused(await attempt(market, provider)).text
    provider.answers["/userinfo"] = says_nothing
    refused(await attempt(market, provider), 503)


@pytest.mark.requirement("A-03")
async def test_what_a_token_says_of_an_address_is_not_asked_for_again(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    provider.tells = {"email": "bob@bolt.example"}
    assert (await attempt(market, provider)).status_code == 200
    assert "/userinfo" not in provider.asked


@pytest.mark.requirement("A-03")
async def test_an_answer_counts_once_in_the_browser_that_asked_and_from_the_provider_that_was_asked(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    browser, place = await at_provider(market, provider)
    victim, theirs = await at_provider(market, provider)
    asked = len(provider.asked)
    answers = [
        await Browser().open(place),  # of a browser that has begun nothing: state of another one, login CSRF
        await victim.open(place),  # login CSRF in the midst of a sign-in of one's own
        await victim.open(theirs + "&" + urlencode({"state": "x"})),
        *[await victim.open(altered(theirs, state=state)) for state in (None, "", "AAAA", "ü")],
    ]
    for page in answers:
        assert "another browser began it" in refused(page).text
    assert len(provider.asked) == asked, "nobody else's code is tried"
    code = dict(parse_qsl(urlsplit(theirs).query))["code"]
    mixed, own = await at_provider(market, provider)
    page = refused(await mixed.open(altered(own, code=code)))  # a code of another sign-in: PKCE
    assert "invalid_grant" in page.text
    for iss in ("https://evil.example", "", None):
        browser, place = await at_provider(market, provider)
        assert "RFC 9207" in refused(await browser.open(altered(place, iss=iss))).text
    for code in (None, "", "x" * 5000):
        browser, place = await at_provider(market, provider)
        refused(await browser.open(altered(place, code=code)))
    browser, place = await at_provider(market, provider)
    kept = browser.http.cookies[COOKIE]
    assert (await browser.open(place)).status_code == 200
    refused(await browser.open(place))  # again: the cookie is gone
    browser.http.cookies.set(COOKIE, kept, domain="127.0.0.1", path="/")
    assert "invalid_grant" in refused(await browser.open(place)).text  # with the cookie put back: the code is used


async def test_a_cookie_that_is_forged_over_or_of_something_else_ends_nothing(
    market: Market, provider: Provider, anna: UserCreated, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, place = await at_provider(market, provider)
    consent, _ = await at_consent(market)
    request = re.findall(r'name="request" value="([^"]*)"', consent.page.text)[0]
    kept = browser.http.cookies[COOKIE]
    for forged in ("", "AAAA", request, kept[:-8] + "AAAAAAA=", "x" * 9000):
        other = Browser()
        other.http.cookies.set(COOKIE, forged, domain="127.0.0.1", path="/")
        refused(await other.open(place))
    now = time.time()
    monkeypatch.setattr("servers.marketplace.gateway.sessions.time", lambda: now + 601)
    refused(await browser.open(place))


@pytest.mark.requirement("A-02")
async def test_an_account_that_has_ended_goes_no_further(market: Market, provider: Provider, anna: UserCreated) -> None:
    before, place = await at_provider(market, provider)
    signed_in, other = await at_provider(market, provider)
    assert (await signed_in.open(other)).status_code == 200
    await market.call(await market.operator(), "disable_user", user_id=anna.user_id)
    assert "no account" in refused(await before.open(place)).text
    page = await signed_in.send(answer="allow")
    assert (page.status_code, "This account has ended." in page.text) == (401, True)


async def test_who_has_signed_in_for_one_program_has_not_for_another(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    browser, place = await at_provider(market, provider)
    proof = re.findall(r'name="proof" value="([^"]*)"', (await browser.open(place)).text)[0]
    own = dict(re.findall(r'name="(request|client|proof)" value="([^"]*)"', browser.page.text))
    linked = await Browser().open(f"{market.base}/oauth/consent?{urlencode(own)}")
    assert "signed in as" not in linked.text, "a link signs nobody in"
    assert 'type="password"' in linked.text
    other, _ = await at_consent(market)
    for told in (proof, "", "AAAA"):
        page = await other.send(answer="allow", proof=told)
        assert (page.status_code, "sign in again" in page.text) == (401, True)
    foreign = await market.http.post(
        market.base + "/oauth/consent",
        data={"proof": proof, "answer": "allow"},
        headers={"origin": "https://e.example"},
    )
    assert foreign.status_code == 403


async def test_no_link_leads_to_anywhere_but_the_provider_and_back(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    browser, _ = await at_consent(market)
    link = dict(parse_qsl(urlsplit(re.findall(r'href="([^"]*provider[^"]*)"', browser.page.text)[0]).query))
    link = {name.removeprefix("amp;"): value for name, value in link.items()}
    evil = "https://evil.example"
    changes = (
        {"issuer": evil}, {"issuer": provider.issuer + "/"}, {"issuer": ""}, {"door": evil}, {"door": "//evil.example"},
        {"door": ""}, {"request": evil}, {"request": "AAAA"}, {"client": ""},
    )  # fmt: skip
    for each in changes:
        page = await browser.open(f"{market.base}{PATH}?{urlencode(link | each)}")
        refused(page, 400, 404)
        assert "set-cookie" not in page.headers
    for extra in ("redirect_uri", "return_to", "next", "redirect_uri"):
        first = await browser.http.get(f"{market.base}{PATH}?{urlencode(link | {extra: evil})}")
        assert first.headers["location"].startswith(provider.issuer + "/authorize?")
        assert evil not in first.headers["location"]
    invitation = {"issuer": provider.issuer, "door": "invitation", "token": "inv_" + "a" * 26 + "." + "x" * 43}
    refused(await browser.open(f"{market.base}{PATH}?{urlencode(invitation)}"), 404)


async def test_what_a_provider_says_of_an_error_is_shown_and_never_run(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    script = "<script>alert(1)</script>\u202e<img src=x>" + "y" * 2000
    provider.refuses = {"error": "access_denied", "error_description": script}
    page = refused(await attempt(market, provider))
    assert "has not signed you in" in page.text
    assert "access_denied: &lt;script&gt;alert(1)" in page.text
    for part in ("<script", "<img", "\u202e", "y" * 400):
        assert part not in page.text
    browser, place = await at_provider(market, provider)
    refused(await browser.open(altered(place, iss="https://evil.example", error_description="EVIL")))
    assert "EVIL" not in browser.page.text, "said by somebody else"
    assert "EVIL" not in (await Browser().open(altered(place, error_description="EVIL"))).text


def redirecting(place: str) -> Answering:
    async def redirects(send: Send) -> None:
        await answer(send, 302, {"location": place, "content-type": "application/json"}, b"{}")

    return redirects


async def hangs(send: Send) -> None:
    await asyncio.sleep(60)


async def huge(send: Send) -> None:
    await answer(send, 200, {"content-type": "application/json"}, b'{"id_token": "' + b"x" * LARGEST_DOCUMENT + b'"}')


async def no_json(send: Send) -> None:
    await answer(send, 200, {"content-type": "text/html"}, b"<html>maintenance</html>")


async def no_object(send: Send) -> None:
    await answer(send, 200, {"content-type": "application/json"}, b"[]")


async def broken(send: Send) -> None:
    await answer(send, 500, {"content-type": "application/json"}, b'{"error": "<b>Not one of the protocol</b>"}')


@pytest.mark.requirement("A-03")
async def test_a_provider_that_is_down_slow_huge_or_leads_astray_lets_nobody_in(
    market: Market, provider: Provider, anna: UserCreated, monkeypatch: pytest.MonkeyPatch, later: Any
) -> None:
    monkeypatch.setattr("servers.marketplace.providers.issuer.ANSWER_S", 1.0)
    secret = redirecting(provider.issuer + "/secret")
    for bad in (hangs, huge, no_json, no_object, secret):
        provider.answers = {"/token": bad}
        page = refused(await attempt(market, provider), 403, 503)
        assert page.status_code == 503 or bad is secret
    with monkeypatch.context() as busy:
        busy.setattr("servers.marketplace.providers.sign_in.AT_ONCE", 0)
        assert "Too many logins at once" in refused(await attempt(market, provider), 429).text
    provider.answers = {"/token": broken}
    assert "<b>" not in refused(await attempt(market, provider)).text
    provider.answers = {}
    browser, _ = await at_consent(market)
    for path in (DISCOVERY, "/keys"):
        for bad in (hangs, huge, no_json, no_object, broken, secret):
            provider.answers = {path: bad}
            later()
            link = browser.page.url
            assert "does not answer" in refused(await browser.click(LINK), 503).text
            await browser.open(str(link))
    assert "/secret" not in provider.asked
    assert 'type="password"' in browser.page.text, "the password is another way"


@pytest.mark.requirement("A-03")
async def test_metadata_that_names_another_issuer_or_leads_inside_is_not_used(
    market: Market, provider: Provider, anna: UserCreated, later: Any
) -> None:
    inside = Provider()  # something else on this machine
    inside.about = provider.about
    asked = f"http://127.0.0.1:{inside.port}"
    usual = provider.about
    bad = (
        {"issuer": "https://login.example"}, {"issuer": provider.issuer + "/"}, {"issuer": None},
        {"jwks_uri": "http://login.example/keys"}, {"jwks_uri": "https://10.0.0.1/keys"},
        {"jwks_uri": "https://169.254.169.254/keys"}, {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "http://login.example/a"}, {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript://127.0.0.1/%0aalert(1)"}, {"token_endpoint": "http://login.example/t"},
        {"token_endpoint": None}, {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
    )  # fmt: skip
    browser, _ = await at_consent(market)
    page = browser.page.url
    for changes in bad:
        provider.about = usual | changes
        later()
        refused(await browser.click(LINK), 503)
        await browser.open(str(page))
    async with listening(inside, inside.port, market.settings):
        for changes in ({"jwks_uri": asked + "/keys"}, {"token_endpoint": asked + "/token"}):
            provider.about = usual | changes
            later()
            await browser.click(LINK)
            if "jwks_uri" not in changes:
                await browser.send(user=anna.email)
            refused(browser.page, 503)
            await browser.open(str(page))
        assert inside.asked == []
    for place in ("https://10.0.0.1/token", "https://[::ffff:127.0.0.1]/token"):
        provider.about = usual | {"token_endpoint": place}
        later()
        refused(await attempt(market, provider), 503)
    provider.about = usual
    later()
    assert (await attempt(market, provider)).status_code == 200


async def test_the_wrong_secret_is_told_to_the_administrator_and_nothing_of_it(
    market: Market, provider: Provider, anna: UserCreated, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await attempt(market, provider)).status_code == 200
    assert market.server is not None
    issuer = market.server.services.provider_pages._sign_in.issuers[provider.issuer]
    issuer.trusted = issuer.trusted.model_copy(update={"client_secret": None})
    assert "The token endpoint answers 401, invalid_client." in refused(await attempt(market, provider)).text
    await market.call(await market.operator(), "whoami")
    logged = str([vars(record) for record in caplog.records])
    assert "whoami" in logged
    for told in (repr(market.settings), logged):
        assert not {part for part in ("s3cret", "anna@", "code=", "id_token") if part in told}
