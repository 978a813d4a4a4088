"""The marketplace's audit log: every change of state is in it, or does not happen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from servers.local.audit import LOGS, last, prove
from servers.marketplace.approvals.store import ApprovalStore, Bound
from servers.marketplace.tools.accounts import UserCreated, WhoAmI
from servers.marketplace.tools.licences import LicenceShown
from servers.marketplace.tools.review import ServerReviewed
from shared.audit import AuditEntry, AuditLog
from shared.contracts.catalogue import CataloguePage
from shared.errors import Conflict, InvalidInput, PlatformError
from shared.ids import new_handle
from shared.postgres.database import Database
from shared.postgres.urls import write
from tests.integration.test_marketplace_invitations import accept, invite
from tests.integration.test_marketplace_oauth import Browser, asking, let_in
from tests.marketplace_rig import DIGEST, Changing, Market, definition

CRADLE = "io.0711/cradle"
BOUND = Bound(CRADLE, "apply_change", DIGEST, DIGEST, DIGEST)
OTHER = "usr_" + "b" * 26


@pytest.fixture(autouse=True)
def _every_log_is_the_marketplaces(market: Market) -> None:
    write(market.settings.home, dict.fromkeys(LOGS, market.urls))


@pytest.fixture
async def superuser(market: Market, postgres_server: Any) -> AsyncIterator[Any]:
    async with postgres_server.superuser(market.urls) as connection:
        yield connection


async def entries(market: Market) -> list[AuditEntry]:
    """The log, oldest first."""
    async with Database(market.urls.app) as db:
        return (await AuditLog(db).newest(200))[::-1]


async def changes(market: Market) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Verb → a call that makes this change."""
    operator, service = await market.operator(), await market.service()
    customer = await market.user_token("acme")
    name = await market.add_instance("acme", await market.add_app(Changing(definition("say"))))
    seen = await market.call(operator, "check_mcp", ServerReviewed, server_name=name)
    user = await market.add_user("customer_user", "acme", "bert@acme.example")
    who = {"company_name": "Bolt AG", "contact_email": "it@bolt.example"}
    licence = {"customer_id": "acme", "server_name": CRADLE, "days": 3}
    given = await market.call(operator, "issue_licence", LicenceShown, **licence)
    return {
        "licence.issued": lambda: market.call(operator, "issue_licence", **licence),
        "licence.revoked": lambda: market.call(operator, "revoke_licence", licence_id=given.licence_id),
        "server.installed": lambda: market.call(customer, "install_mcp", server_name=CRADLE),
        "server.uninstalled": lambda: market.call(customer, "uninstall_mcp", server_name=name),
        "customer.registered": lambda: market.call(service, "register_customer", customer_id="bolt", **who),
        "tools.approved": lambda: market.call(operator, "approve_mcp_tools", server_name=name, reviewed=seen.reviewed),
        "user.created": lambda: market.call(
            operator, "create_user", email="new@acme.example", role="customer_user", customer_id="acme"
        ),
        "user.disabled": lambda: market.call(operator, "disable_user", user_id=user.user_id),
    }


@pytest.mark.requirement("A-10")
async def test_each_change_is_in_the_log_with_who_made_it_and_without_any_address(market: Market) -> None:
    operator = (await market.call(await market.operator(), "whoami", WhoAmI)).subject
    made = await changes(market)
    made.pop("customer.registered")
    before = len(await entries(market))
    for change in made.values():
        await change()
    whole = (await entries(market))[before:]
    calls = [entry for entry in whole if entry.verb.endswith(".called")]  # before it is known what becomes of them
    told = [entry for entry in whole if entry not in calls]
    assert len(calls) == len(made)
    assert set(made) <= {entry.verb for entry in told}
    assert {entry.customer_id for entry in told} == {"acme"}
    assert {entry.actor for entry in told if entry.verb == "user.disabled"} == {operator}
    assert "example" not in "".join(entry.model_dump_json() for entry in await entries(market))
    lines, whole = await prove(market.settings, [])
    assert whole
    assert lines[0].startswith(f"{LOGS[0]}: {len(await entries(market))} entries, whole.")
    newest, shown = (await entries(market))[-1], await last(market.settings, 2)
    assert len(shown) == 2
    assert [f":{newest.number} {newest.actor} {newest.verb} customer=acme" in line for line in shown] == [True, True]
    numbers = [int(line.split()[1].partition(":")[2]) for line in await last(market.settings, 7)]
    assert numbers == sorted(numbers)  # the newest at the end
    assert set(numbers) == {newest.number, newest.number - 1, newest.number - 2}
    of_acme = await last(market.settings, 1000, "acme")
    assert any(newest.verb in line for line in of_acme)
    assert all(" customer=acme" in line for line in of_acme)
    assert len(of_acme) < len(await last(market.settings, 1000))
    assert await last(market.settings, 1000, "nobody") == []


