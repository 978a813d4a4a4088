"""OAuth of a running marketplace: programs that a user lets in, and what is refused to them."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import jwt
import pytest
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from starlette.types import Receive, Scope, Send

from servers.marketplace.tools.accounts import UserCreated
from servers.marketplace.users.accounts import FAILURES_BEFORE_LOCK, Accounts
from shared.errors import Unavailable
from tests.marketplace_rig import Market, answer_json
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for

BACK = "http://127.0.0.1:33418/callback"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest.fixture
async def anna(market: Market) -> UserCreated:
    return await market.add_user("customer_user", "acme", "anna@acme.example")


class Browser:
    """What a user's browser does between the program and the marketplace."""

    def __init__(self, market: Market, user: UserCreated, answer: str = "allow") -> None:
        self.market = market
        self.form = {"email": user.email, "password": user.password, "answer": answer}
        self.page = ""

    @property
    def hidden(self) -> dict[str, str]:
        """What the page's form carries of the request."""
        hidden = re.findall(r'name="(request|client)" value="([^"]*)"', self.page)
        return {name: html.unescape(value) for name, value in hidden}

    async def open(self, url: str) -> httpx2.Response:
        """The consent page."""
        first = await self.market.http.get(url)
        if first.status_code != 302 or not first.headers["location"].startswith("/oauth/consent"):
            return first
        response = await self.market.http.get(urljoin(self.market.base, first.headers["location"]))
        self.page = response.text
        return response

    async def answer(self, **changes: str) -> httpx2.Response:
        """Send the page's form."""
        form = self.hidden | self.form | changes
        headers = {"origin": self.market.base}
        return await self.market.http.post(self.market.base + "/oauth/consent", data=form, headers=headers)

    async def consent(self, url: str) -> dict[str, str]:
        """From the start to what the program gets back."""
        await self.open(url)
        response = await self.answer()
        assert response.status_code == 303, response.text
        return dict(parse_qsl(urlsplit(response.headers["location"]).query))


async def registered(market: Market, **changes: Any) -> dict[str, Any]:
    told = {"redirect_uris": [BACK], "client_name": "Probe", "token_endpoint_auth_method": "none"} | changes
    response = await market.http.post(market.base + "/oauth/register", json=told)
    assert response.status_code == 201, response.text
    return response.json()


def asking(market: Market, client_id: str, /, **changes: str) -> str:
    query = {
        "client_id": client_id, "redirect_uri": BACK, "response_type": "code", "code_challenge": CHALLENGE,
        "code_challenge_method": "S256", "state": "s1", "resource": market.resource, "scope": "catalogue:read",
    }  # fmt: skip
    return market.base + "/oauth/authorize?" + urlencode({**query, **changes})


async def tokens(market: Market, client_id: str, /, **form: str) -> httpx2.Response:
    told = {"client_id": client_id, "resource": market.resource} | form
    return await market.http.post(market.base + "/oauth/token", data=told)


async def by_code(market: Market, client_id: str, code: str, /, **changes: str) -> httpx2.Response:
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER, "redirect_uri": BACK}
    return await tokens(market, client_id, **(form | changes))


async def refreshed(market: Market, client_id: str, refresh_token: str, **changes: str) -> httpx2.Response:
    return await tokens(market, client_id, grant_type="refresh_token", refresh_token=refresh_token, **changes)


async def let_in(market: Market, user: UserCreated, **changes: str) -> tuple[str, dict[str, Any]]:
    """A registered client's id and the tokens that it got."""
    client_id = (await registered(market))["client_id"]
    back = await Browser(market, user).consent(asking(market, client_id, **changes))
    response = await by_code(market, client_id, back["code"])
    assert response.status_code == 200, response.text
    return client_id, response.json()


