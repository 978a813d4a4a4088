"""The approvals page as a browser meets it, and clients that are asked to open it."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from servers.marketplace.approvals import store
from servers.marketplace.approvals.store import Approval, Bound
from servers.marketplace.tools.database import ApprovalList, DatabaseChange, _shown
from servers.marketplace.unseen import with_unseen_shown
from servers.marketplace.users.accounts import FAILURES_BEFORE_LOCK
from shared.errors import InvalidInput
from tests.approvals_rig import RAISE, People, dataset, people_of_acme  # noqa: F401  # fixtures
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for

pytestmark = pytest.mark.slow


class Reader:
    """A browser with one person in front of it."""

    def __init__(self, people: People, name: str) -> None:
        self.market = people.market
        self.account = people.accounts[name]
        self.page = ""

    async def sign_in(self, url: str, **changes: str) -> httpx2.Response:
        """Open the address and send its form."""
        first = await self.market.http.get(url)
        assert first.status_code == 200, first.text
        self.page = first.text
        return await self.send(**({"email": self.account.email, "password": self.account.password} | changes))

    async def send(self, *, last: bool = False, **told: str) -> httpx2.Response:
        """Send the page's first form, or its last."""
        form = self.fields(last=last) | told
        response = await self.market.http.post(
            self.market.base + "/approvals", data=form, headers={"origin": self.market.base}
        )
        self.page = response.text
        return response

    def fields(self, *, last: bool = False) -> dict[str, str]:
        """The hidden fields of the page's first form, or of its last."""
        forms = self.page.split("<form")[1:] or [""]
        form = forms[-1 if last else 0].partition("</form>")[0]
        hidden = re.findall(r'type="hidden" name="([a-z]+)" value="([^"]*)"', form)
        return {name: html.unescape(value) for name, value in hidden}


@pytest.mark.requirement("A-08")
async def test_a_second_person_reads_the_change_on_the_page_and_approves_it(people: People) -> None:
    before = await people.total()
    asked = await people.change(people.anna)
    assert asked.approval_url is not None
    open_page = await people.market.http.get(asked.approval_url)
    assert "prices" not in open_page.text, "nothing is shown before somebody has signed in"
    assert "anna@" not in open_page.text
    ben = Reader(people, "ben")
    shown = html.unescape((await ben.sign_in(asked.approval_url)).text)
    for told in (RAISE, "<dd>2</dd>", "anna@acme.example", "io.0711.acme/instance", " UTC"):
        assert told in shown, told
    assert await people.total() == before
    assert "Approved." in (await ben.send(answer="approve")).text
    made = await people.change(people.anna, approval_id=asked.approval_id)
    assert (made.state, await people.total()) == ("applied", before + 7.2)
    assert "does not wait any more" in (await ben.sign_in(asked.approval_url)).text
    assert "Nothing waits for you now" in (await ben.sign_in(people.market.base + "/approvals")).text
    retry = html.unescape((await ben.sign_in(people.market.base + "/approvals?email=x", password="wrong")).text)
    assert 'value="ben@acme.example"' in retry  # only the password is typed again
    first = await people.market.http.get(people.market.base + "/approvals?email=x@acme.example")
    assert "x@acme.example" not in first.text


@pytest.mark.requirement("A-08")
async def test_who_has_decided_on_one_change_is_shown_what_else_waits(people: People) -> None:
    other = "DELETE FROM prices WHERE amount >= 3"
    asked = await people.change(people.anna)
    await people.change(people.anna, other)
    ben = Reader(people, "ben")
    assert other not in html.unescape((await ben.sign_in(asked.approval_url or "")).text)
    after = html.unescape((await ben.send(answer="approve")).text)
    assert ("Approved." in after, other in after, "Nothing else waits" in after) == (True, True, False)
    assert "Nothing else waits" in (await ben.send(answer="deny")).text


@pytest.mark.requirement("A-08")
async def test_nobody_is_asked_about_a_change_of_no_row(people: People) -> None:
    with pytest.raises(InvalidInput, match="changes no row"):
        await people.change(people.anna, "DELETE FROM prices WHERE amount >= 1000000")
    assert "Nothing waits for you now" in (await Reader(people, "ben").sign_in(people.market.base + "/approvals")).text


