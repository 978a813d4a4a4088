"""Accounts and tokens of a running marketplace, seen from outside."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterable
from typing import Any

import jwt
import pytest

from servers.marketplace.bootstrap import bootstrap
from servers.marketplace.tools.accounts import KeyCreated, KeyList, UserDisabled, UserListed, UserPage, WhoAmI
from servers.marketplace.users.accounts import FAILURES_BEFORE_LOCK
from servers.marketplace.users.store import User
from shared.auth import RemoteKeys, TokenVerifier
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from shared.ids import new_handle
from tests.marketplace_rig import Credential, Market, refusal
from tests.serving_rig import HEARS_S, answer_of


async def test_the_first_start_writes_credentials_for_their_owner_alone_and_a_second_changes_nothing(
    market: Market,
) -> None:
    files = [market.settings.home / "keys" / f"{name}.json" for name in ("operator", "orchestrator", "cradle")]
    before = [path.read_bytes() for path in files]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    token = await market.operator()
    await bootstrap(market.settings)
    assert [path.read_bytes() for path in files] == before
    assert (await market.call(token, "whoami", WhoAmI)).role == "platform_admin"
    await market.operator()


async def test_a_lost_credential_file_gives_a_new_secret_and_ends_the_old_one(market: Market) -> None:
    old = market.credential("orchestrator")
    (market.settings.home / "keys" / "orchestrator.json").unlink()
    (market.settings.home / "keys" / "operator.json").unlink()
    await bootstrap(market.settings)
    assert (await market.ask_token(old)).status_code == 401
    await market.service()
    await market.operator()


async def test_a_user_logs_in_and_the_token_says_who_it_is(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "Anna@Acme.Example")
    body = {"email": "anna@acme.example", "password": made.password}
    response = await market.http.post(market.base + "/v1/login", json=body)
    assert response.headers["cache-control"] == "no-store"
    me = await market.call(response.json()["access_token"], "whoami", WhoAmI)
    assert (me.subject, me.role, me.customer_id) == (made.user_id, "customer_user", "acme")
    assert me.scopes == ["catalogue:read", "database:change", "gateway:call"]


async def test_an_unknown_user_and_a_wrong_password_get_the_same_answer(market: Market) -> None:
    await market.add_user("customer_user", "acme", "anna@acme.example")
    answers = [
        await market.http.post(market.base + "/v1/login", json={"email": email, "password": "wrong password"})
        for email in ("anna@acme.example", "nobody@acme.example", "no address")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


async def test_after_some_wrong_passwords_the_right_one_is_refused_too_with_the_same_answer(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    wrong = {"email": made.email, "password": "wrong password"}
    right = wrong | {"password": made.password}
    refused = [await market.http.post(market.base + "/v1/login", json=wrong) for _ in range(FAILURES_BEFORE_LOCK)]
    locked = await market.http.post(market.base + "/v1/login", json=right)
    assert (locked.status_code, locked.content) == (401, refused[0].content)


@pytest.mark.usefixtures("costly_hashes")
async def test_guesses_at_the_same_time_are_as_few_as_one_after_the_other(market: Market) -> None:
    """They are all let in before the first of them is found to be wrong."""
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    guesses = ["wrong password"] * (6 * FAILURES_BEFORE_LOCK) + [made.password]
    answers = await asyncio.gather(
        *(market.http.post(market.base + "/v1/login", json={"email": made.email, "password": each}) for each in guesses)
    )
    assert {answer.status_code for answer in answers} == {401}


async def test_a_wrong_password_now_and_then_locks_nobody_out(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    right = {"email": made.email, "password": made.password}
    for _ in range(2):
        for _ in range(FAILURES_BEFORE_LOCK - 1):
            await market.http.post(market.base + "/v1/login", json=right | {"password": "wrong password"})
        assert (await market.http.post(market.base + "/v1/login", json=right)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"email":1,"password":"x"}', b'{"email":"a@b.example"}', b'{"email":"a","password":NaN}'],
)
async def test_a_malformed_login_is_an_input_error(market: Market, body: bytes) -> None:
    response = await market.http.post(market.base + "/v1/login", content=body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_input")


async def test_oversize_bodies_are_refused(market: Market) -> None:
    for path in ("/v1/login", "/oauth/token"):
        assert (await market.http.post(market.base + path, content=b"x" * 20_000)).status_code == 413


@pytest.mark.requirement("A-02")
async def test_a_token_is_for_the_one_server_that_was_asked_for(market: Market) -> None:
    token = await market.token(market.credential("orchestrator"), resource=market.settings.resource("cradle"))
    keys = RemoteKeys(market.base + "/.well-known/jwks.json")
    try:
        verified = await TokenVerifier.of(market.settings, "cradle", keys).verify(token)
        assert (verified.subject, verified.role, verified.customer) == ("orchestrator", "service", None)
        with pytest.raises(Unauthenticated):
            await TokenVerifier.of(market.settings, "orchestrator", keys).verify(token)
    finally:
        await keys.aclose()
    with pytest.raises(Unauthenticated):
        await market.call(token, "whoami")


@pytest.mark.requirement("A-01")
async def test_a_token_of_another_issuer_or_without_signature_is_refused(market: Market) -> None:
    good = await market.service()
    head, body, signature = good.split(".")
    unsigned = jwt.encode(jwt.decode(good, options={"verify_signature": False}), None, algorithm="none")
    for forged in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", unsigned, "x", f"{good}.x"):
        with pytest.raises(Unauthenticated):
            await market.call(forged, "whoami")


async def test_only_the_orchestrator_and_administrators_name_a_customer(market: Market) -> None:
    token = await market.token(market.credential("orchestrator"), customer="acme")
    assert jwt.decode(token, options={"verify_signature": False})["customer"] == "acme"
    assert (await market.ask_token(market.credential("cradle"), customer="acme")).status_code == 400
    assert (await market.ask_token(market.credential("operator"), customer="acme")).status_code == 200


@pytest.mark.requirement("T-01")
async def test_a_customers_key_gives_tokens_for_this_customer_only(market: Market) -> None:
    made = await market.add_user("customer_admin", "acme", "anna@acme.example")
    key = Credential(made.client_id, made.client_secret)
    claims = jwt.decode(await market.token(key), options={"verify_signature": False})
    assert (claims["customer"], claims["sub"], claims["client_id"]) == ("acme", made.user_id, made.client_id)
    foreign = await market.ask_token(key, customer="bolt")
    unknown = await market.ask_token(key, customer="nobody")
    assert (foreign.status_code, foreign.content) == (400, unknown.content)
    assert foreign.json()["error"] == "invalid_target"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "key_aaaaaaaaaaaaaaaaaaaaaaaaaa"}, "invalid_client"),
        ({"client_id": "'; --"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
        ({"resource": ""}, "invalid_target"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"customer": "A/../B"}, "invalid_target"),
    ],
)
async def test_a_token_request_that_cannot_be_met_says_why_in_the_words_of_oauth(
    market: Market, form: dict[str, str], error: str
) -> None:
    response = await market.ask_token(market.credential("orchestrator"), **form)
    assert (response.status_code, response.json()["error"]) == (401 if error == "invalid_client" else 400, error)
    assert response.headers["cache-control"] == "no-store"


async def test_the_credential_may_come_as_basic_authentication_and_a_scope_narrows(market: Market) -> None:
    credential = market.credential("orchestrator")
    form = {"grant_type": "client_credentials", "resource": market.resource, "scope": "catalogue:read"}
    answer = await market.http.post(
        market.base + "/oauth/token", data=form, auth=(credential.client_id, credential.client_secret)
    )
    assert answer.json()["scope"] == "catalogue:read"
    refused = await market.post_call(answer.json()["access_token"], "register_customer")
    assert refused.status_code == 403
    assert 'error="insufficient_scope", scope="registry:write"' in refused.headers["www-authenticate"]


async def test_metadata_names_the_endpoints_and_keys_are_public(market: Market) -> None:
    metadata = (await market.http.get(market.base + "/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == market.base
    keys = (await market.http.get(metadata["jwks_uri"])).json()["keys"]
    assert [set(key) for key in keys] == [{"crv", "kty", "x", "y", "kid", "use", "alg"}]
    health = (await market.http.get(market.base + "/health")).json()
    assert (health["status"], health["service"]) == ("healthy", "mcp-central-api")
    assert [health["dependencies"][each] for each in ("user_registry", "clock")] == ["healthy", "healthy"]


@pytest.mark.requirement("A-05")
@pytest.mark.parametrize("path", ["/v0.1/servers", "/mcp", "/servers/io.0711/cradle/mcp", "/v1/users"])
async def test_what_is_not_public_needs_a_token(market: Market, path: str) -> None:
    response = await market.http.post(market.base + path, json={})
    assert response.status_code == 401
    assert "resource_metadata" in response.headers["www-authenticate"]


async def test_a_disabled_user_gets_no_token_by_key_or_password(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    await market.call(await market.user_token("acme"), "disable_user", UserDisabled, user_id=made.user_id)
    assert (await market.ask_token(Credential(made.client_id, made.client_secret))).status_code == 401
    login = await market.http.post(market.base + "/v1/login", json={"email": made.email, "password": made.password})
    assert login.status_code == 401


@pytest.mark.requirement("T-01")
async def test_a_person_is_found_by_who_manages_the_account_and_not_once_it_has_ended(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    operator, boss, other = await market.operator(), await market.user_token("acme"), await market.user_token("bolt")

    async def seen(token: str, **named: str) -> set[str]:
        found, cursor = list[UserListed](), {}
        while True:
            page = await market.call(token, "list_users", UserPage, limit=2, **named, **cursor)
            found += page.users
            if page.next_cursor is None:
                return {each.user_id for each in found if each.email == "anna@acme.example"}
            cursor = {"cursor": page.next_cursor}

    for token, named in (
        (operator, {}),
        (operator, {"customer_id": "acme"}),
        (boss, {}),
        (boss, {"customer_id": "acme"}),
    ):
        assert await seen(token, **named) == {made.user_id}
    assert await seen(other) == await seen(operator, customer_id="bolt") == set()
    foreign, unknown = [
        await refusal(market.call(other, "list_users", UserPage, customer_id=each)) for each in ("acme", "nobody")
    ]
    assert foreign.as_dict() == unknown.as_dict()
    for token, cursor in ((other, made.user_id), (boss, "usr_" + "a" * 26), (operator, "usr_" + "a" * 26)):
        with pytest.raises(InvalidInput, match="not one of ours"):  # another customer's, and two that nobody gave
            await market.call(token, "list_users", UserPage, cursor=cursor)
    with pytest.raises(Forbidden):
        await market.call(await market.user_token("acme", "customer_user"), "list_users", UserPage)
    await market.call(operator, "disable_user", UserDisabled, user_id=made.user_id)
    assert await seen(operator) == await seen(boss) == set()


@pytest.mark.requirement("T-01")
async def test_another_customers_user_looks_unknown_to_an_administrator(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    token = await market.user_token("bolt")
    errors = [
        await refusal(market.call(token, "disable_user", UserDisabled, user_id=user_id))
        for user_id in (made.user_id, "usr_" + "a" * 26)
    ]
    assert errors[0].as_dict() == errors[1].as_dict()
    await market.ask_token(Credential(made.client_id, made.client_secret))


@pytest.mark.requirement("T-01")
async def test_users_are_made_for_the_own_customer_only_and_not_above_the_own_role(market: Market) -> None:
    admin, user = await market.user_token("acme"), await market.user_token("acme", "customer_user")
    errors = [
        await refusal(
            market.call(admin, "create_user", email="x@y.example", role="customer_user", customer_id=customer)
        )
        for customer in ("bolt", "nobody")
    ]
    assert errors[0].as_dict() == errors[1].as_dict() == NotFound(errors[0].message, field="customer_id").as_dict()
    above = await market.post_call(admin, "create_user", email="x@y.example", role="platform_admin")
    assert answer_of(above)["result"]["_meta"]["0711/error"]["code"] == "forbidden"
    assert (await market.post_call(user, "create_user")).status_code == 403


async def test_an_address_is_used_by_one_user(market: Market) -> None:
    await market.add_user("customer_user", "acme", "anna@acme.example")
    with pytest.raises(Conflict, match="address already"):
        await market.add_user("customer_user", "bolt", "ANNA@acme.example")
    with pytest.raises(InvalidInput):
        await market.add_user("customer_user", "bolt", "anna\u0000@acme")


async def test_accounts_and_keys_are_bounded_also_when_they_are_made_at_the_same_time(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, bolt, operator = await market.user_token("acme"), await market.user_token("bolt"), await market.operator()
    old = await market.call(operator, "create_user", email="old@acme.example", role="customer_user", customer_id="acme")
    monkeypatch.setattr("servers.marketplace.users.store.MAX_ACCOUNTS", 4)
    monkeypatch.setattr("servers.marketplace.users.store.MAX_KEYS", 3)

    async def conflicts(calls: Iterable[Any]) -> list[str]:
        """What those of the calls were told that were refused."""
        refused = [each for each in await asyncio.gather(*calls, return_exceptions=True) if each is not None]
        assert {type(each) for each in refused} == {Conflict}
        return [each.message for each in refused]

    async def user(token: str, email: str, customer: str = "acme") -> None:
        await market.call(token, "create_user", email=email, role="customer_user", customer_id=customer)

    async def key() -> None:
        await market.call(boss, "create_api_key")

    store = market.server.services.accounts.store
    new = [User(new_handle("usr"), f"u{number}@acme.example", "customer_user", "acme", True) for number in range(6)]
    told = await conflicts(store.add_user(each, "hash", old["user_id"]) for each in new)
    assert told == ["There are 4 accounts already: end some with disable_user first."] * 4
    assert len(await conflicts([user(boss, "one-more@acme.example")])) == 1
    await user(bolt, "u@bolt.example", "bolt")  # each customer has its own bound
    await market.call(boss, "disable_user", user_id=old["user_id"])
    await user(boss, "next@acme.example")
    assert await conflicts(key() for _ in range(6)) == ["There are 3 keys already: revoke one first."] * 4
    assert len((await market.call(boss, "list_api_keys", KeyList)).keys) == 3


async def test_a_partner_acts_for_the_customers_that_it_brought(market: Market) -> None:
    partner = await market.add_user("partner_admin", None, "partner@example.com")
    key = Credential(partner.client_id, partner.client_secret)
    await market.call(
        await market.token(key), "register_customer",
        customer_id="carl", company_name="Carl KG", contact_email="it@carl.example",
    )  # fmt: skip
    assert (await market.ask_token(key, customer="carl")).status_code == 200
    assert (await market.ask_token(key, customer="acme")).status_code == 400
    made = await market.call(
        await market.token(key), "create_user", email="u@carl.example", role="customer_user", customer_id="carl"
    )
    assert made["customer_id"] == "carl"


@pytest.mark.requirement("A-04")
async def test_a_revoked_key_gives_no_token_and_those_that_it_gave_end_while_another_key_goes_on(
    market: Market,
) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    first = Credential(made.client_id, made.client_secret)
    token = await market.token(first)
    new = await market.call(token, "create_api_key", KeyCreated)
    second = Credential(new.client_id, new.client_secret)
    other = await market.token(second)
    listed = await market.call(other, "list_api_keys", KeyList)
    assert [key.key_id for key in listed.keys] == [first.client_id, second.client_id]
    await market.call(other, "revoke_api_key", key_id=first.client_id)
    assert (await market.ask_token(first)).status_code == 401
    async with asyncio.timeout(HEARS_S):
        while (await market.post_call(token, "whoami")).status_code != 401:
            pass
    assert (await market.call(other, "whoami", WhoAmI)).client_id == second.client_id
    with pytest.raises(NotFound):
        await market.call(other, "revoke_api_key", key_id=first.client_id)


async def test_a_token_that_holds_less_than_its_user_makes_no_key(market: Market) -> None:
    made = await market.add_user("customer_user", "acme", "anna@acme.example")
    narrow = await market.token(Credential(made.client_id, made.client_secret), scope="catalogue:read")
    for token in (narrow, await market.service()):
        with pytest.raises(Forbidden):
            await market.call(token, "create_api_key")


async def test_a_token_makes_no_account_that_holds_more_than_itself(market: Market) -> None:
    """Else a program that may manage users and nothing else would make itself an account for everything."""
    admin = await market.add_user("customer_admin", "acme", "admin@acme.example")
    narrow = await market.token(Credential(admin.client_id, admin.client_secret), scope="users:write")
    for role in ("customer_admin", "customer_user"):
        for tool in ("create_user", "invite_user"):
            asked = {"email": "new@acme.example", "role": role, "customer_id": "acme"}
            assert isinstance(await refusal(market.call(narrow, tool, **asked)), Forbidden)
    assert (await market.call(narrow, "list_invitations"))["invitations"] == []
    scope = "users:write catalogue:read gateway:call database:change"
    some = await market.token(Credential(admin.client_id, admin.client_secret), scope=scope)
    made = await market.call(some, "create_user", email="new@acme.example", role="customer_user", customer_id="acme")
    await market.call(narrow, "disable_user", user_id=made["user_id"])