class Memory:
    """Where the SDK's client keeps what it got."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


@pytest.mark.requirement("A-06")
async def test_the_official_client_connects_by_the_address_alone(market: Market, anna: UserCreated) -> None:
    browser, memory = Browser(market, anna), Memory()
    got: list[AuthorizationCodeResult] = []

    async def redirect(url: str) -> None:
        got.append(AuthorizationCodeResult(**await browser.consent(url)))

    async def callback() -> AuthorizationCodeResult:
        return got[-1]

    metadata = OAuthClientMetadata(redirect_uris=[BACK], client_name="SDK <b>client</b>")  # pyright: ignore[reportArgumentType]
    auth = OAuthClientProvider(market.resource, metadata, memory, redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=HANGS_S, verify=False) as http,
        Client(streamable_http_client(market.resource, http_client=http)) as client,
    ):
        me = await client.call_tool("whoami", {})
    assert me.structured_content["subject"] == anna.user_id
    assert me.structured_content["customer_id"] == "acme"
    claims = jwt.decode(memory.tokens.access_token, options={"verify_signature": False})
    assert claims["aud"] == market.resource
    assert got[0].iss == market.base
    assert "SDK &lt;b&gt;client" in browser.page
    assert anna.email not in browser.page


@pytest.mark.requirement("A-06")
async def test_the_metadata_says_what_there_is(market: Market) -> None:
    protected = (await market.http.get(market.base + "/.well-known/oauth-protected-resource/mcp")).json()
    assert (protected["resource"], protected["authorization_servers"]) == (market.resource, [market.base])
    told = (await market.http.get(market.base + "/.well-known/oauth-authorization-server")).json()
    assert told["issuer"] == market.base
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["client_id_metadata_document_supported"] is True
    assert told["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"):
        # 401 and 404 are what an address that is not there or not public would answer.
        assert (await market.http.request("POST", told[name])).status_code in {400, 401, 405}, name
    refused = await market.http.post(market.resource, json=envelope("tools/list", {}), headers=headers_for(None))
    assert "/.well-known/oauth-protected-resource/mcp" in refused.headers["www-authenticate"]


@pytest.mark.requirement("A-06")
async def test_a_client_is_known_by_its_metadata_document(market: Market, anna: UserCreated) -> None:
    documents: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_json(send, documents.get(scope["path"]), 200 if scope["path"] in documents else 404)

    base = (await market.add_app(app)).removesuffix("/mcp")
    good = {"client_name": "Doc", "redirect_uris": ["http://localhost/callback"]}
    documents |= {
        "/good": {"client_id": base + "/good", **good},
        "/liar": {"client_id": base + "/good", **good},
        "/secret": {"client_id": base + "/secret", **good, "token_endpoint_auth_method": "client_secret_post"},
        "/script": {"client_id": base + "/script", "redirect_uris": ["javascript:alert(1)"]},
        "/none": {"client_id": base + "/none"},
    }
    back = "http://localhost:50123/callback"  # any port on loopback: RFC 8252, 7.3
    answer = await Browser(market, anna).consent(asking(market, base + "/good", redirect_uri=back))
    response = await by_code(market, base + "/good", answer["code"], redirect_uri=back)
    assert response.status_code == 200, response.text
    for path in ("/liar", "/secret", "/script", "/none", "/missing", "", "/"):
        refused = await market.http.get(asking(market, base + path, redirect_uri=back))
        assert (refused.status_code, "location" in refused.headers) == (400, False), path


@pytest.mark.requirement("A-06")
async def test_a_client_that_cannot_be_looked_up_just_now_may_come_again(
    market: Market, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("servers.marketplace.authorization.clients.AT_ONCE", 0)
    client_id = "http://127.0.0.1:1/client"
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for answer in (await market.http.get(asking(market, client_id)), await tokens(market, client_id, **form)):
        assert answer.status_code == 429, answer.text
        assert int(answer.headers["retry-after"]) > 0
    assert not [record for record in caplog.records if record.exc_info], "it is no defect"


@pytest.mark.requirement("A-06")
async def test_a_code_is_good_once_for_its_client_its_verifier_and_its_address(
    market: Market, anna: UserCreated
) -> None:
    client_id, other = (await registered(market))["client_id"], (await registered(market))["client_id"]
    code = (await Browser(market, anna).consent(asking(market, client_id)))["code"]
    wrong: list[tuple[str, dict[str, str]]] = [
        (other, {}),
        (client_id, {"code_verifier": secrets.token_urlsafe(48)}),
        (client_id, {"code_verifier": CHALLENGE}),
        (client_id, {"code_verifier": ""}),
        (client_id, {"redirect_uri": "http://127.0.0.1:33418/other"}),
        (client_id, {"resource": market.settings.resource("cradle")}),
        (client_id, {"code": code[:-6] + "AAAAA="}),
    ]
    for who, changes in wrong:
        assert (await by_code(market, who, code, **changes)).status_code == 400, changes
    first = await by_code(market, client_id, code)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-store"
    assert (await by_code(market, client_id, code)).json()["error"] == "invalid_grant"
    # Somebody else had the code too, so what came of it ends.
    assert (await refreshed(market, client_id, first.json()["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.requirement("A-06")
async def test_an_exchange_that_fails_halfway_may_be_tried_again(
    market: Market, anna: UserCreated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        monkeypatch.undo()
        raise Unavailable("The database cannot be reached. Try again.", retry_after=1.0)

    client_id = (await registered(market))["client_id"]
    code = (await Browser(market, anna).consent(asking(market, client_id)))["code"]
    monkeypatch.setattr(Accounts, "by_session", away)
    assert (await by_code(market, client_id, code)).status_code == 503
    first = await by_code(market, client_id, code)
    assert first.status_code == 200, first.text
    monkeypatch.setattr(Accounts, "by_session", away)
    assert (await refreshed(market, client_id, first.json()["refresh_token"])).status_code == 503
    second = await refreshed(market, client_id, first.json()["refresh_token"])
    assert second.status_code == 200, second.text
    assert (await market.post_call(second.json()["access_token"], "whoami")).status_code == 200


@pytest.mark.requirement("A-06")
async def test_a_refresh_token_is_good_once_and_its_second_use_ends_everything(
    market: Market, anna: UserCreated
) -> None:
    client_id, first = await let_in(market, anna)
    second = (await refreshed(market, client_id, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    third = (await refreshed(market, client_id, second["refresh_token"])).json()
    assert (await market.post_call(third["access_token"], "whoami")).status_code == 200
    assert (await refreshed(market, client_id, first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await refreshed(market, client_id, third["refresh_token"])).json()["error"] == "invalid_grant"
    assert await refused_soon(market, third["access_token"])


@pytest.mark.requirement("A-06")
async def test_a_refresh_token_stays_with_its_client_its_server_and_its_scopes(
    market: Market, anna: UserCreated
) -> None:
    client_id, held = await let_in(market, anna)
    other = (await registered(market))["client_id"]
    for who, changes in (
        (other, {}),
        (client_id, {"resource": market.settings.resource("cradle")}),
        (client_id, {"scope": "catalogue:read gateway:call"}),
    ):
        assert (await refreshed(market, who, held["refresh_token"], **changes)).status_code == 400
    kept = await refreshed(market, client_id, held["refresh_token"])
    assert (kept.status_code, kept.json()["scope"]) == (200, "catalogue:read")


@pytest.mark.requirement("A-04", "A-06")
async def test_revoking_and_disabling_end_access_tokens_too(market: Market, anna: UserCreated) -> None:
    client_id, held = await let_in(market, anna)
    form = {"client_id": client_id, "token": held["refresh_token"]}
    assert (await market.http.post(market.base + "/oauth/revoke", data=form)).status_code == 200
    assert await refused_soon(market, held["access_token"])
    client_id, held = await let_in(market, anna)
    await market.call(await market.operator(), "disable_user", user_id=anna.user_id)
    assert await refused_soon(market, held["access_token"])
    assert (await refreshed(market, client_id, held["refresh_token"])).json()["error"] == "invalid_grant"


async def refused_soon(market: Market, token: str) -> bool:
    """Whether the marketplace refuses an access token, at the latest when the notification has come."""
    for _ in range(500):
        if (await market.post_call(token, "whoami")).status_code == 401:
            return True
    return False


@pytest.mark.requirement("A-06")
async def test_the_user_refuses_and_the_program_learns_just_that(market: Market, anna: UserCreated) -> None:
    client_id = (await registered(market))["client_id"]
    back = await Browser(market, anna, "refuse").consent(asking(market, client_id))
    assert back == {"error": "access_denied", "state": "s1", "iss": market.base}


@pytest.mark.requirement("A-06")
@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:33418/callback/.."},
        {"client_id": "dyn_forged"},
        {"client_id": "nobody"},
    ],
    ids=["foreign address", "other path", "forged client", "unknown client"],
)
async def test_a_request_with_a_wrong_client_or_address_is_not_sent_back_anywhere(
    market: Market, changes: dict[str, str]
) -> None:
    client_id = (await registered(market))["client_id"]
    response = await market.http.get(asking(market, client_id, **changes))
    assert (response.status_code, "location" in response.headers) == (400, False)


@pytest.mark.requirement("A-06")
async def test_one_clients_request_is_not_consented_to_under_anothers_name(market: Market, anna: UserCreated) -> None:
    trusted, evil = Browser(market, anna), Browser(market, anna)
    there = "https://evil.example/callback"
    await trusted.open(asking(market, (await registered(market, client_name="Trusted"))["client_id"]))
    other = (await registered(market, client_name="Evil", redirect_uris=[there]))["client_id"]
    await evil.open(asking(market, other, redirect_uri=there))
    mixed = {"request": evil.hidden["request"], "client": trusted.hidden["client"]}
    page = await market.http.get(market.base + "/oauth/consent?" + urlencode(mixed))
    assert (page.status_code, "Trusted" in page.text) == (400, False)
    for answer in ("allow", "refuse"):
        refused = await evil.answer(**mixed, answer=answer)
        assert (refused.status_code, "location" in refused.headers) == (400, False)


@pytest.mark.requirement("A-06")
async def test_an_address_that_a_client_gives_up_meanwhile_gets_no_code(
    market: Market, anna: UserCreated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.marketplace.authorization.clients.FRESH_S", -1.0)
    document: dict[str, Any] = {"client_name": "Doc", "redirect_uris": [BACK]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_json(send, document, 200)

    document["client_id"] = (await market.add_app(app)).removesuffix("/mcp") + "/client"
    browser = Browser(market, anna)
    assert (await browser.open(asking(market, document["client_id"]))).status_code == 200
    document["redirect_uris"] = ["http://127.0.0.1:33418/another"]
    for answer in ("allow", "refuse"):
        refused = await browser.answer(answer=answer)
        assert (refused.status_code, "location" in refused.headers) == (400, False)


@pytest.mark.requirement("A-06")
async def test_only_s256_and_only_codes_are_offered(market: Market) -> None:
    client_id = (await registered(market))["client_id"]
    for changes in ({"code_challenge_method": "plain"}, {"code_challenge": ""}, {"response_type": "token"}):
        response = await market.http.get(asking(market, client_id, **changes))
        told = dict(parse_qsl(urlsplit(response.headers["location"]).query))
        assert "error" in told, changes
        assert "code" not in told


@pytest.mark.requirement("A-06")
async def test_the_page_gives_nothing_without_the_password_and_locks_like_the_login(
    market: Market, anna: UserCreated
) -> None:
    browser = Browser(market, anna)
    page = await browser.open(asking(market, (await registered(market))["client_id"]))
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:33418" in policy
    for _ in range(FAILURES_BEFORE_LOCK):
        wrong = await browser.answer(password="wrong password")
        assert (wrong.status_code, "location" in wrong.headers) == (401, False)
    assert (await browser.answer()).status_code == 401
    forged = await browser.answer(request="AAAA")
    assert (forged.status_code, "location" in forged.headers) == (400, False)
    foreign = await market.http.post(
        market.base + "/oauth/consent", data=browser.form, headers={"origin": "https://evil.example"}
    )
    assert foreign.status_code == 403


@pytest.mark.requirement("A-06")
async def test_a_consent_is_never_for_more_than_the_account_may_do(market: Market, anna: UserCreated) -> None:
    _, held = await let_in(market, anna, scope="catalogue:read registry:write users:write")
    assert held["scope"] == "catalogue:read"
    browser = Browser(market, anna)
    client_id = (await registered(market))["client_id"]
    await browser.open(asking(market, client_id, scope="registry:write"))
    assert (await browser.answer()).status_code == 403
    await browser.open(asking(market, client_id, resource="https://unknown.example/mcp"))
    assert (await browser.answer()).status_code == 403


@pytest.mark.requirement("A-06")
@pytest.mark.parametrize(
    "uris",
    [
        ["javascript:alert(1)"], ["http://evil.example/"], ["https://x.example/#a"],
        ["https://known.example@evil.example/"], ["https://x.example;sandbox/"],
        ["https://x.example/", "javascript:alert(1)"], ["http://evil.example/", BACK],
        [f"https://x.example/{number}" for number in range(11)],
    ],
    ids=["script", "plain http", "fragment", "another's host shown", "a word of the policy", "script beside a good one",
         "plain http before a good one", "many"],
)  # fmt: skip
async def test_a_registration_with_a_dangerous_address_is_refused(market: Market, uris: list[str]) -> None:
    response = await market.http.post(market.base + "/oauth/register", json={"redirect_uris": uris})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_redirect_uri")


async def test_a_client_with_a_secret_must_show_it(market: Market, anna: UserCreated) -> None:
    made = await registered(market, token_endpoint_auth_method="client_secret_post")
    code = (await Browser(market, anna).consent(asking(market, made["client_id"])))["code"]
    for secret in ({}, {"client_secret": "wrong"}):
        assert (await by_code(market, made["client_id"], code, **secret)).status_code == 401
    assert (await by_code(market, made["client_id"], code, client_secret=made["client_secret"])).status_code == 200


async def test_a_program_that_was_let_in_makes_no_key_of_the_user(market: Market, anna: UserCreated) -> None:
    _, held = await let_in(market, anna, scope="catalogue:read gateway:call")
    answer = await market.post_call(held["access_token"], "create_api_key")
    assert answer_of(answer)["result"]["_meta"]["0711/error"]["code"] == "forbidden"


async def test_what_ended_long_ago_makes_room_for_the_next(market: Market, anna: UserCreated, postgres_server) -> None:
    async with postgres_server.superuser(market.urls) as rows:
        for days, left in ((29, 1), (31, 2), (0, 1)):
            await let_in(market, anna)
            assert await rows.fetchval("SELECT count(*) FROM authorizations") == left
            await rows.execute(f"UPDATE authorizations SET expires_at = now() - interval '{days} days'")  # noqa: S608