@pytest.mark.requirement("A-08")
async def test_on_the_page_the_rules_of_a_decision_are_the_tools(people: People) -> None:
    anna, ben = Reader(people, "anna"), Reader(people, "ben")
    asked = await people.change(people.anna)
    refused = await anna.sign_in(asked.approval_url or "")
    assert (refused.status_code, RAISE in html.unescape(refused.text)) == (403, False), "without the scope"
    own = await people.change(people.ben)
    shown = await ben.sign_in(own.approval_url or "")
    assert "Another person decides" in shown.text
    assert "<form" not in shown.text
    await ben.sign_in(asked.approval_url or "")
    forced = await ben.send(answer="approve", decide=own.approval_id)
    assert (forced.status_code, "Another person decides" in forced.text) == (403, True)
    await ben.sign_in(asked.approval_url or "")
    kept = ben.fields()
    assert "Denied." in (await ben.send(answer="deny")).text
    again = await ben.send(**kept, answer="approve")
    assert (again.status_code, "decided already" in again.text) == (409, True)
    for made_up in ("apr_" + "a" * 26, "x", ""):
        assert (await ben.send(**(kept | {"decide": made_up}), answer="approve")).status_code == 404
    foreign = await ben.send(**(kept | {"customer": "bolt"}), answer="approve")
    assert foreign.status_code == 404, "another customer is one that is not known"


@pytest.mark.requirement("A-08")
async def test_no_other_page_decides_in_a_persons_name(people: People) -> None:
    asked, market, ben = await people.change(people.anna), people.market, Reader(people, "ben")
    response = await ben.sign_in(asked.approval_url or "")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "set-cookie" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    for origin in ("https://evil.example", "null"):
        sent = await market.http.post(
            market.base + "/approvals", data=ben.fields() | {"answer": "approve"}, headers={"origin": origin}
        )
        assert sent.status_code == 403, origin
    for session in ("", "x", ben.fields()["session"][:-4] + "AAAA"):
        assert (await ben.send(session=session, answer="approve", decide=asked.approval_id)).status_code == 401
    await ben.sign_in(asked.approval_url or "")
    kept = ben.fields()
    await market.call(await market.operator(), "disable_user", user_id=people.accounts["ben"].user_id)
    assert (await ben.send(**kept, answer="approve")).status_code == 401, "an account that has ended decides nothing"
    anna = Reader(people, "anna")
    for _ in range(FAILURES_BEFORE_LOCK):
        assert (await anna.sign_in(asked.approval_url or "", password="wrong")).status_code == 401
    assert (await anna.sign_in(asked.approval_url or "")).status_code == 401, "locked after five wrong passwords"


