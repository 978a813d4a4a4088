"""Invitations of a running marketplace: who may invite whom, and that a link makes one account, once."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from servers.marketplace.approvals.store import ApprovalStore
from servers.marketplace.bootstrap import bootstrap
from servers.marketplace.invitations.store import MAX_OPEN, WRONG_SECRETS
from servers.marketplace.tools.accounts import WhoAmI
from servers.marketplace.tools.invitations import InvitationList, InvitationMade
from shared.errors import Conflict, Forbidden, NotFound
from shared.postgres.database import Database
from tests.marketplace_rig import Credential, Market

PASSWORD = "correct horse battery"


@pytest.fixture
async def rows(market: Market, postgres_server: Any) -> AsyncIterator[Any]:
    async with postgres_server.superuser(market.urls) as superuser:
        yield superuser


async def invite(market: Market, token: str, email: str = "cara@acme.example", **more: Any) -> InvitationMade:
    told = {"role": "customer_user", "customer_id": "acme"} | more
    return await market.call(token, "invite_user", InvitationMade, email=email, **told)


async def opened(market: Market, token: str, **arguments: Any) -> list[str]:
    found = await market.call(token, "list_invitations", InvitationList, **arguments)
    return [each.email for each in found.invitations]


async def accept(market: Market, link: str, password: str = PASSWORD, again: str | None = None) -> httpx2.Response:
    token = link.rpartition("token=")[2]
    form = {"token": token, "password": password, "again": password if again is None else again}
    return await market.http.post(market.base + "/invitation", data=form, headers={"origin": market.base})


async def login(market: Market, email: str, password: str = PASSWORD) -> httpx2.Response:
    return await market.http.post(market.base + "/v1/login", json={"email": email, "password": password})


async def test_an_invited_person_sets_a_password_once_and_is_then_a_user(market: Market, rows: Any) -> None:
    boss = await market.user_token("acme")
    made = await invite(market, boss, "Cara@Acme.Example")
    assert made.link.startswith(market.base + "/invitation?token=inv_")
    assert await opened(market, boss) == ["cara@acme.example"]
    page = await market.http.get(made.link)
    assert page.status_code == 200
    for told in ("Acme GmbH invites you", "cara@acme.example", "a user of Acme GmbH"):
        assert told in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert html.unescape(re.findall(r'name="token" value="([^"]*)"', page.text)[0]) in made.link
    short = await accept(market, made.link, "short")
    assert (short.status_code, "12 to 256 characters" in short.text) == (400, True)
    assert (await accept(market, made.link, again="something else")).status_code == 400
    welcome = (await accept(market, made.link)).text
    assert "Your account is there" in welcome
    assert market.resource in welcome  # what to give to a program now
    assert (await login(market, "cara@acme.example")).status_code == 200
    assert (await accept(market, made.link)).status_code == 404
    assert (await market.http.get(made.link)).status_code == 404
    assert await opened(market, boss) == []
    stored = await rows.fetch("SELECT i::text FROM invitations i")
    assert made.link.rpartition(".")[2] not in str(stored), "only the digest is stored"
    verbs = [row["verb"] for row in await rows.fetch("SELECT verb FROM audit WHERE verb LIKE 'invitation%' ORDER BY 1")]
    assert verbs == ["invitation.accepted", "invitation.created"]


async def test_nobody_offers_a_role_above_their_own_or_an_account_elsewhere(market: Market) -> None:
    boss, user = await market.user_token("acme"), await market.user_token("acme", "customer_user")
    for role, customer in (("platform_admin", None), ("partner_admin", None), ("customer_admin", None)):
        with pytest.raises(Forbidden):
            await invite(market, boss, role=role, customer_id=customer)
    for token, refused in ((user, Forbidden), (await market.service(), Forbidden)):
        with pytest.raises(refused):
            await invite(market, token)
    for customer in ("bolt", "nobody"):
        with pytest.raises(NotFound):
            await invite(market, boss, customer_id=customer)
        with pytest.raises(NotFound):
            await opened(market, boss, customer_id=customer)
    partner = await market.call(
        await market.operator(), "create_user", email="p@partner.example", role="partner_admin", customer_id=None
    )
    token = await market.token(Credential(partner["client_id"], partner["client_secret"]))
    with pytest.raises(NotFound):
        await invite(market, token)  # acme is not the partner's
    with pytest.raises(Forbidden):
        await invite(market, token, role="partner_admin", customer_id=None)
    platform = await invite(market, await market.operator(), "o@0711.example", role="platform_admin", customer_id=None)
    assert await opened(market, await market.operator()) == ["o@0711.example"]
    assert await opened(market, boss) == []
    assert (await accept(market, platform.link)).status_code == 200
    assert (await login(market, "o@0711.example")).status_code == 200


@pytest.mark.usefixtures("costly_hashes")
async def test_of_ten_that_accept_at_once_one_makes_the_account(market: Market, rows: Any) -> None:
    made = await invite(market, await market.user_token("acme"))
    answers = await asyncio.gather(*(accept(market, made.link, PASSWORD + str(number)) for number in range(10)))
    assert sorted(each.status_code for each in answers) == [200, *[404] * 9]
    assert await rows.fetchval("SELECT count(*) FROM users WHERE email = 'cara@acme.example'") == 1


async def test_a_withdrawn_replaced_late_or_guessed_link_makes_no_account(market: Market, rows: Any) -> None:
    boss = await market.user_token("acme")
    first = await invite(market, boss)
    withdrawn = await invite(market, boss)
    assert (await accept(market, first.link)).status_code == 404, "a new one of the same address ends the one before"
    await market.call(boss, "revoke_invitation", invitation_id=withdrawn.invitation_id)
    assert (await accept(market, withdrawn.link)).status_code == 404
    with pytest.raises(NotFound):
        await market.call(boss, "revoke_invitation", invitation_id=withdrawn.invitation_id)
    late = await invite(market, boss)
    await rows.execute("UPDATE invitations SET expires_at = now() WHERE state = 'open'")
    assert (await accept(market, late.link)).status_code == 404
    guessed = await invite(market, boss)
    wrong = guessed.link[:-4] + ("AAAA" if not guessed.link.endswith("AAAA") else "BBBB")
    for link in ("", "x", "inv_" + "a" * 26, "token=" + "x" * 5000, *[wrong] * (WRONG_SECRETS - 1)):
        assert (await accept(market, link)).status_code == 404
    assert (await market.http.get(guessed.link)).status_code == 200
    assert (await accept(market, wrong)).status_code == 404
    assert (await market.http.get(guessed.link)).status_code == 404, "ended by too many wrong secrets"
    assert await rows.fetchval("SELECT count(*) FROM users WHERE email = 'cara@acme.example'") == 0


@pytest.mark.requirement("Z-04")
async def test_of_a_person_whose_account_has_ended_only_the_accounts_id_is_left(market: Market, rows: Any) -> None:
    boss, operator = await market.user_token("acme"), await market.operator()
    made = await invite(market, boss)
    assert (await accept(market, made.link)).status_code == 200
    old = await invite(market, boss, "old@acme.example")
    await rows.execute(
        "UPDATE invitations SET expires_at = now() - interval '31 days' WHERE invitation_id = $1", old.invitation_id
    )
    user = await rows.fetchval("SELECT user_id FROM users WHERE email = 'cara@acme.example'")
    for _ in range(2):
        await market.call(operator, "disable_user", user_id=user)
    await invite(market, boss, "next@acme.example")
    person = await rows.fetchrow("SELECT email, password_hash FROM users WHERE user_id = $1", user)
    assert tuple(person) == (f"{user}@ended.invalid", "")
    assert [row["email"] for row in await rows.fetch("SELECT email FROM invitations")] == ["next@acme.example"]
    answers = [await login(market, email) for email in ("cara@acme.example", f"{user}@ended.invalid")]
    assert [answer.status_code for answer in answers] == [401, 401]
    again = await invite(market, boss)
    assert (await accept(market, again.link)).status_code == 200, "the address is free for another account"
    await market.call(operator, "disable_user", user_id=(await market.call(operator, "whoami", WhoAmI)).subject)
    await bootstrap(market.settings)
    assert await rows.fetchval("SELECT count(*) FROM users WHERE role = 'platform_admin'") == 1


async def test_a_kept_link_does_not_bring_back_whose_account_has_ended(market: Market, rows: Any) -> None:
    boss, operator = await market.user_token("acme"), await market.operator()
    before = await invite(market, boss)
    made = await market.add_user("customer_user", "acme", "cara@acme.example")
    assert await opened(market, boss) == [], "who has an account waits for none"
    with pytest.raises(Conflict, match="list_users"):
        await invite(market, boss)
    elsewhere = await invite(market, await market.user_token("bolt"), customer_id="bolt")
    assert elsewhere.email == made.email, "another customer does not learn of the account"
    # as if one had been written while the account was made
    await rows.execute("UPDATE invitations SET state = 'open' WHERE invitation_id = $1", before.invitation_id)
    await market.call(operator, "disable_user", user_id=made.user_id)
    assert (await accept(market, before.link)).status_code == 404
    assert (await login(market, "cara@acme.example")).status_code == 401


async def test_the_end_of_an_account_ends_what_it_offered(market: Market, rows: Any) -> None:
    boss = await market.add_user("customer_admin", "acme", "boss@acme.example")
    token = await market.token(Credential(boss.client_id, boss.client_secret))
    made, late = await invite(market, token), await invite(market, token, "late@acme.example")
    await market.call(await market.operator(), "disable_user", user_id=boss.user_id)
    assert (await accept(market, made.link)).status_code == 404
    # as if the invitation had been written while the account ended
    await rows.execute("UPDATE invitations SET state = 'open' WHERE email = 'late@acme.example'")
    assert (await accept(market, late.link)).status_code == 404
    states = {row["email"]: row["state"] for row in await rows.fetch("SELECT email, state FROM invitations")}
    assert states == {"cara@acme.example": "revoked", "late@acme.example": "open"}, "no half-accepted one is left"
    assert await rows.fetchval("SELECT count(*) FROM users WHERE created_by = $1", boss.user_id) == 0


async def test_an_address_that_has_an_account_keeps_it_and_open_ones_are_bounded(market: Market, rows: Any) -> None:
    boss = await market.user_token("acme")
    made = await invite(market, boss)
    theirs = await market.add_user("customer_user", "bolt", "cara@acme.example")
    taken = await accept(market, made.link)
    assert (taken.status_code, "already" in taken.text) == (409, True)
    assert (await login(market, "cara@acme.example")).status_code == 401
    assert (await login(market, "cara@acme.example", theirs.password)).status_code == 200
    await rows.execute(
        "INSERT INTO invitations (invitation_id, customer_id, email, role, secret_sha256, invited_by, expires_at) "
        "SELECT 'inv_' || translate(lpad(n::text, 26, '0'), '0123456789', 'abcdefghij'), 'acme', n || '@x.example', "
        "'customer_user', decode(repeat('00', 32), 'hex'), (SELECT min(invited_by) FROM invitations), "
        "now() + interval '1 day' FROM generate_series(2, $1) AS n",
        MAX_OPEN,
    )
    with pytest.raises(Conflict, match="revoke_invitation"):
        await invite(market, boss, "one-more@acme.example")
    await invite(market, boss)  # in the place of the one before
    bolt = await invite(market, await market.user_token("bolt"), "dora@bolt.example", customer_id="bolt")
    assert bolt.customer_id == "bolt", "each customer has its own bound"


async def test_an_invitation_makes_no_account_beyond_the_bound_and_stays_open(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, operator = await market.user_token("acme"), await market.operator()
    mine, platforms = await invite(market, boss), {"role": "partner_admin", "customer_id": None}
    theirs = await invite(market, operator, "p@partner.example", **platforms)
    monkeypatch.setattr("servers.marketplace.users.store.MAX_ACCOUNTS", 1)
    for made in (mine, theirs):
        full = await accept(market, made.link)
        assert (full.status_code, "There are 1 accounts already" in full.text) == (409, True)
    monkeypatch.setattr("servers.marketplace.users.store.MAX_ACCOUNTS", 2)
    assert [(await accept(market, made.link)).status_code for made in (mine, theirs)] == [200, 200]


async def test_an_invited_account_counts_as_one_person_with_its_inviter(market: Market, rows: Any) -> None:
    """Whoever makes a link may open it: else one person could ask and approve."""
    boss = await market.add_user("customer_admin", "acme", "boss@acme.example")
    token = await market.token(Credential(boss.client_id, boss.client_secret))
    made = await invite(market, token, role="customer_admin")
    await accept(market, made.link)
    invited = await rows.fetchval("SELECT user_id FROM users WHERE email = 'cara@acme.example'")
    async with Database(market.urls.app) as database:
        assert await ApprovalStore(database).one_hand("acme", boss.user_id, invited)
