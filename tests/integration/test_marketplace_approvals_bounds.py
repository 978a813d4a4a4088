"""What an approval is good for: for how long, for whom, by which tool, and what others learn of it."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from servers.marketplace.approvals import database as approvals
from servers.marketplace.approvals.page import SIGNED_IN_S
from servers.marketplace.approvals.store import WAITS_S, ApprovalStore
from servers.marketplace.gateway import sessions
from servers.marketplace.tools.database import ApprovalList, DatabaseAnswer
from shared.errors import InvalidInput, Unavailable
from shared.ids import digest
from tests.approvals_rig import RAISE, TOTAL, People, dataset, people_of_acme  # noqa: F401  # fixtures
from tests.integration.test_marketplace_approvals_page import Reader
from tests.serving_rig import HEARS_S, answer_of, envelope, headers_for

pytestmark = [pytest.mark.slow, pytest.mark.requirement("A-08")]
OTHER = digest(b"another definition")


async def becomes(found: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(HEARS_S):
        while not await found():
            pass


async def come_back(people: People, token: str, approval_id: str) -> dict[str, Any]:
    """What a client is answered that has opened the page of an approval, and comes back."""
    body = {
        "name": "change_customer_database", "arguments": {"statement": RAISE},
        "inputResponses": {approval_id: {"action": "accept"}},
    }  # fmt: skip
    headers = headers_for(token, "tools/call", "change_customer_database")
    response = await people.market.http.post(
        people.market.base + "/mcp", json=envelope("tools/call", body), headers=headers
    )
    return answer_of(response)["result"]


async def test_the_time_begins_anew_with_the_decision_and_what_is_over_waits_no_more(
    people: People, postgres_server: Any
) -> None:
    asked = await people.change(people.anna)
    async with postgres_server.superuser(people.market.urls) as superuser:
        await superuser.execute("UPDATE approvals SET expires_at = now() + interval '1 minute'")
        await people.decide(people.ben, asked.approval_id)
        left = "SELECT extract(epoch FROM expires_at - now())::float FROM approvals"
        assert WAITS_S / 2 < await superuser.fetchval(left) <= WAITS_S
        late = (await people.change(people.anna)).approval_id
        assert (await come_back(people, people.anna, late))["structuredContent"]["state"] == "waiting"
        assert (await come_back(people, people.ben, late))["isError"], "it waits for who asked for it, and nobody else"
        await superuser.execute("UPDATE approvals SET expires_at = now()")
    assert (await come_back(people, people.anna, late))["isError"]
    assert (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals == []


async def test_a_tool_that_has_changed_since_its_review_neither_changes_nor_answers(
    people: People, postgres_server: Any
) -> None:
    approval, before = await people.approved(), await people.total()
    seen_anew = "UPDATE server_tools SET seen = $1 WHERE name = $2"
    async with postgres_server.superuser(people.market.urls) as superuser:
        await superuser.execute(seen_anew, OTHER, "apply_change")
        for call in (people.change(people.anna), people.change(people.anna, approval_id=approval)):
            with pytest.raises(Unavailable, match="takes no changes"):
                await call
        assert await people.total() == before
        await superuser.execute(seen_anew, OTHER, "query_table")

    async def refused() -> bool:
        try:
            await people.total()
        except Unavailable as error:
            return "is not approved" in error.message
        return False

    await becomes(refused)  # when the replica has heard of it


async def test_an_instance_that_does_not_answer_in_time_keeps_nobody_from_the_list(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.change(people.anna)
    monkeypatch.setattr(approvals, "SHOWN_S", 0.0)
    (shown,) = (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals
    assert (shown.statement, shown.rows) == (None, 2)


@pytest.mark.parametrize("amid_dispatch", [False, True])
async def test_a_change_whose_caller_went_away_has_an_unknown_outcome(
    people: People, postgres_server: Any, monkeypatch: pytest.MonkeyPatch, amid_dispatch: bool
) -> None:
    """Also where the caller goes when the approval is used up, and before the instance is asked."""
    left = asyncio.Event()
    dispatch = ApprovalStore.dispatch

    async def dispatched(*given: Any) -> bool:
        used = await dispatch(*given)
        await left.wait()
        return used

    if amid_dispatch:
        monkeypatch.setattr(ApprovalStore, "dispatch", dispatched)
    approval = await people.approved()
    people.cut.append(True)
    making = asyncio.create_task(people.change(people.anna, approval_id=approval))
    async with postgres_server.superuser(people.market.urls) as superuser:

        async def is_(state: str) -> bool:
            return await superuser.fetchval("SELECT state FROM approvals") == state

        await becomes(lambda: is_("dispatched"))
        making.cancel()
        await asyncio.sleep(0.2)  # so that the marketplace has heard of it
        left.set()
        await becomes(lambda: is_("unknown"))


async def test_the_page_tells_a_customer_no_address_of_the_operators(people: People) -> None:
    market = people.market
    operator = await market.token(market.credential("operator"), customer="acme")
    asked = await people.change(operator)
    shown = html.unescape((await Reader(people, "ben").sign_in(asked.approval_url or "")).text)
    assert RAISE in shown
    assert "the platform's operator or partner" in shown
    asked_by = shown.partition("Asked for by")[2].partition("</dd>")[0]
    assert "@" not in asked_by


async def test_who_signed_in_ten_minutes_ago_signs_in_again(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ben = await people.change(people.anna), Reader(people, "ben")
    await ben.sign_in(asked.approval_url or "")
    now = sessions.time
    monkeypatch.setattr(sessions, "time", lambda: now() + SIGNED_IN_S + 1)
    refused = await ben.send(answer="approve", decide=asked.approval_id)
    assert (refused.status_code, "Ten minutes are over" in refused.text) == (401, True)


async def test_a_server_that_is_no_instance_is_not_asked_and_leaves_the_one_instance_the_one(people: People) -> None:
    market, before = people.market, await people.total()
    await market.call(people.ben, "install_mcp", server_name="io.0711/tax")
    assert await people.total() == before
    with pytest.raises(InvalidInput, match="holds no dataset"):
        await market.call(
            people.anna, "query_customer_database", DatabaseAnswer, language="sql", statement=TOTAL,
            server_name="io.0711/tax",
        )  # fmt: skip