@pytest.mark.requirement("A-08")
async def test_where_more_waits_than_a_list_holds_every_change_is_found_and_decided(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LISTED", 2)
    asked = [await people.change(people.anna) for _ in range(5)]
    handles, seen, cursor = [each.approval_id for each in asked], list[str](), None
    while cursor is not None or not seen:
        found = await people.market.call(people.ben, "list_approvals", ApprovalList, cursor=cursor)
        seen, cursor = seen + [each.approval_id for each in found.approvals], found.next_cursor
    assert seen == handles
    with pytest.raises(InvalidInput, match="not one of ours"):
        await people.market.call(people.ben, "list_approvals", ApprovalList, cursor="apr_" + "a" * 26)
    ben = Reader(people, "ben")
    await ben.sign_in(people.market.base + "/approvals?customer=acme")
    pages = [re.findall(r'"decide" value="([^"]*)"', ben.page)]
    while "More changes wait" in ben.page:
        await ben.send(last=True)
        pages.append(re.findall(r'"decide" value="([^"]*)"', ben.page))
    assert pages == [handles[:2], handles[2:4], handles[4:]]
    assert (await ben.send(after="apr_" + "a" * 26)).status_code == 400
    assert "Statement" in (await ben.sign_in(asked[4].approval_url or "")).text, "the newest, by its own address"
    for _ in handles:  # the page goes on with what waits, whatever was approved before
        shown = (await ben.send(answer="approve")).text
    assert "Nothing else waits." in shown
    for made_up in ("apr_" + "a" * 26, "x"):
        await ben.sign_in(f"{people.market.base}/approvals?customer=acme&approval={made_up}")
        assert "does not wait any more" in ben.page


def test_what_a_reader_would_not_see_is_shown() -> None:
    assert with_unseen_shown("a\u202eb\u200b\x1b\n\tü\x7f") == "a⟨U+202E⟩b⟨U+200B⟩⟨U+001B⟩\n\tü⟨U+007F⟩"
    assert with_unseen_shown("a\ufe0f\U000e0141\u3164\U000e0041") == "a⟨U+FE0F⟩⟨U+E0141⟩⟨U+3164⟩⟨U+E0041⟩"
    bound = Bound("io.0711.acme/instance", "apply_change", *["sha256:" + "0" * 64] * 3)
    waits = Approval("apr_" + "a" * 26, "usr_x", bound, "chg_x", 1, "waiting", None, datetime.now(UTC), open=True)
    assert _shown(waits, "WHERE kind = 'a\u202eb'").statement == "WHERE kind = 'a⟨U+202E⟩b'"


async def _client(people: People, token: str, asked: list[Any], answer: Any) -> Any:
    async def ask(context: Any, params: Any) -> ElicitResult:
        asked.append(params)
        await answer(params)
        return ElicitResult(action="accept")

    http = httpx2.AsyncClient(
        trust_env=False, timeout=HANGS_S, verify=False, headers={"authorization": f"Bearer {token}"}
    )
    transport = streamable_http_client(people.market.resource, http_client=http)
    async with http, Client(transport, elicitation_callback=ask) as client:
        return await client.call_tool("change_customer_database", {"statement": RAISE})


@pytest.mark.requirement("A-08")
async def test_a_client_that_opens_pages_is_asked_to_and_the_change_is_made_in_one_call(people: People) -> None:
    before, asked = await people.total(), []

    async def ben_approves(params: Any) -> None:
        ben = Reader(people, "ben")
        await ben.sign_in(params.url)
        assert "Approved." in (await ben.send(answer="approve")).text

    result = await _client(people, people.anna, asked, ben_approves)
    assert [(each.mode, "2 rows" in each.message) for each in asked] == [("url", True)]
    made = DatabaseChange.model_validate(result.structured_content)
    assert (made.state, await people.total()) == ("applied", before + 7.2)


@pytest.mark.requirement("A-08")
async def test_a_client_that_comes_back_before_the_decision_is_told_that_it_waits(people: People) -> None:
    before, asked = await people.total(), []

    async def nobody_decides(params: Any) -> None:
        pass

    waiting = DatabaseChange.model_validate(
        (await _client(people, people.anna, asked, nobody_decides)).structured_content
    )
    assert (waiting.state, waiting.rows, waiting.approval_url) == ("waiting", 2, asked[0].url)

    async def ben_denies(params: Any) -> None:
        ben = Reader(people, "ben")
        await ben.sign_in(params.url)
        await ben.send(answer="deny")

    denied = await _client(people, people.anna, [], ben_denies)
    assert denied.is_error
    assert await people.total() == before


@pytest.mark.requirement("A-08")
async def test_a_made_up_answer_uses_no_approval_of_another_person_or_statement(people: People) -> None:
    market, before = people.market, await people.total()
    approval = await people.approved()

    async def answered(token: str, statement: str, key: str) -> Any:
        body = {
            "name": "change_customer_database", "arguments": {"statement": statement},
            "inputResponses": {key: {"action": "accept"}},
        }  # fmt: skip
        headers = headers_for(token, "tools/call", "change_customer_database")
        response = await market.http.post(market.base + "/mcp", json=envelope("tools/call", body), headers=headers)
        return answer_of(response)["result"]

    for token, statement in ((people.ben, RAISE), (people.anna, "DELETE FROM prices WHERE amount >= 3")):
        assert (await answered(token, statement, approval))["isError"]
    fresh = await answered(people.anna, RAISE, "something else")
    assert fresh["structuredContent"]["state"] == "waiting", "an answer to nothing that was asked is a first call"
    assert await people.total() == before
    assert (await answered(people.anna, RAISE, approval))["structuredContent"]["state"] == "applied"