@pytest.mark.requirement("A-10")
async def test_while_the_log_cannot_be_written_no_change_happens_and_reading_goes_on(
    market: Market, superuser: Any
) -> None:
    service = await market.service()
    who = {"company_name": "Acme GmbH", "contact_email": "it@acme.example"}
    await market.call(service, "register_customer", customer_id="acme", **who)
    made = await changes(market)
    tables = ("installs", "customers", "users", "api_keys", "catalogue_entries", "server_tools", "licences")
    count = " UNION ALL ".join(f"SELECT count(*), max(t::text) FROM {table} t" for table in tables)  # noqa: S608
    before = await superuser.fetch(count)
    await superuser.execute("ALTER TABLE audit RENAME TO audit_away")
    for verb, change in made.items():
        with pytest.raises(PlatformError):
            await change()
        assert await superuser.fetch(count) == before, verb
    await market.call(service, "list_marketplace_mcps", CataloguePage)
    await superuser.execute("ALTER TABLE audit_away RENAME TO audit")
    for change in made.values():
        await change()


@pytest.mark.requirement("A-10")
async def test_while_the_log_cannot_be_written_pages_and_routes_change_nothing_either(
    market: Market, superuser: Any
) -> None:
    anna = await market.add_user("customer_user", "acme", "anna@acme.example")
    invited = await invite(market, await market.user_token("acme"))
    client_id, held = await let_in(market, anna)
    browser, ending = Browser(market, anna), {"client_id": client_id, "token": held["refresh_token"]}
    await browser.open(asking(market, client_id))
    async with approvals(market) as store:
        waiting, approved = [await asked_for(store, anna) for _ in range(2)]
        await store.decide("acme", approved, OTHER, approve=True)
        tables = ("users", "invitations", "authorizations", "approvals")
        rows = " UNION ALL ".join(
            f"SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM {table} t"  # noqa: S608
            for table in tables
        )
        before = await superuser.fetch(rows)
        await superuser.execute("ALTER TABLE audit RENAME TO audit_away")
        assert (await accept(market, invited.link)).status_code >= 500
        assert "code=" not in (await browser.answer()).headers.get("location", "")
        assert (await market.http.post(market.base + "/oauth/revoke", data=ending)).status_code >= 500
        for change in (
            store.decide("acme", waiting, OTHER, approve=True),
            store.dispatch("acme", approved, anna.user_id, BOUND),
            asked_for(store, anna),
        ):
            with pytest.raises(PlatformError):
                await change
        assert await superuser.fetch(rows) == before
        await superuser.execute("ALTER TABLE audit_away RENAME TO audit")
        assert await store.dispatch("acme", approved, anna.user_id, BOUND)
    assert (await accept(market, invited.link)).status_code == 200
    assert "code=" in (await browser.answer()).headers["location"]
    assert (await market.http.post(market.base + "/oauth/revoke", data=ending)).status_code == 200
    told = {entry.verb for entry in await entries(market)}
    assert told >= {
        "invitation.accepted",
        "client.let_in",
        "client.revoked",
        "approval.approved",
        "approval.dispatched",
    }


@asynccontextmanager
async def approvals(market: Market) -> AsyncIterator[ApprovalStore]:
    async with Database(market.urls.app) as db:
        yield ApprovalStore(db)


async def asked_for(store: ApprovalStore, user: UserCreated) -> str:
    """A change of acme's data that waits."""
    approval_id = new_handle("apr")
    await store.add("acme", approval_id, user.user_id, BOUND, new_handle("chg"), 1)
    return approval_id


@pytest.mark.requirement("A-10")
async def test_the_command_finds_an_edited_entry_and_one_that_is_missing_at_the_end(
    market: Market, superuser: Any
) -> None:
    lines, _ = await prove(market.settings, [])
    head = lines[-1].partition("Head ")[2]
    assert (await prove(market.settings, [head]))[1]
    await superuser.execute("ALTER TABLE audit DISABLE TRIGGER USER")
    await superuser.execute("CREATE TABLE kept AS TABLE audit")
    await superuser.execute("DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)")
    assert (await prove(market.settings, []))[1]
    lines, whole = await prove(market.settings, [head])
    assert not whole
    assert "missing" in lines[-1]
    await superuser.execute("UPDATE audit SET actor = 'usr_other' WHERE number = 2")
    lines, whole = await prove(market.settings, [])
    assert not whole
    assert "BROKEN at entry 2" in lines[-1]
    with pytest.raises(InvalidInput):
        await prove(market.settings, ["elsewhere:1:x"])
    await superuser.execute("ALTER TABLE audit DROP CONSTRAINT audit_verb_check")
    await superuser.execute("UPDATE audit SET verb = 'Nobody was here.' WHERE number = 2")
    with pytest.raises(Conflict, match="cannot be read"):
        await last(market.settings, 100)
