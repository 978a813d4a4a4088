"""A customer's data asked and changed through the marketplace, against a real instance: no change without another
person's approval of exactly that change, and none twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.instance.changes import OF_ONE
from servers.marketplace.approvals.database import APPLY, CustomerDatabase
from servers.marketplace.tools.accounts import UserCreated
from servers.marketplace.tools.database import ApprovalList, DatabaseAnswer, DatabaseChange
from shared.contracts.catalogue import InstanceRegistered
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Overloaded, PlatformError, Unavailable
from shared.ids import digest
from tests.approvals_rig import RAISE, TOTAL, People, dataset, people_of_acme, user  # noqa: F401  # fixtures
from tests.marketplace_rig import DIGEST, Changing, Credential, definition, refusal
from tests.serving_rig import HEARS_S

pytestmark = pytest.mark.slow
# Postgres is shut down each time when it is to note what became of a change.
GOES_AWAY = """
    CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'terminating connection' USING ERRCODE = '57P01'; END $$;
    CREATE TRIGGER go_away BEFORE UPDATE ON approvals FOR EACH ROW WHEN (OLD.state = 'dispatched')
        EXECUTE FUNCTION go_away();
"""


@pytest.mark.requirement("A-08")
async def test_a_change_waits_for_another_person_and_is_made_once(people: People) -> None:
    before = await people.total()
    asked = await people.change(people.anna)
    assert (asked.state, asked.rows) == ("waiting", 2)
    assert await people.total() == before
    with pytest.raises(Conflict):
        await people.change(people.anna, approval_id=asked.approval_id)
    waiting = (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals
    assert [(each.statement, each.rows, each.state) for each in waiting] == [(RAISE, 2, "waiting")]
    await people.decide(people.ben, asked.approval_id)
    with pytest.raises(Conflict):
        await people.decide(people.ben, asked.approval_id, approve=False)
    made = await people.change(people.anna, approval_id=asked.approval_id)
    assert (made.state, made.dataset_digest is None) == ("applied", False)
    assert await people.total() == before + 7.2
    with pytest.raises(Conflict):
        await people.change(people.anna, approval_id=asked.approval_id)
    assert await people.total() == before + 7.2
    assert (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals == []


@pytest.mark.requirement("A-08", "A-04")
async def test_what_an_account_has_approved_ends_with_it(people: People) -> None:
    before, held = await people.total(), await people.approved()
    await people.market.call(await people.market.operator(), "disable_user", user_id=people.accounts["ben"].user_id)
    with pytest.raises(Conflict, match="has ended since"):
        await people.change(people.anna, approval_id=held)
    assert await people.total() == before


@pytest.mark.requirement("A-08")
async def test_nobody_decides_on_their_own_change_and_a_denied_or_altered_one_is_refused(people: People) -> None:
    before = await people.total()
    own = await people.change(people.ben)
    with pytest.raises(Forbidden, match="Another person"):
        await people.decide(people.ben, own.approval_id)
    with pytest.raises(Forbidden):
        await people.decide(people.anna, own.approval_id)  # without the scope
    denied = await people.change(people.anna)
    assert (await people.decide(people.ben, denied.approval_id, approve=False)).state == "denied"
    approval = await people.approved()
    for token, statement, held in (
        (people.anna, RAISE, denied.approval_id),
        (people.anna, RAISE + " ", approval),
        (people.anna, RAISE.replace("3", "0"), approval),
        (people.ben, RAISE, approval),
    ):
        with pytest.raises(Conflict):
            await people.change(token, statement, approval_id=held)
    assert await people.total() == before
    assert (await people.change(people.anna, approval_id=approval)).state == "applied"


@pytest.mark.requirement("A-08")
async def test_accounts_that_one_account_of_the_customer_made_do_not_decide_for_each_other(people: People) -> None:
    market, tokens = people.market, [people.ben]
    for number in range(2):
        email = f"second{number}@acme.example"
        who = {"email": email, "role": "customer_admin", "customer_id": "acme"}
        made = await market.call(people.ben, "create_user", UserCreated, **who)
        tokens.append(await market.token(Credential(made.client_id, made.client_secret)))
    ben, one, two = tokens
    for asks, decides in ((ben, one), (one, ben), (one, two)):
        asked = await people.change(asks)
        with pytest.raises(Forbidden, match="made the other"):
            await people.decide(decides, asked.approval_id)
    operator = await market.token(market.credential("operator"), customer="acme")
    with pytest.raises(Forbidden, match="made the other"):
        await people.decide(operator, (await people.change(ben)).approval_id)
    asked = await people.change(people.anna)
    assert (await people.decide(two, asked.approval_id)).state == "approved"


@pytest.mark.requirement("A-08")
async def test_an_approval_ends_with_its_time_its_tool_and_the_rules(people: People, postgres_server: Any) -> None:
    other = digest(b"something else")
    async with postgres_server.superuser(people.market.urls) as superuser:
        late = await people.change(people.anna)
        await superuser.execute("UPDATE approvals SET expires_at = now()")
        with pytest.raises(Conflict, match="five minutes"):
            await people.decide(people.ben, late.approval_id)
        for column, value in (("expires_at", "now()"), ("pin", f"'{other}'"), ("policy", f"'{other}'")):
            approval = await people.approved()
            await superuser.execute(f"UPDATE approvals SET {column} = {value} WHERE approval_id = '{approval}'")  # noqa: S608
            with pytest.raises(Conflict):
                await people.change(people.anna, approval_id=approval)
        delete, before = await people.change(people.anna, "DELETE FROM prices WHERE amount >= 3"), await people.total()
        approval = await people.approved()
        await superuser.execute(
            "UPDATE approvals SET change_id = (SELECT change_id FROM approvals WHERE approval_id = $1)"
            " WHERE approval_id = $2", delete.approval_id, approval,
        )  # fmt: skip
        with pytest.raises(Conflict, match="not the statement that was approved"):  # the instance's own look
            await people.change(people.anna, approval_id=approval)
        assert await people.total() == before
        await people.change(people.anna)
        await superuser.execute(f"UPDATE approvals SET arguments = '{other}'")  # noqa: S608
        shown = (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals
        assert {each.statement for each in shown} == {None}, "another statement than the approved one is not shown"
        rows = await superuser.fetch("SELECT a::text FROM approvals a")
        assert not [row for row in rows if "UPDATE" in row[0]], "the statement is nowhere in Postgres"


@pytest.mark.requirement("A-08")
async def test_a_change_that_meets_another_number_of_rows_is_refused(people: People) -> None:
    fewer = await people.approved("DELETE FROM prices WHERE amount >= 4")
    stale = await people.approved()
    await people.change(people.anna, "DELETE FROM prices WHERE amount >= 4", approval_id=fewer)
    before = await people.total()
    with pytest.raises(Conflict, match="another number of rows"):
        await people.change(people.anna, approval_id=stale)
    with pytest.raises(Conflict):
        await people.change(people.anna, approval_id=stale)
    assert await people.total() == before


@pytest.mark.requirement("A-08")
async def test_a_change_whose_outcome_is_lost_is_not_made_again(people: People) -> None:
    approval = await people.approved()
    before = await people.total()
    people.cut.append(True)
    with pytest.raises(Unavailable, match="not known"):
        await people.change(people.anna, approval_id=approval)
    people.cut.clear()
    assert await people.total() == before + 7.2
    with pytest.raises(Conflict):
        await people.change(people.anna, approval_id=approval)
    assert await people.total() == before + 7.2


@pytest.mark.requirement("A-08")
@pytest.mark.parametrize("cut", [False, True], ids=["made", "outcome lost"])
async def test_what_came_of_a_change_is_told_although_it_cannot_be_recorded(
    people: People, postgres_server: Any, caplog: pytest.LogCaptureFixture, cut: bool
) -> None:
    approval, before = await people.approved(), await people.total()
    async with postgres_server.superuser(people.market.urls) as superuser:
        await superuser.execute(GOES_AWAY)
    if cut:
        people.cut.append(True)
        with pytest.raises(Unavailable, match="What came of the change is not known, and it is not tried again"):
            await people.change(people.anna, approval_id=approval)
        people.cut.clear()
    else:
        made = await people.change(people.anna, approval_id=approval)
        assert (made.state, made.dataset_digest is None) == ("applied", False)
    assert "change_unsettled" in [record.getMessage() for record in caplog.records]
    assert await people.total() == before + 7.2


@pytest.mark.requirement("A-08")
async def test_twenty_dispatches_of_one_approval_make_one_change(people: People) -> None:
    approval = await people.approved()
    before = await people.total()
    made = await asyncio.gather(
        *(people.change(people.anna, approval_id=approval) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(each, DatabaseChange) for each in made) == 1
    assert all(isinstance(each, DatabaseChange | Conflict) for each in made)
    assert await people.total() == before + 7.2


@pytest.mark.requirement("A-08")
async def test_of_two_changes_that_are_made_at_once_none_is_lost(people: People) -> None:
    before, other = await people.total(), "UPDATE prices SET amount = amount + 1 WHERE amount < 1"
    approvals = {statement: await people.approved(statement) for statement in (RAISE, other)}
    made = await asyncio.gather(
        *(people.change(people.anna, statement, approval_id=held) for statement, held in approvals.items())
    )
    assert [each.state for each in made] == ["applied", "applied"]
    assert await people.total() == pytest.approx(before + 7.2 + 1)


@pytest.mark.requirement("I-11")
async def test_the_reading_tool_changes_nothing_and_the_writing_scope_is_nobodys(people: People) -> None:
    before = await people.total()
    for statement in (RAISE, "DELETE FROM prices WHERE TRUE", "SELECT 1; DROP TABLE prices"):
        with pytest.raises(InvalidInput):
            await people.ask(statement)
    with pytest.raises(InvalidInput):
        await people.ask("MATCH (n:Node) DETACH DELETE n", "cypher")
    assert (await people.ask("MATCH (n:Node {kind: 'product'}) RETURN count(n) AS n", "cypher")).rows == [[5]]
    documents = (await people.ask("datenblaetter/blatt-00", "documents")).documents
    assert [each.path[-7:] for each in documents] == [f"{number:03d}.pdf" for number in range(5)]
    assert (await people.ask("scans/", "documents")).documents == []
    operator = await people.market.token(people.market.credential("operator"), customer="acme")
    for token in (people.anna, people.ben, operator):
        with pytest.raises(PlatformError):
            await people.market.call_through(token, "io.0711.acme/instance", "propose_change", statement=RAISE)
    assert await people.total() == before


async def test_a_value_that_its_column_cannot_hold_is_refused_before_anybody_is_asked(people: People) -> None:
    with pytest.raises(InvalidInput, match="amount takes a number or NULL"):
        await people.change(people.anna, "UPDATE prices SET amount = 'teuer' WHERE TRUE")
    with pytest.raises(InvalidInput, match="identifies a row: class_id, class_system, description"):
        await people.change(people.anna, "UPDATE products SET titel = 'x' WHERE TRUE")
    assert (await people.market.call(people.ben, "list_approvals", ApprovalList)).approvals == []


async def test_without_an_instance_that_takes_changes_the_answer_says_so(people: People) -> None:
    market = people.market
    bolt = await market.user_token("bolt")
    with pytest.raises(InvalidInput, match="name it"):
        await people.change(bolt)
    name = await market.add_instance("bolt", await market.add_app(Changing(definition("say"))))
    with pytest.raises(Unavailable, match="takes no changes"):
        await people.change(bolt, server_name=name)
    approval = await people.approved()
    for call in (people.change(bolt, approval_id=approval), people.decide(bolt, approval)):
        with pytest.raises(NotFound):
            await call


async def test_a_rule_on_the_instances_tool_holds_for_questions_by_way_of_the_marketplace(people: People) -> None:
    rule = {"server_name": "io.0711.acme/instance", "tool_name": "query_table", "condition": "args.limit <= 5"}
    operator = await people.market.operator()
    await people.market.call(operator, "check_mcp", server_name=rule["server_name"])  # else it is checked at some time
    await people.market.call(operator, "set_argument_rule", **rule)
    told = {"language": "sql", "statement": TOTAL, "limit": 6}

    async def refused() -> str:
        try:
            await people.market.call(people.anna, "query_customer_database", **told)
        except Forbidden as error:
            return error.message
        return ""

    async with asyncio.timeout(HEARS_S):
        while not (told_why := await refused()):  # until the replica has heard of the rule
            pass
    assert "args.limit <= 5" in told_why
    assert await people.market.call(people.anna, "query_customer_database", **(told | {"limit": 5}))


@pytest.mark.parametrize("said", [{"versions": []}, {"other": 1}])
async def test_of_a_change_whose_answer_cannot_be_read_it_is_said_that_its_outcome_is_not_known(
    people: People, said: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = CustomerDatabase._call

    async def call(self: CustomerDatabase, route: Any, tool: str, *arguments: Any) -> Any:
        return said if tool == APPLY else await asked(self, route, tool, *arguments)

    monkeypatch.setattr(CustomerDatabase, "_call", call)
    approval_id = await people.approved()
    with pytest.raises(Unavailable, match="What came of the change is not known"):
        await people.change(people.anna, approval_id=approval_id)


async def test_one_person_who_asks_for_very_many_changes_keeps_nobody_else_from_asking(people: People) -> None:
    asked = [await people.change(people.anna) for _ in range(OF_ONE)]
    assert isinstance(await refusal(people.change(people.anna)), Overloaded)
    assert (await people.change(people.ben)).state == "waiting"
    await people.decide(people.ben, asked[0].approval_id)
    await people.change(people.anna, approval_id=asked[0].approval_id)
    assert (await people.change(people.anna)).state == "waiting", "what is made waits no more"


async def test_of_two_instances_one_has_to_be_named(people: People) -> None:
    market, approval, before = people.market, await people.approved(), await people.total()
    url = await market.add_app(Changing(definition("say")))
    more = {"customer_id": "acme", "name": "second", "url": url, "image_digest": DIGEST, "tools": ["say"]}
    second = (await market.call(await market.service(), "register_instance", InstanceRegistered, **more)).server_name
    asked = {"language": "sql", "statement": TOTAL}
    with pytest.raises(InvalidInput, match="not exactly one instance: name it"):
        await market.call(people.anna, "query_customer_database", DatabaseAnswer, **asked)
    with pytest.raises(InvalidInput, match="not exactly one instance: name it"):
        await people.change(people.anna)
    with pytest.raises(Unavailable, match="takes no changes"):
        await people.change(people.anna, server_name=second, approval_id=approval)
    held = await market.call(
        people.anna, "query_customer_database", DatabaseAnswer, **asked, server_name="io.0711.acme/instance"
    )
    assert held.rows[0][0] == before
    assert (await people.change(people.anna, approval_id=approval)).state == "applied"
