"""A person signs in on the marketplace's pages through the company's identity provider: the whole way, in a browser."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from servers.marketplace.providers.page import TABS
from servers.marketplace.providers.sign_in import CALLBACK
from servers.marketplace.tools.accounts import UserCreated, WhoAmI
from servers.marketplace.tools.invitations import InvitationMade
from servers.marketplace.users.accounts import FAILURES_BEFORE_LOCK
from tests.approvals_rig import RAISE, dataset, people_at  # noqa: F401  # a fixture
from tests.integration.test_marketplace_oauth import BACK, asking, by_code, registered
from tests.marketplace_rig import Market, running_market
from tests.oidc_rig import LINK, OURS, Browser, Provider, anna, at_consent, market, market_with, provider, trusting
from tests.serving_rig import listening

__all__ = ["anna", "market", "provider"]
WORDS = {
    "en": (LINK, "You have signed in as anna@acme.example.", "Allow", "Use another account"),
    "de": ("Mit Acme & Co anmelden", "Sie haben sich als anna@acme.example angemeldet.", "Erlauben",
           "Ein anderes Konto verwenden"),
}  # fmt: skip


async def back_with(browser: Browser, market: Market, client_id: str) -> httpx2.Response:
    """What the program gets for the code that the browser was sent back with."""
    back = dict(parse_qsl(urlsplit(browser.passed[-1]).query))
    assert browser.passed[-1].startswith(BACK)
    assert (back["state"], back["iss"]) == ("s1", market.base)
    return await by_code(market, client_id, back["code"])


async def let_in(market: Market, email: str) -> None:
    """A program gets its token once this person has signed in at the provider and allowed it."""
    browser, client_id = await at_consent(market)
    await browser.click(LINK)
    await browser.send(user=email)
    await browser.send(answer="allow")
    assert (await back_with(browser, market, client_id)).status_code == 200


@pytest.mark.requirement("A-01", "A-06")
@pytest.mark.parametrize("language", ["en", "de"])
async def test_a_person_signs_in_at_the_provider_and_then_consents(
    market: Market, provider: Provider, anna: UserCreated, language: str
) -> None:
    link, signed_in, allow, another = WORDS[language]
    browser, client_id = await at_consent(market, language)
    assert 'autocomplete="current-password"' in browser.page.text, "the password is another way"
    theirs = await browser.click(link)
    assert theirs.url.port == provider.port
    asked = provider.requests[-1]
    assert asked["ui_locales"] == language
    page = await browser.send(user="Anna@Acme.example")
    assert (page.status_code, page.url.path) == (200, CALLBACK)
    for told in (signed_in, f">{allow}</button>", another, "http://127.0.0.1:33418"):
        assert told in page.text
    assert 'type="password"' not in page.text
    assert "form-action 'self' http://127.0.0.1:33418" in page.headers["content-security-policy"]
    assert not browser.http.cookies.get("0711-sign-in"), "it is used up"
    await browser.send(answer="allow")
    token = (await back_with(browser, market, client_id)).json()["access_token"]
    me = await market.call(token, "whoami", WhoAmI)
    assert (me.subject, me.role, me.customer_id) == (anna.user_id, "customer_user", "acme")


async def test_tabs_of_one_browser_sign_in_beside_each_other(market: Market, anna: UserCreated) -> None:
    tabs = [await at_consent(market) for _ in TABS]
    for browser, _ in tabs:
        browser.http = tabs[0][0].http
        await browser.click(LINK)
    for browser, client_id in tabs:
        page = await browser.send(user=anna.email)
        assert (page.status_code, page.url.path) == (200, CALLBACK)
        await browser.send(answer="allow")
        assert (await back_with(browser, market, client_id)).status_code == 200
    assert not [name for name in tabs[0][0].http.cookies if "sign-in" in name], "they are used up"


async def test_the_provider_sees_nothing_of_the_program_and_the_page_nothing_of_the_secret(
    market: Market, provider: Provider, anna: UserCreated
) -> None:
    browser, client_id = await at_consent(market, state="of the program")
    await browser.click(LINK)
    first = provider.requests[-1]
    assert {"state", "nonce", "code_challenge"} < first.keys()
    assert first["scope"] == "openid email"
    told = str(provider.requests)
    for secret in ("of the program", "33418", client_id):
        assert secret not in told
    await browser.send(user=anna.email)
    assert "s3cret" not in browser.page.text + str(browser.page.headers) + str(browser.passed)
    again, _ = await at_consent(market)
    await again.click(LINK)
    second = provider.requests[-1]
    for each in ("state", "nonce", "code_challenge"):
        assert first[each] != second[each]


async def test_a_person_refuses_or_takes_another_account(market: Market, provider: Provider, anna: UserCreated) -> None:
    browser, _ = await at_consent(market)
    await browser.click(LINK)
    await browser.send(user="nobody@acme.example")
    assert (browser.page.status_code, browser.page.url.path) == (403, CALLBACK)
    assert "ask for an invitation" in browser.page.text
    theirs = await browser.click("Use another account")
    assert provider.requests[-1]["prompt"] == "login"
    assert theirs.url.port == provider.port, "who is known there is asked all the same"
    await browser.send(user=anna.email)
    await browser.send(answer="refuse")
    assert dict(parse_qsl(urlsplit(browser.passed[-1]).query))["error"] == "access_denied"


async def test_who_may_not_use_the_server_is_told_so_and_stays_signed_in(market: Market, anna: UserCreated) -> None:
    browser, _ = await at_consent(market, scope="registry:write")
    await browser.click(LINK)
    await browser.send(user=anna.email)
    page = await browser.send(answer="allow")
    assert (page.status_code, "This account may not use that server" in page.text) == (403, True)
    assert ("anna@acme.example" in page.text, 'type="password"' in page.text) == (True, False)
    theirs = await browser.click("Use another account")
    assert "user" in theirs.text


async def test_who_the_provider_knows_already_is_only_asked_to_consent(market: Market, anna: UserCreated) -> None:
    browser, _ = await at_consent(market)
    await browser.click(LINK)
    await browser.send(user=anna.email)
    client_id = (await registered(market))["client_id"]
    await browser.open(asking(market, client_id))
    page = await browser.click(LINK)
    assert WORDS["en"][1] in page.text
    await browser.send(answer="allow")
    assert (await back_with(browser, market, client_id)).status_code == 200


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("names_itself", [True, False])
async def test_providers_differ_in_how_they_take_the_secret_and_whether_they_name_themselves(
    market: Market, provider: Provider, anna: UserCreated, way: str, names_itself: bool
) -> None:
    provider.about["token_endpoint_auth_methods_supported"] = [way]
    provider.about["authorization_response_iss_parameter_supported"] = names_itself
    provider.about["authorization_endpoint"] += "?p=policy"  # as Entra External ID has them
    provider.about["token_endpoint"] += "?p=policy"
    provider.says = {"aud": [OURS], "azp": OURS, "exp": 2**33}
    browser, client_id = await at_consent(market)
    await browser.click(LINK)
    assert provider.requests[-1]["p"] == "policy"
    await browser.send(user=anna.email)
    await browser.send(answer="allow")
    assert (await back_with(browser, market, client_id)).status_code == 200


async def test_an_invited_person_accepts_through_the_provider(
    market: Market, provider: Provider, postgres_server: Any
) -> None:
    boss = await market.user_token("acme")
    invite = {"role": "customer_user", "customer_id": "acme"}
    made = await market.call(boss, "invite_user", InvitationMade, email="cara@acme.example", **invite)
    browser = Browser()
    await browser.open(made.link)
    await browser.click(LINK)
    await browser.send(user="dora@acme.example")
    assert (browser.page.status_code, "for another e-mail address" in browser.page.text) == (403, True)
    await browser.click("Use another account")
    page = await browser.send(user="Cara@acme.example")
    assert page.status_code == 200
    assert 'type="password"' not in page.text
    async with postgres_server.superuser(market.urls) as rows:
        found = "SELECT count(*) FROM users WHERE email = 'cara@acme.example'"
        assert await rows.fetchval(found) == 0, "whoever only follows links has accepted nothing"
        token = made.link.rpartition("token=")[2]
        for proof in ("", "AAAA"):
            forged = await market.http.post(market.base + "/invitation", data={"token": token, "proof": proof})
            assert forged.status_code == 403
        welcome = await browser.send()
        assert "Your account is there" in welcome.text
        assert "through your identity provider" in welcome.text
        assert await rows.fetchval(found) == 1
    for password in ("", "correct horse battery"):
        answer = await market.http.post(
            market.base + "/v1/login", json={"email": "cara@acme.example", "password": password or "x"}
        )
        assert answer.status_code == 401, "there is no password"
    await let_in(market, "cara@acme.example")
    elsewhere = await market.call(boss, "invite_user", InvitationMade, email="eve@bolt.example", **invite)
    assert LINK not in (await browser.open(elsewhere.link)).text, "it does not speak for this address"


async def test_wrong_passwords_lock_out_nobody_whom_the_provider_vouches_for(market: Market, anna: UserCreated) -> None:
    for _ in range(FAILURES_BEFORE_LOCK):
        told = {"email": anna.email, "password": "wrong password"}
        assert (await market.http.post(market.base + "/v1/login", json=told)).status_code == 401
    told = {"email": anna.email, "password": anna.password}
    assert (await market.http.post(market.base + "/v1/login", json=told)).status_code == 401
    await let_in(market, anna.email)


async def test_where_a_company_signs_in_through_its_provider_alone_no_password_is_taken(
    database: Any, tmp_path: Any, provider: Provider
) -> None:
    async with market_with(database, tmp_path, provider, passwords=False) as market:
        anna = await market.add_user("customer_admin", "acme", "anna@acme.example")
        other = await market.add_user("customer_user", "bolt", "bob@bolt.example")
        assert (anna.password, len(other.password) > 20) == ("", True), "none that nothing accepts"
        browser, client_id = await at_consent(market)
        for email in (anna.email, "nobody@acme.example", " Anna@ACME.example"):
            page = await browser.send(email=email, password=other.password, answer="allow")
            assert (page.status_code, "No password is taken for this address" in page.text) == (401, True)
        login = await market.http.post(
            market.base + "/v1/login", json={"email": anna.email, "password": other.password}
        )
        assert (login.status_code, "identity provider" in login.json()["message"]) == (401, True)
        assert (await browser.send(email=other.email, password=other.password, answer="allow")).status_code == 303
        await browser.open(asking(market, client_id))
        await browser.click(LINK)
        await browser.send(user=anna.email)
        await browser.send(answer="allow")
        token = (await back_with(browser, market, client_id)).json()["access_token"]
        invite = {"email": "cara@acme.example", "role": "customer_user", "customer_id": "acme"}
        operator = await market.operator()
        made = await market.call(operator, "invite_user", InvitationMade, **invite)
        page = await browser.open(made.link)
        assert (LINK.replace("&", "&amp;") in page.text, 'type="password"' in page.text) == (True, False)
        password = {"password": "correct horse battery", "again": "correct horse battery"}
        data = {"token": made.link.rpartition("token=")[2], **password}
        assert (await market.http.post(market.base + "/invitation", data=data)).status_code == 400
        assert (await market.call(token, "whoami", WhoAmI)).subject == anna.user_id


@pytest.mark.parametrize(("address", "name"), [("https://m.example", "__Host-0711-sign-in"), (None, "0711-sign-in")])
async def test_what_the_browser_keeps_is_for_this_server_alone_and_short(
    database: Any, tmp_path: Any, provider: Provider, address: str | None, name: str
) -> None:
    made = await database("servers.marketplace", "shared")
    changes = {"identity_providers": trusting(provider)} | ({"marketplace_url": address} if address else {})
    async with (
        running_market(tmp_path, made.urls, **changes) as market,
        listening(provider, provider.port, market.settings),
    ):
        market.base = f"http://127.0.0.1:{market.settings.marketplace_port}"  # past the proxy that ends TLS
        client_id = (await registered(market))["client_id"]
        response = await way_out(market, client_id)
        assert response.status_code == 303
        cookie = response.headers["set-cookie"]
        assert cookie.startswith(name + "=")
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "max-age=600", "path=/", "samesite=lax"} <= parts
        assert ("secure" in parts, "domain" in cookie.lower()) == (address is not None, False)
        assert response.headers["cache-control"] == "no-store"
        refused = await way_out(market, client_id, scope=" ".join(["c" * 60] * 42))
        assert (refused.status_code, "asks for more than" in refused.text) == (400, True)
        assert "set-cookie" not in refused.headers


async def way_out(market: Market, client_id: str, **changes: str) -> httpx2.Response:
    """What the link to the provider answers."""
    first = await market.http.get(asking(market, client_id, **changes))
    page = await market.http.get(market.base + first.headers["location"])
    link = html.unescape(re.findall(r'<a class="button" href="([^"]*)"', page.text)[0])
    return await market.http.get(market.base + link)


@pytest.mark.parametrize("path", ["/approvals", "/invitation", "/oauth/consent"])
async def test_what_is_wrong_with_a_form_is_told_on_a_page_in_the_persons_language(market: Market, path: str) -> None:
    headers = {"origin": market.base, "accept-language": "de", "content-type": "application/x-www-form-urlencoded"}
    for body, told in ((b"email=a&email=b", "Eine Angabe steht doppelt da."), (b"\xff=1", "ist kein Formular.")):
        answer = await market.http.post(market.base + path, content=body, headers=headers)
        assert (answer.status_code, told in answer.text, "<html" in answer.text) == (400, True, True), answer.text


@pytest.mark.requirement("A-08")
async def test_who_signs_in_through_the_provider_alone_decides_on_the_approvals_page(
    database: Any,
    tmp_path: Any,
    provider: Provider,
    dataset: Any,  # noqa: F811  # the fixture
    query_model: Any,
) -> None:
    async with (
        market_with(database, tmp_path / "home", provider, passwords=False) as market,
        people_at(market, dataset, query_model, tmp_path) as people,
    ):
        asked, browser = await people.change(people.anna), Browser()
        await browser.open(asked.approval_url or "")
        await browser.click(LINK)
        page = await browser.send(user="ben@acme.example")
        assert (page.status_code, page.url.path, RAISE in html.unescape(page.text)) == (200, CALLBACK, True)
        assert "Approved." in (await browser.send(answer="approve")).text
        made = await people.change(people.anna, approval_id=asked.approval_id)
        assert made.state == "applied"
        for user, told in (("anna@acme.example", "needs the scope"), ("nobody@acme.example", "ask for an invitation")):
            other = Browser()
            await other.open(asked.approval_url or "")
            await other.click(LINK)
            page = await other.send(user=user)
            assert (page.status_code, told in page.text, RAISE in html.unescape(page.text)) == (403, True, False)
